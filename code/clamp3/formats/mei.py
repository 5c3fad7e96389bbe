"""MEI scores (versions 2 to 5, common Western notation) into the bars of a `Score`.

Of alternative readings the lemma, the correction and the regularised form are read; deleted text is not.

References
----------
Music Encoding Initiative, *MEI Guidelines*, versions 3 to 5.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from fractions import Fraction
from xml.etree.ElementTree import Element

from clamp3.errors import FormatError
from clamp3.formats import mei_marks as marks
from clamp3.formats.score import SIGNATURE, ZERO, Bar, Event, Note, Part, Score, Sign, value_of, whole_rest

MAX_COPIED_NODES = 1_000_000
MAX_REPEATED_BARS = 1000  # of one rest or repeat sign
_ID = "{http://www.w3.org/XML/1998/namespace}id"
_DURATIONS = {
    "maxima": 32, "long": 16, "longa": 16, "breve": 8, "brevis": 8, "semibrevis": 4, "minima": 2, "semiminima": 1,
}  # fmt: skip
_DURATIONS_BELOW = {"fusa": 2, "semifusa": 4}
_ALTER = {"s": 1, "f": -1, "ss": 2, "x": 2, "ff": -2, "xs": 2, "sx": 2, "ts": 2, "tf": -2, "n": 0, "ns": 1, "nf": -1}
_MODES = frozenset(("major", "minor", "dorian", "phrygian", "lydian", "mixolydian", "aeolian", "ionian", "locrian"))
_IGNORED = frozenset(("del", "ossia", "oStaff", "oLayer", "gap", "annot", "expansion"))
_QUIET = frozenset((
    "accid", "artic", "dot", "sb", "pb", "cb", "barLine", "syl", "verse", "stem", "fermata", "lb", "custos",
    "pad", "mensur", "proport", "ambitus", "signifLet", "tabDurSym", "divLine", "label",
))  # fmt: skip
_PREFERRED = {"app": ("lem", "rdg"), "choice": ("corr", "reg", "expan"), "subst": ("add",)}


@dataclass
class _Staff:
    """What holds on one staff, and what of it the next bar has to state."""

    index: int
    number: str = ""
    now: Sign = field(default_factory=Sign)
    stated: Sign = field(default_factory=Sign)
    duration: str = ""
    octave: str = ""


@dataclass
class _Span:
    """A tuplet encoded beside the notes."""

    node: Element
    ratio: tuple[int, int]
    staff: str
    first: Fraction | None
    last: Fraction | None

    def begins(self, own: set[str | None], layer: _Layer) -> bool:
        """Return whether the note with these identifiers, or at the layer's time, is the first one."""
        start = self.node.get("startid")
        if start:
            return start.lstrip("#") in own
        return self.first == layer.at and self.staff == layer.staff.number

    def ends(self, own: set[str | None], at: Fraction) -> bool:
        """Return whether a note is the last one."""
        end = self.node.get("endid")
        return end.lstrip("#") in own if end else self.last is not None and at >= self.last


@dataclass
class _Layer:
    """One voice of a bar while it is read."""

    staff: _Staff
    events: list[Event]
    at: Fraction = ZERO
    ratio: tuple[int, int] | None = None
    tuplet: object = None
    grace: str = ""
    in_beam: bool = False
    half_tremolo: bool = False
    default: str = ""
    span: _Span | None = None
    whole: bool = False  # a rest or a repeat of the whole bar


def children(node: Iterable[Element]) -> Iterator[Element]:
    """Yield the children that belong to the text: of alternatives one, of editors' elements what is inside."""
    for child in node:
        tag = child.tag
        if tag in _PREFERRED:
            inside = [sub for name in _PREFERRED[tag] for sub in child if sub.tag == name] or list(child)
            for sub in inside[:1]:
                yield from children(sub)
        elif tag == "restore":
            for sub in child:
                yield from children(sub) if sub.tag == "del" else _expanded(sub)
        elif tag not in _IGNORED:
            yield from _expanded(child)
        elif tag == "ossia":
            yield from children(child)


def _expanded(child: Element) -> Iterator[Element]:
    if child.tag in ("supplied", "unclear", "add", "corr", "sic", "orig", "reg", "damage", "lem", "rdg", "hand"):
        yield from children(child)
    else:
        yield child


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
        self.marks = marks.Marks(self.score)
        self.staves: dict[str, _Staff] = {}
        self.parts: dict[int, Part] = {}
        self.left_out: Counter[str] = Counter()
        self.repeats: list[tuple[int, tuple[int, int], int]] = []  # bar, staff and voice, number of bars
        self.scope = ""  # before the numbers of staves, where parts are encoded one by one
        self.at = 0  # index of the next bar
        self.ending = ""
        self.forward = False
        self.n_groups = 0
        notes = list(root.iter("note"))
        self.explicit = any("accid.ges" in accid.attrib for note in notes for accid in note.iter())
        self.accidentals: dict[tuple[int, str, int], int] = {}
        self.spans: list[_Span] = []

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
        for bar, key, count in sorted(self.repeats):
            self._repeat(bar, key, count)
        self.left_out.update(self.marks.attach())
        listed: dict[int, Part] = {}
        for staff in self.staves.values():
            part = self.parts[staff.index]
            listed[id(part)] = part
        self.score.parts = list(listed.values())
        marks.head(self.root, self.score)
        notes = [f"<{tag}> left out" + (f" ({count})" if count > 1 else "") for tag, count in self.left_out.items()]
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
            self._apply(node, staff, "")
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
        self._apply(node, staff, "")
        layer = node.find("layerDef")
        if layer is not None:
            self._apply(layer, staff, "")

    def _staff(
        self, number: str, node: Element | None = None, groups: list[tuple[int, str]] | None = None,
        shared: Part | None = None,
    ) -> _Staff:  # fmt: skip
        key = self.scope + number.split()[0] if number.split() else self.scope
        if key not in self.staves:
            staff = self.staves[key] = _Staff(len(self.staves), key.split()[-1] if key.split() else "")
            if shared is None:
                shared = Part([], *(marks.label(node) if node is not None else ("", "")), groups or [])
            shared.staves.append(staff.index)
            self.parts[staff.index] = shared
            if self.staves and node is None:
                staff.now = replace(next(iter(self.staves.values())).now, clef=None)
        return self.staves[key]

    def _apply(self, node: Element, staff: _Staff, prefix: str) -> None:
        """Take key, metre, clef and defaults from a definition's attributes and children."""
        staff.duration = node.get("dur.default", staff.duration)
        staff.octave = node.get("octave.default") or node.get("oct.default") or staff.octave
        now = staff.now
        found = [_key(node.get("key.sig") or node.get("keysig"), node.get("key.mode"), node)]
        metres = [_metre(node.get("meter.count"), node.get("meter.unit"), node.get("meter.sym"))]
        shape = node.get("clef.shape")
        clefs = [_clef(shape, node.get("clef.line"), node.get("clef.dis"), node.get("clef.dis.place"))]
        for child in children(node):
            if child.tag in ("keySig", "meterSig", "clef", "meterSigGrp"):
                sign = _sign(child)
                found.append(sign.key)
                metres.append(sign.metre)
                clefs.append(sign.clef)
        now.key = next((key for key in reversed(found) if key), now.key)
        now.metre = next((metre for metre in reversed(metres) if metre), now.metre)
        now.clef = next((clef for clef in reversed(clefs) if clef), now.clef)
        if node.get("trans.semi") or node.get("trans.diat"):
            now.transpose = (_integer(node.get("trans.diat")), _integer(node.get("trans.semi")))

    # ---- measures ------------------------------------------------------------------------------------------------

    def _bar(self, index: int) -> Bar:
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
        self.accidentals.clear()
        self.spans = [_span(child, self._unit()) for child in children(node) if child.tag == "tupletSpan"]
        layers: list[tuple[_Layer, int]] = []
        n_bars = 1
        for child in children(node):
            if child.tag == "staff":
                staff = self._staff(child.get("n") or child.get("def", "#1")[-1:])
                self._state(bar, staff)
                for voice, layer in enumerate(sub for sub in children(child) if sub.tag == "layer"):
                    rests = [_integer(rest.get("num"), 1) for rest in layer.iter("multiRest")]
                    n_bars = max(n_bars, *rests, 0) if rests else n_bars
                    layers.append((self._layer(layer, staff, bar, voice), voice))
            elif child.tag in ("scoreDef", "staffDef"):
                self._content([child])
            elif child.tag != "tupletSpan":
                self.marks.add(child, self.at, self.scope, self._unit(), self.staves)
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

    def _fill(self, bar: Bar, layers: list[tuple[_Layer, int]]) -> None:
        """Give the bar its length, and its whole-bar rests theirs."""
        explicit = [layer.at for layer, _ in layers if not layer.whole and layer.at]
        length = max(explicit, default=ZERO)
        if not explicit:
            length = max((_length(layer.staff) for layer, _ in layers), default=ZERO) or Fraction(4)
        bar.length = max(bar.length, length)
        for layer, voice in layers:
            if layer.whole and not layer.events:
                layer.events.append(whole_rest(length))
            if layer.events:
                bar.voices[layer.staff.index, voice] = layer.events

    def _state(self, bar: Bar, staff: _Staff) -> None:
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

    def _layer(self, node: Element, staff: _Staff, bar: Bar, voice: int) -> _Layer:
        layer = _Layer(staff, [], default=node.get("dur.default", ""))
        accidentals = dict(self.accidentals)
        self._walk(node, layer, bar, voice)
        if layer.at > _length(staff) > 0 and next(node.iter("fTrem"), None) is not None:
            # Encoders differ on whether a note of such a tremolo has the length of one or of both.
            self.accidentals = accidentals
            layer = _Layer(staff, [], default=layer.default, half_tremolo=True)
            self._walk(node, layer, bar, voice)
        return layer

    def _walk(self, node: Element, layer: _Layer, bar: Bar, voice: int) -> None:
        for child in children(node):
            tag = child.tag
            if tag in ("note", "chord", "rest", "space"):
                self._spanned(child, layer, voice)
            elif tag in ("mRest", "mSpace", "multiRest"):
                layer.whole = True
            elif tag in ("mRpt", "mRpt2", "multiRpt"):
                layer.whole = True
                count = 1 if tag == "mRpt" else 2 if tag == "mRpt2" else _integer(child.get("num"), 1)
                self.repeats.append((self.at, (layer.staff.index, voice), max(1, min(count, MAX_REPEATED_BARS))))
            elif tag in ("beatRpt", "halfmRpt"):
                self._repeat_beat(layer, tag)
            elif tag == "tuplet":
                ratio = _integer(child.get("num"), 3), _integer(child.get("numbase"), 2)
                self._inside(child, layer, bar, voice, ratio=ratio if min(ratio) > 0 else None)
            elif tag == "beam":
                self._beam(child, layer, bar, voice)
            elif tag == "graceGrp":
                layer.grace = "slash" if child.get("grace") == "unacc" else "plain"
                self._walk(child, layer, bar, voice)
                layer.grace = ""
            elif tag in ("bTrem", "fTrem"):
                self._tremolo(child, layer, bar, voice)
            elif tag in ("clef", "keySig", "meterSig", "meterSigGrp"):
                self._change(child, layer, bar)
            elif tag in ("scoreDef", "staffDef"):
                self._content([child])
            elif tag not in _QUIET:
                if next(child.iter("note"), None) is None:
                    self.left_out[str(tag)] += 1
                self._walk(child, layer, bar, voice)

    def _inside(self, node: Element, layer: _Layer, bar: Bar, voice: int, ratio: tuple[int, int] | None) -> None:
        before = layer.ratio, layer.tuplet
        if ratio is not None:
            whole = Fraction(*ratio) * (Fraction(*before[0]) if before[0] else 1)
            layer.ratio = ratio if before[0] is None else (whole.numerator, whole.denominator)
            layer.tuplet = node
        self._walk(node, layer, bar, voice)
        layer.ratio, layer.tuplet = before

    def _beam(self, node: Element, layer: _Layer, bar: Bar, voice: int) -> None:
        begun, outer = len(layer.events), layer.in_beam
        layer.in_beam = True
        self._walk(node, layer, bar, voice)
        layer.in_beam = outer
        inside = [event for event in layer.events[begun:] if not event.grace]
        if not outer and len(inside) > 1:
            for event in inside:
                event.beam = "continue"
            inside[0].beam, inside[-1].beam = "begin", "end"

    def _tremolo(self, node: Element, layer: _Layer, bar: Bar, voice: int) -> None:
        begun = len(layer.events)
        halved = node.tag == "fTrem" and layer.half_tremolo
        ratio = layer.ratio
        if halved:
            layer.ratio = (2 * (ratio[0] if ratio else 1), ratio[1] if ratio else 1)
        self._walk(node, layer, bar, voice)
        layer.ratio = ratio
        strokes = {"8": 1, "16": 2, "32": 3, "64": 4}.get(node.get("unitdur", ""), 0)
        notes = [event for event in layer.events[begun:] if event.notes and not event.grace]
        for event, kind in zip(notes, ("start", "stop") if node.tag == "fTrem" else ("single",), strict=False):
            if event.tremolo is None:
                event.tremolo = (kind, max(1, strokes))

    def _change(self, node: Element, layer: _Layer, bar: Bar) -> None:
        """Take a clef, a key or a metre that stands among the notes."""
        sign, now = _sign(node), layer.staff.now
        for name in ("key", "metre", "clef"):
            value = getattr(sign, name)
            if value is not None and value != getattr(now, name):
                setattr(now, name, value)
                setattr(layer.staff.stated, name, value)
            else:
                setattr(sign, name, None)
        if sign != Sign():
            sign.onset = layer.at
            bar.signs.setdefault(layer.staff.index, []).append(sign)

    # ---- notes ---------------------------------------------------------------------------------------------------

    def _spanned(self, node: Element, layer: _Layer, voice: int) -> None:
        """Read a note that may belong to a tuplet encoded beside the notes, or in their attributes."""
        if layer.ratio is not None and layer.span is None:
            self._event(node, layer, voice)
            return
        own = {node.get(_ID), *(head.get(_ID) for head in node)} - {None}
        if layer.span is None:
            begun = [span for span in self.spans if span.begins(own, layer)]
            if begun:
                layer.span, layer.ratio, layer.tuplet = begun[0], begun[0].ratio, begun[0].node
            elif (node.get("tuplet") or "").startswith("i"):
                layer.span, layer.ratio, layer.tuplet = _Span(node, (3, 2), "", None, None), (3, 2), node
        at = layer.at
        self._event(node, layer, voice)
        if layer.span is not None and (layer.span.ends(own, at) or (node.get("tuplet") or "").startswith("t")):
            layer.span = layer.ratio = layer.tuplet = None

    def _event(self, node: Element, layer: _Layer, voice: int) -> None:
        heads = [sub for sub in children(node) if sub.tag == "note"] if node.tag == "chord" else []
        heads = [node] if node.tag == "note" else heads
        grace = layer.grace or {"unacc": "slash", "acc": "plain", "unknown": "plain"}.get(node.get("grace", ""), "")
        if not grace and heads and heads[0].get("grace"):
            grace = "plain"
        stated = node.get("dur") or next((head.get("dur") for head in heads if head.get("dur")), None)
        base = _duration(stated or layer.default or layer.staff.duration or ("8" if grace else "4"))
        dots = _integer(node.get("dots")) or sum(sub.tag == "dot" for sub in node)
        dots = dots or max((_integer(head.get("dots")) for head in heads), default=0)
        dots = min(4, max(0, dots))
        event = Event(layer.at, ZERO, written=value_of(base)[0], dots=dots, grace=grace)
        event.notes = [self._note(head, layer.staff, node) for head in heads]
        event.hidden = node.tag == "space"
        if not grace:
            event.duration = base * (2 - Fraction(1, 1 << dots))
            if layer.ratio is not None:
                event.duration /= Fraction(*layer.ratio)
                event.ratio, event.tuplet = layer.ratio, layer.tuplet
        marks.own_marks(event, node, heads)
        self.marks.known(event, node, heads, (self.at, layer.staff.index, voice))
        layer.at += event.duration
        layer.events.append(event)

    def _note(self, node: Element, staff: _Staff, chord: Element) -> Note:
        name, octave = node.get("pname", ""), _integer(node.get("oct.ges") or node.get("oct") or staff.octave, 4)
        ties = marks.tie_ends((node.get("tie") or "") + (chord.get("tie") or ""))
        if len(name) != 1 or name not in "abcdefg":
            return Note("", 4, ties=ties)
        accids = [node, *(sub for sub in children(node) if sub.tag == "accid")]
        values = [accid.get(key) for key in ("accid.ges", "accid") for accid in accids]
        stated = next((value for value in values if value), None)
        place = (staff.index, name, octave)
        if stated is not None:
            alter = _ALTER.get(stated, _ALTER.get(stated[:1], 0))
            self.accidentals[place] = alter
        elif self.explicit:
            alter = 0
        else:
            alter = self.accidentals.get(place, _by_key(name, staff.now.key))
        return Note(name.upper(), octave, alter, ties)

    def _repeat_beat(self, layer: _Layer, tag: str) -> None:
        beats, unit = layer.staff.now.metre or ("4", 4)
        beat = Fraction(12, unit) if unit >= 8 and beats in ("6", "9", "12") else Fraction(4, unit)
        length = _length(layer.staff) / 2 if tag == "halfmRpt" else beat
        for event in [event for event in layer.events if event.onset >= layer.at - length]:
            layer.events.append(self._copy(event, event.onset + length))
        layer.at += length

    def _copy(self, event: Event, onset: Fraction) -> Event:
        copied = replace(event, onset=onset, notes=deepcopy(event.notes), slurs=[], lyrics={}, marks=list(event.marks))
        for note in copied.notes:
            note.ties.clear()
        self.score.copied += len(copied.notes)
        return copied

    def _repeat(self, index: int, key: tuple[int, int], count: int) -> None:
        """Write the bars before a repeat sign out."""
        for bar in range(index, min(index + count, len(self.score.bars))):
            if bar < count or any(event.notes for event in self.score.bars[bar].voices.get(key, [])):
                continue
            source = self.score.bars[bar - count].voices.get(key, [])
            if source:
                self.score.bars[bar].voices[key] = [self._copy(event, event.onset) for event in source]


def _span(node: Element, unit: int) -> _Span:
    ratio = max(1, _integer(node.get("num"), 3)), max(1, _integer(node.get("numbase"), 2))
    last = (node.get("tstamp2") or "").replace(" ", "").removeprefix("0m+")
    return _Span(node, ratio, node.get("staff", "1"), marks.onset(node.get("tstamp"), unit), marks.onset(last, unit))


def _integer(text: str | None, default: int = 0) -> int:
    found = re.match(r"\s*([+-]?\d{1,6})", text or "")
    return int(found.group(1)) if found else default


def _duration(text: str) -> Fraction:
    if text in _DURATIONS:
        return Fraction(_DURATIONS[text])
    if text in _DURATIONS_BELOW:
        return Fraction(1, _DURATIONS_BELOW[text])
    number = _integer(text, 4)
    return Fraction(4, number) if number > 0 else Fraction(8)


def _key(sig: str | None, mode: str | None, node: Element) -> tuple[int, str] | None:
    """Return fifths and mode of a signature such as ``3f``."""
    found = re.fullmatch(r"\s*(\d{1,2})([sf]?)\s*", sig or "")
    if found is None:
        return None
    fifths = min(7, int(found.group(1))) * (-1 if found.group(2) == "f" else 1)
    return fifths, mode if mode in _MODES else ""


def _metre(count: str | None, unit: str | None, symbol: str | None) -> tuple[str, int] | None:
    beats = sum(int(number) for number in re.findall(r"\d{1,4}", count or ""))
    if not beats:
        return {"common": ("4", 4), "cut": ("2", 2)}.get(symbol or "")
    number = _integer(unit, 4)
    return (str(beats), number) if number > 0 and number & (number - 1) == 0 else None


def _clef(shape: str | None, line: str | None, octaves: str | None, place: str | None) -> tuple[str, str, int] | None:
    if not shape:
        return None
    if shape not in ("G", "F", "C", "GG"):
        return "TAB" if shape == "TAB" else "percussion", "", 0
    shift = {"8": 1, "15": 2}.get(octaves or "", 0) * (-1 if place == "below" else 1)
    return shape[0], line or {"G": "2", "F": "4", "C": "3"}[shape[0]], -1 if shape == "GG" else shift


def _sign(node: Element) -> Sign:
    if node.tag == "clef":
        return Sign(clef=_clef(*(node.get(key) for key in ("shape", "line", "dis", "dis.place"))))
    if node.tag == "meterSigGrp":
        inside = [metre for metre in (_sign(sub).metre for sub in node.findall("meterSig")) if metre]
        if inside and node.get("func") == "mixed":
            unit = max(unit for _, unit in inside)
            return Sign(metre=(str(sum(int(beats) * unit // own for beats, own in inside)), unit))
        return Sign(metre=inside[0] if inside else None)
    if node.tag == "meterSig":
        return Sign(metre=_metre(node.get("count"), node.get("unit"), node.get("sym")))
    signature = node.get("sig")
    accids = [child.get("accid", "") for child in node.findall("keyAccid")]
    if signature is None and accids:
        signature = f"{len(accids)}{accids[0]}"
    return Sign(key=_key(signature, node.get("mode"), node))


def _length(staff: _Staff) -> Fraction:
    beats, unit = staff.now.metre or ("4", 4)
    return Fraction(4 * int(beats), unit)


def _by_key(name: str, key: tuple[int, str] | None) -> int:
    fifths = key[0] if key else 0
    place = SIGNATURE.index(name.upper())
    return (place < fifths) - (6 - place < -fifths)
