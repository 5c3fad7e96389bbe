"""The voices of MEI measures: notes, rests and what stands among them, into events."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import takewhile
from typing import Any
from xml.etree.ElementTree import Element

from clamp3.errors import FormatError
from clamp3.formats import mei_marks as marks
from clamp3.formats.mei_values import by_key, duration_of, integer, sign_of
from clamp3.formats.score import MAX_DENOMINATOR, ZERO, Bar, Event, Note, Score, Sign, value_of

MAX_REPEATED_BARS = 1000  # of one rest or repeat sign
_ID = "{http://www.w3.org/XML/1998/namespace}id"
_PLAYED = re.compile(r"\d{1,4}|breve|long|maxima")
_ALTER = {"s": 1, "f": -1, "ss": 2, "x": 2, "ff": -2, "xs": 2, "sx": 2, "ts": 2, "tf": -2, "n": 0, "ns": 1, "nf": -1}
_IGNORED = frozenset(("del", "ossia", "oStaff", "oLayer", "gap", "annot", "expansion"))
_QUIET = frozenset((
    "accid", "artic", "dot", "sb", "pb", "cb", "barLine", "syl", "verse", "stem", "fermata", "lb", "custos",
    "pad", "mensur", "proport", "ambitus", "signifLet", "tabDurSym", "divLine", "label",
))  # fmt: skip
_PREFERRED = {"app": ("lem", "rdg"), "choice": ("corr", "reg", "expan"), "subst": ("add",)}


@dataclass
class Staff:
    """What holds on one staff, and what of it the next bar has to state."""

    index: int
    number: str = ""
    ticks: int = 0  # of a quarter
    now: Sign = field(default_factory=Sign)
    stated: Sign = field(default_factory=Sign)
    duration: str = ""
    octave: str = ""


@dataclass
class Span:
    """A tuplet encoded beside the notes."""

    node: Element
    ratio: tuple[int, int]
    staff: str
    first: Fraction | None
    last: Fraction | None

    def starts(self) -> list[object]:
        """Return what its first note is found by: its identifier, or its staff and time."""
        start = self.node.get("startid")
        return [start.lstrip("#")] if start else [(self.staff, self.first)] * (self.first is not None)

    def ends(self, own: set[str | None], at: Fraction) -> bool:
        """Return whether a note is the last one.

        Parameters
        ----------
        own : set of str
            Identifiers of the note and of what holds it.
        at : Fraction
            Its onset.
        """
        end = self.node.get("endid")
        return end.lstrip("#") in own if end else self.last is not None and at >= self.last


@dataclass
class Layer:
    """One voice of a bar while it is read."""

    staff: Staff
    events: list[Event]
    at: Fraction = ZERO
    ratio: tuple[int, int] | None = None
    tuplet: object = None
    grace: str = ""
    in_beam: bool = False
    half_tremolo: bool = False
    by_ticks: bool = False
    default: str = ""
    span: Span | None = None
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


class Layers:
    """Reads the layers of one document, measure by measure.

    Parameters
    ----------
    score : Score
        Its bars receive repeated music.
    explicit : bool
        Notes state their accidentals; otherwise signature and bar give them.
    define : callable
        Takes definitions that stand among the notes.
    """

    def __init__(self, score: Score, explicit: bool, define: Callable[[Iterable[Element]], None]) -> None:
        self.score, self._explicit, self._define = score, explicit, define
        self.marks = marks.Marks(score)
        self.left_out: Counter[str] = Counter()
        self._spans: dict[object, Span] = {}  # of the measure being read, by their first note or its staff and time
        self._at = 0  # its index
        self._repeats: list[tuple[int, tuple[int, int], int]] = []  # bar, staff and voice, number of bars
        self._accidentals: dict[tuple[int, str, int], int] = {}

    def begin(self, index: int, spans: list[Span]) -> None:
        """Begin a measure.

        Parameters
        ----------
        index : int
            Of its bar.
        spans : list of Span
            Its tuplets that are encoded beside the notes.
        """
        self._at = index
        self._spans = {key: span for span in spans for key in span.starts()}
        self._accidentals.clear()

    def finish(self) -> None:
        """Write the bars that repeat others out."""
        for bar, key, count in sorted(self._repeats):
            self._repeat(bar, key, count)

    def read(self, node: Element, staff: Staff, bar: Bar, voice: int) -> Layer:
        """Read one layer of a measure.

        Where it does not fill the measure, other ways of counting are tried: encoders differ on whether each note of
        a tremolo between two has the length of one or of both, and exporters state durations in ticks beside values.

        Parameters
        ----------
        node : Element
        staff : Staff
        bar : Bar
            Receives the signs among the notes.
        voice : int
        """
        length, first = bar_length(staff), None
        ways = [(False, False)]
        ways += [(True, False)] if next(node.iter("fTrem"), None) is not None else []
        ways += [(False, True)] if staff.ticks and any("dur.ppq" in one.attrib for one in node.iter()) else []
        before = self._state(staff, bar)
        for halves, by_ticks in ways:
            self._restore(before, staff, bar)
            layer = Layer(staff, [], default=node.get("dur.default", ""), half_tremolo=halves, by_ticks=by_ticks)
            self._walk(node, layer, bar, voice)
            if layer.at == length or layer.whole:
                return layer
            first = first or layer
        if len(ways) > 1:
            self._restore(before, staff, bar)
            halves = ways[1][0] and first is not None and first.at > length
            layer = Layer(staff, [], default=node.get("dur.default", ""), half_tremolo=halves)
            self._walk(node, layer, bar, voice)
        return layer

    def _state(self, staff: Staff, bar: Bar) -> tuple[Any, ...]:
        counts = len(self._repeats), self.score.copied, len(bar.signs.get(staff.index, []))
        return counts, dict(self._accidentals), self.left_out.copy(), replace(staff.now), replace(staff.stated)

    def _restore(self, state: tuple[Any, ...], staff: Staff, bar: Bar) -> None:
        """Forget what was read since."""
        (n_repeats, self.score.copied, n_signs), accidentals, left_out, now, stated = state
        del self._repeats[n_repeats:]
        if staff.index in bar.signs:
            del bar.signs[staff.index][n_signs:]
        self._accidentals, self.left_out = dict(accidentals), left_out.copy()
        staff.now, staff.stated = replace(now), replace(stated)

    def _walk(self, node: Element, layer: Layer, bar: Bar, voice: int) -> None:
        for child in children(node):
            tag = child.tag
            if tag in ("note", "chord", "rest", "space"):
                self._spanned(child, layer, voice)
            elif tag in ("mRest", "mSpace", "multiRest"):
                layer.whole = True
            elif tag in ("mRpt", "mRpt2", "multiRpt"):
                layer.whole = True
                count = 1 if tag == "mRpt" else 2 if tag == "mRpt2" else integer(child.get("num"), 1)
                self._repeats.append((self._at, (layer.staff.index, voice), max(1, min(count, MAX_REPEATED_BARS))))
            elif tag in ("beatRpt", "halfmRpt"):
                self._repeat_beat(layer, tag)
            elif tag == "tuplet":
                ratio = integer(child.get("num"), 3), integer(child.get("numbase"), 2)
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
                self._define([child])
            elif tag not in _QUIET:
                if next(child.iter("note"), None) is None:
                    self.left_out[str(tag)] += 1
                self._walk(child, layer, bar, voice)

    def _inside(self, node: Element, layer: Layer, bar: Bar, voice: int, ratio: tuple[int, int] | None) -> None:
        before = layer.ratio, layer.tuplet
        if ratio is not None:
            whole = Fraction(*ratio) * (Fraction(*before[0]) if before[0] else 1)
            layer.ratio = ratio if before[0] is None else (whole.numerator, whole.denominator)
            layer.tuplet = node
        self._walk(node, layer, bar, voice)
        layer.ratio, layer.tuplet = before

    def _beam(self, node: Element, layer: Layer, bar: Bar, voice: int) -> None:
        begun, outer = len(layer.events), layer.in_beam
        layer.in_beam = True
        self._walk(node, layer, bar, voice)
        layer.in_beam = outer
        inside = [event for event in layer.events[begun:] if not event.grace]
        if not outer and len(inside) > 1:
            for event in inside:
                event.beam = "continue"
            inside[0].beam, inside[-1].beam = "begin", "end"

    def _tremolo(self, node: Element, layer: Layer, bar: Bar, voice: int) -> None:
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

    def _change(self, node: Element, layer: Layer, bar: Bar) -> None:
        """Take a clef, a key or a metre that stands among the notes."""
        sign, now = sign_of(node), layer.staff.now
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

    def _spanned(self, node: Element, layer: Layer, voice: int) -> None:
        """Read a note that may belong to a tuplet encoded beside the notes, or in their attributes."""
        if layer.ratio is not None and layer.span is None:
            self._event(node, layer, voice)
            return
        own = {node.get(_ID), *(head.get(_ID) for head in node)} - {None}
        if layer.span is None:
            keys = (*own, (layer.staff.number, layer.at))
            begun = [self._spans[key] for key in keys if key in self._spans]
            if begun:
                layer.span, layer.ratio, layer.tuplet = begun[0], begun[0].ratio, begun[0].node
            elif (node.get("tuplet") or "").startswith("i"):
                layer.span, layer.ratio, layer.tuplet = Span(node, (3, 2), "", None, None), (3, 2), node
        at = layer.at
        self._event(node, layer, voice)
        if layer.span is not None and (layer.span.ends(own, at) or (node.get("tuplet") or "").startswith("t")):
            layer.span = layer.ratio = layer.tuplet = None

    def _event(self, node: Element, layer: Layer, voice: int) -> None:
        heads = [sub for sub in children(node) if sub.tag == "note"] if node.tag == "chord" else []
        heads = [node] if node.tag == "note" else heads
        grace = layer.grace or {"unacc": "slash", "acc": "plain", "unknown": "plain"}.get(node.get("grace", ""), "")
        if not grace and heads and heads[0].get("grace"):
            grace = "plain"
        one = node if "dur" in node.attrib or not heads else heads[0]
        played = "dur.ges" in one.attrib and _PLAYED.fullmatch(one.get("dur.ges", "")) is not None
        stated = one.get("dur.ges") if played else one.get("dur")
        base = duration_of(stated or layer.default or layer.staff.duration or ("8" if grace else "4"))
        dots = integer(one.get("dots")) or sum(sub.tag == "dot" for sub in one)
        dots = integer(one.get("dots.ges")) if played and "dots.ges" in one.attrib else dots
        dots = min(4, max(0, dots))
        event = Event(layer.at, ZERO, written=value_of(base)[0], dots=dots, grace=grace)
        event.notes = [self._note(head, layer.staff, node) for head in heads]
        event.hidden = node.tag == "space"
        if not grace:
            event.duration = base * (2 - Fraction(1, 1 << dots))
            ticks = integer(one.get("dur.ppq")) if layer.by_ticks else 0
            if ticks > 0:
                event.duration = Fraction(ticks, layer.staff.ticks)
                event.written, event.dots, event.ratio = value_of(event.duration)
            elif layer.ratio is not None:
                event.duration /= Fraction(*layer.ratio)
                event.ratio, event.tuplet = layer.ratio, layer.tuplet
        marks.own_marks(event, node, heads)
        self.marks.known(event, node, heads, (self._at, layer.staff.index, voice))
        layer.at += event.duration
        if layer.at.denominator > MAX_DENOMINATOR:
            raise FormatError("the MEI document has times that are no sensible fraction of a bar.")
        layer.events.append(event)

    def _note(self, node: Element, staff: Staff, chord: Element) -> Note:
        name, octave = node.get("pname", ""), integer(node.get("oct.ges") or node.get("oct") or staff.octave, 4)
        ties = marks.tie_ends((node.get("tie") or "") + (chord.get("tie") or ""))
        if len(name) != 1 or name not in "abcdefg":
            return Note("", 4, ties=ties)
        accids = [node, *(sub for sub in children(node) if sub.tag == "accid")]
        values = [accid.get(key) for key in ("accid.ges", "accid") for accid in accids]
        stated = next((value for value in values if value), None)
        place = (staff.index, name, octave)
        if stated is not None:
            alter = _ALTER.get(stated, _ALTER.get(stated[:1], 0))
            self._accidentals[place] = alter
        elif self._explicit:
            alter = 0
        else:
            alter = self._accidentals.get(place, by_key(name, staff.now.key))
        return Note(name.upper(), octave, alter, ties)

    def _repeat_beat(self, layer: Layer, tag: str) -> None:
        beats, unit = layer.staff.now.metre or ("4", 4)
        beat = Fraction(12, unit) if unit >= 8 and beats in ("6", "9", "12") else Fraction(4, unit)
        length = bar_length(layer.staff) / 2 if tag == "halfmRpt" else beat
        last = takewhile(lambda event: event.onset >= layer.at - length, reversed(layer.events))
        for event in reversed(list(last)):
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


def span_of(node: Element, unit: int) -> Span:
    """Return the tuplet of a ``<tupletSpan>``; times are counted in the unit of the metre.

    Parameters
    ----------
    node : Element
    unit : int
    """
    ratio = max(1, integer(node.get("num"), 3)), max(1, integer(node.get("numbase"), 2))
    last = (node.get("tstamp2") or "").replace(" ", "").removeprefix("0m+")
    return Span(node, ratio, node.get("staff", "1"), marks.onset(node.get("tstamp"), unit), marks.onset(last, unit))


def bar_length(staff: Staff) -> Fraction:
    """Return the length of a bar in quarters, by the metre."""
    beats, unit = staff.now.metre or ("4", 4)
    return Fraction(4 * int(beats), unit)
