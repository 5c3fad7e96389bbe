"""MEI scores (versions 2 to 5, common Western notation) into the bars of a `Score`.

Of alternative readings the lemma, the correction and the regularised form are read; deleted text is not.

References
----------
Music Encoding Initiative, *MEI Guidelines*, versions 3 to 5.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import replace
from fractions import Fraction
from xml.etree.ElementTree import Element

from clamp3.errors import FormatError
from clamp3.formats import mei_marks as marks
from clamp3.formats.mei_layers import MAX_REPEATED_BARS, Layer, Layers, Staff, bar_length, children, span_of
from clamp3.formats.mei_values import clef_of, integer, key_of, metre_of, sign_of
from clamp3.formats.score import ZERO, Bar, Part, Score, Sign, whole_rest

MAX_COPIED_NODES = 1_000_000
MAX_BARS = 20_000  # rests of many bars written out
_ID = "{http://www.w3.org/XML/1998/namespace}id"


def read_mei(root: Element) -> tuple[Score, list[str]]:
    """Read an MEI document.

    Parameters
    ----------
    root : Element
        Its tree, without namespaces.

    Returns
    -------
    Score
        All ``<mdiv>`` one after the other.
    list of str
        What was left out.

    Raises
    ------
    FormatError
        If it has no music in common Western notation.
    """
    copied = _write_copies_out(root)
    reader = _Reader(root)
    reader.score.copied = copied
    divisions = [node for node in root.iter("mdiv") if node.find("score") is not None or node.find("parts") is not None]
    for division in divisions:
        reader.division(division)
    return reader.finish()


def _write_copies_out(root: Element) -> int:
    """Give elements with ``@copyof`` the content of what they copy; return how many notes that adds."""
    known = {node.get(_ID, ""): node for node in root.iter() if _ID in node.attrib}
    added = n_nodes = 0
    for node in [node for node in root.iter() if "copyof" in node.attrib]:
        source = known.get(node.attrib.pop("copyof").lstrip("#"))
        if source is None or source is node or len(node) or node in list(source.iter()):
            continue
        n_nodes += sum(True for _ in source.iter())
        if n_nodes > MAX_COPIED_NODES:
            raise FormatError(f"copies in the MEI document make more than {MAX_COPIED_NODES} elements.")
        for child in source:
            node.append(deepcopy(child))
        for inside in node.iter():
            if inside is not node:
                inside.attrib.pop(_ID, None)
                added += inside.tag == "note"
        for name, value in source.attrib.items():
            if name != _ID:
                node.attrib.setdefault(name, value)
    return added


class _Reader:
    """The state between two measures."""

    def __init__(self, root: Element) -> None:
        self.root = root
        self.score = Score()
        self.staves: dict[str, Staff] = {}
        self.parts: dict[int, Part] = {}
        self.scope = ""  # before the numbers of staves, where parts are encoded one by one
        self.at = 0  # index of the next bar
        self.ending = ""
        self.forward = False
        self.n_groups = 0
        notes = list(root.iter("note"))
        explicit = any("accid.ges" in accid.attrib for note in notes for accid in note.iter())
        self.layers = Layers(self.score, explicit, self._content)

    def division(self, node: Element) -> None:
        """Read one movement, as a score or part by part."""
        start = self.at
        score = node.find("score")
        if score is not None:
            self._content(score)
        else:
            last = start
            for number, part in enumerate(node.findall("parts/part")):
                self.scope, self.at = f"{number} ", start
                self._content(part)
                last = max(last, self.at)
            self.scope, self.at = "", last
        if self.at > start and self.at < len(self.score.bars) + 1:
            bar = self.score.bars[self.at - 1]
            bar.style = bar.style or "light-heavy"

    def finish(self) -> tuple[Score, list[str]]:
        """Write repeated bars out, attach marks, and state what was left out."""
        if not self.score.bars:
            raise FormatError("the score holds no notes.")
        self.layers.finish()
        left_out = self.layers.left_out + self.layers.marks.attach()
        listed: dict[int, Part] = {}
        for staff in self.staves.values():
            part = self.parts[staff.index]
            listed[id(part)] = part
        self.score.parts = list(listed.values())
        marks.head(self.root, self.score)
        notes = [f"<{tag}> left out" + (f" ({count})" if count > 1 else "") for tag, count in left_out.items()]
        return self.score, notes

    # ---- definitions ---------------------------------------------------------------------------------------------

    def _content(self, node: Iterable[Element]) -> None:
        for child in children(node):
            tag = child.tag
            if tag == "scoreDef":
                self._score_def(child)
            elif tag == "staffDef":
                self._staff_def(child, [])
            elif tag == "measure" or (tag == "section" and any(sub.tag == "staff" for sub in child)):
                self._measure(child)
            elif tag == "ending":
                self.ending = marks.ending_number(child)
                self._content(child)
                self.ending = ""
            elif tag in ("section", "score", "part", "pb", "sb"):
                self._content(child)

    def _score_def(self, node: Element) -> None:
        for group in children(node):
            if group.tag == "staffGrp":
                self._group(group, [])
        for staff in self.staves.values():
            self._apply(node, staff)
        for definition in node.iter("staffDef"):
            self._staff_def(definition, [])

    def _group(self, node: Element, groups: list[tuple[int, str]]) -> None:
        """Make the parts of a group of staves: one for the two staves of a keyboard, else one a staff."""
        inside = [child for child in children(node) if child.tag in ("staffDef", "staffGrp")]
        sign = node.find("grpSym")
        symbol = node.get("symbol") or (sign.get("symbol", "") if sign is not None else "")
        own = [marks.label(child) for child in inside]
        unnamed = sum(bool(name) for name, _ in own) <= 1 and all(child.tag == "staffDef" for child in inside)
        if symbol == "brace" and 2 <= len(inside) <= 3 and unnamed:
            shared = Part([], *max([marks.label(node), *own]), groups)
            for child in inside:
                self._staff_def(child, groups, shared)
            return
        if symbol in ("brace", "bracket", "bracketsq", "line"):
            self.n_groups += 1
            groups = [*groups, (self.n_groups, "brace" if symbol == "brace" else "bracket")]
        for child in inside:
            if child.tag == "staffGrp":
                self._group(child, groups)
            else:
                self._staff_def(child, groups)

    def _staff_def(self, node: Element, groups: list[tuple[int, str]], shared: Part | None = None) -> None:
        staff = self._staff(node.get("n", "1"), node, groups, shared)
        self._apply(node, staff)
        staff.ticks = integer(node.get("ppq"), staff.ticks)
        layer = node.find("layerDef")
        if layer is not None:
            self._apply(layer, staff)

    def _staff(
        self, number: str, node: Element | None = None, groups: list[tuple[int, str]] | None = None,
        shared: Part | None = None,
    ) -> Staff:  # fmt: skip
        key = self.scope + number.split()[0] if number.split() else self.scope
        if key not in self.staves:
            staff = self.staves[key] = Staff(len(self.staves), key.split()[-1] if key.split() else "")
            if shared is None:
                shared = Part([], *(marks.label(node) if node is not None else ("", "")), groups or [])
            shared.staves.append(staff.index)
            self.parts[staff.index] = shared
            if self.staves and node is None:
                staff.now = replace(next(iter(self.staves.values())).now, clef=None)
        return self.staves[key]

    def _apply(self, node: Element, staff: Staff) -> None:
        """Take key, metre, clef and defaults from a definition's attributes and children."""
        staff.duration = node.get("dur.default", staff.duration)
        staff.octave = node.get("octave.default") or node.get("oct.default") or staff.octave
        now = staff.now
        found = [key_of(node.get("key.sig") or node.get("keysig"), node.get("key.mode"))]
        metres = [metre_of(node.get("meter.count"), node.get("meter.unit"), node.get("meter.sym"))]
        shape = node.get("clef.shape")
        clefs = [clef_of(shape, node.get("clef.line"), node.get("clef.dis"), node.get("clef.dis.place"))]
        for child in children(node):
            if child.tag in ("keySig", "meterSig", "clef", "meterSigGrp"):
                sign = sign_of(child)
                found.append(sign.key)
                metres.append(sign.metre)
                clefs.append(sign.clef)
        now.key = next((key for key in reversed(found) if key), now.key)
        now.metre = next((metre for metre in reversed(metres) if metre), now.metre)
        now.clef = next((clef for clef in reversed(clefs) if clef), now.clef)
        if node.get("trans.semi") or node.get("trans.diat"):
            now.transpose = (integer(node.get("trans.diat")), integer(node.get("trans.semi")))

    # ---- measures ------------------------------------------------------------------------------------------------

    def _bar(self, index: int) -> Bar:
        if index >= MAX_BARS:
            raise FormatError(f"the MEI document has more than {MAX_BARS} bars.")
        while len(self.score.bars) <= index:
            self.score.bars.append(Bar())
        return self.score.bars[index]

    def _measure(self, node: Element) -> None:
        bar = self._bar(self.at)
        bar.ending = self.ending
        bar.forward = bar.forward or self.forward or node.get("left") in ("rptstart", "rptboth")
        if node.get("left") in ("rptend", "rptboth") and self.at:
            self.score.bars[self.at - 1].backward = True
        right = node.get("right")
        self.forward = right in ("rptstart", "rptboth")
        bar.backward = bar.backward or right in ("rptend", "rptboth")
        bar.style = {"dbl": "light-light", "end": "light-heavy"}.get(right or "", bar.style)
        self.layers.begin(
            self.at, [span_of(child, self._unit()) for child in children(node) if child.tag == "tupletSpan"]
        )
        layers: list[tuple[Layer, int]] = []
        n_bars = 1
        for child in children(node):
            if child.tag == "staff":
                staff = self._staff(child.get("n") or child.get("def", "#1")[-1:])
                self._state(bar, staff)
                for voice, layer in enumerate(sub for sub in children(child) if sub.tag == "layer"):
                    rests = [integer(rest.get("num"), 1) for rest in layer.iter("multiRest")]
                    n_bars = max(n_bars, *rests, 0) if rests else n_bars
                    layers.append((self.layers.read(layer, staff, bar, voice), voice))
            elif child.tag in ("scoreDef", "staffDef"):
                self._content([child])
            elif child.tag != "tupletSpan":
                self.layers.marks.add(child, self.at, self.scope, self._unit(), self.staves)
        self._fill(bar, layers)
        self.at += 1
        for _ in range(min(n_bars, MAX_REPEATED_BARS) - 1):
            rest = self._bar(self.at)
            rest.length, rest.ending = bar.length, bar.ending
            self.at += 1
        if n_bars > 1:
            last = self.score.bars[self.at - 1]
            last.backward, last.style, bar.backward, bar.style = bar.backward, bar.style, False, ""

    def _unit(self) -> int:
        """Return the unit of the metre, in which times are counted."""
        first = next(iter(self.staves.values()), None)
        return first.now.metre[1] if first is not None and first.now.metre else 4

    def _fill(self, bar: Bar, layers: list[tuple[Layer, int]]) -> None:
        """Give the bar its length, and its whole-bar rests theirs."""
        explicit = [layer.at for layer, _ in layers if not layer.whole and layer.at]
        length = max(explicit, default=ZERO)
        if not explicit:
            length = max((bar_length(layer.staff) for layer, _ in layers), default=ZERO) or Fraction(4)
        bar.length = max(bar.length, length)
        for layer, voice in layers:
            if layer.whole and not layer.events:
                layer.events.append(whole_rest(length))
            if layer.events:
                bar.voices[layer.staff.index, voice] = layer.events

    def _state(self, bar: Bar, staff: Staff) -> None:
        """Put into the bar what has changed on a staff since it was last stated."""
        now, stated = staff.now, staff.stated
        sign = Sign(
            key=now.key if now.key != stated.key else None,
            metre=now.metre if now.metre != stated.metre else None,
            clef=now.clef if now.clef != stated.clef else None,
            transpose=now.transpose if now.transpose != stated.transpose else None,
        )
        if sign != Sign():
            bar.signs.setdefault(staff.index, []).append(sign)
            staff.stated = replace(now)
