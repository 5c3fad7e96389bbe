"""A `Score` as MusicXML, in the form that xml2abc understands."""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from itertools import pairwise
from math import lcm
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from clamp3.errors import FormatError
from clamp3.formats.score import MAX_DENOMINATOR, TYPES, ZERO, Bar, Event, Note, Part, Score, Sign, whole_rest

_GROUPS: dict[str, str] = {}
for _group, _marks in {
    "articulations": "accent strong-accent staccato tenuto staccatissimo spiccato breath-mark detached-legato",
    "ornaments": "trill-mark mordent inverted-mordent turn inverted-turn",
    "technical": "up-bow down-bow harmonic open-string stopped snap-pizzicato",
    "": "fermata arpeggiate",
}.items():
    _GROUPS |= dict.fromkeys(_marks.split(), _group)


def to_musicxml(score: Score) -> Element:
    """Return a ``score-partwise`` tree; beams are added to a score that has none, and some signs moved."""
    if not any(event.beam for event in score.events()):
        _beam(score)
    _delay_signs(score.bars)
    root = Element("score-partwise", version="4.0")
    if score.title:
        SubElement(SubElement(root, "work"), "work-title").text = score.title
    identification = SubElement(root, "identification")
    for kind, names in (("composer", score.composers), ("lyricist", score.lyricists)):
        for name in names:
            SubElement(identification, "creator", type=kind).text = name
    listed = SubElement(root, "part-list")
    open_groups: list[tuple[int, str]] = []
    for index, part in enumerate(score.parts):
        open_groups = _part_groups(listed, open_groups, part.groups)
        entry = SubElement(listed, "score-part", id=f"P{index + 1}")
        SubElement(entry, "part-name").text = part.name
        if part.abbreviation:
            SubElement(entry, "part-abbreviation").text = part.abbreviation
        _PartWriter(score, part).write(SubElement(root, "part", id=f"P{index + 1}"))
    _part_groups(listed, open_groups, [])
    return root


def _part_groups(listed: Element, now: list[tuple[int, str]], wanted: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Close the groups that end and open those that begin before the next part."""
    same = 0
    while same < min(len(now), len(wanted)) and now[same] == wanted[same]:
        same += 1
    for number, _ in reversed(now[same:]):
        SubElement(listed, "part-group", type="stop", number=str(number))
    for number, symbol in wanted[same:]:
        group = SubElement(listed, "part-group", type="start", number=str(number))
        SubElement(group, "group-symbol").text = symbol
    return list(wanted)


def _delay_signs(bars: list[Bar]) -> None:
    """Move keys and metres that change inside a bar to the next one: accidentals are exact, and xml2abc cannot."""
    for bar, after in pairwise(bars):
        for staff, signs in bar.signs.items():
            for sign in signs:
                if sign.onset and (sign.key or sign.metre):
                    known = after.signs.setdefault(staff, [])
                    known.insert(0, Sign(key=sign.key, metre=sign.metre))
                    sign.key = sign.metre = None
    if bars:
        for signs in bars[-1].signs.values():
            for sign in signs:
                if sign.onset:
                    sign.key = sign.metre = None


def _beam(score: Score) -> None:
    """Join the short notes within a beat, in a score that has no beams of its own."""
    beat = Fraction(1)
    for bar in score.bars:
        for signs in bar.signs.values():
            for sign in signs:
                if sign.metre is not None:
                    beats, unit = sign.metre
                    compound = unit >= 8 and beats in ("6", "9", "12")
                    beat = Fraction(12, unit) if compound else max(Fraction(1), Fraction(4, unit))
        for voice in bar.voices.values():
            groups: list[list[Event]] = [[]]
            for event in voice:
                if event.grace:
                    continue
                short = event.notes and event.written < 1 and event.duration
                if not short or not groups[-1] or event.onset // beat != groups[-1][-1].onset // beat:
                    groups.append([])
                if short:
                    groups[-1].append(event)
            for group in groups:
                if len(group) > 1:
                    for event in group:
                        event.beam = "continue"
                    group[0].beam, group[-1].beam = "begin", "end"


class _PartWriter:
    """Writes the bars of one part."""

    def __init__(self, score: Score, part: Part) -> None:
        self.bars, self.part = score.bars, part
        denominators = {1}
        numbers: dict[int, int] = {}
        for bar in self.bars:
            denominators.add(bar.length.denominator)
            for (staff, voice), events in bar.voices.items():
                if staff in part.staves:
                    numbers[staff] = max(numbers.get(staff, 0), voice + 1)
                    for event in events:
                        denominators |= {event.onset.denominator, event.duration.denominator}
        self.divisions = 1
        for denominator in denominators:
            self.divisions = lcm(self.divisions, denominator)
            if self.divisions > MAX_DENOMINATOR:
                raise FormatError("the score has too many kinds of tuplets for one unit of time.")
        self.span = max(4, *numbers.values()) if numbers else 4  # voice numbers of one staff

    def write(self, node: Element) -> None:
        """Fill a ``<part>``."""
        before = Bar()
        for number, (bar, after) in enumerate(pairwise([*self.bars, Bar()]), 1):
            measure = SubElement(node, "measure", number=str(number))
            starts = bool(bar.ending) and bar.ending != before.ending
            if bar.forward or starts:
                line = SubElement(measure, "barline", location="left")
                if starts:
                    SubElement(line, "ending", number=bar.ending, type="start")
                if bar.forward:
                    SubElement(line, "repeat", direction="forward")
            self._attributes(measure, bar, number == 1)
            self._staves(measure, bar)
            ends = bool(bar.ending) and (bar.ending != after.ending or bar.backward)
            if bar.backward or bar.style or ends:
                line = SubElement(measure, "barline", location="right")
                if bar.style:
                    SubElement(line, "bar-style").text = bar.style
                if ends:
                    SubElement(line, "ending", number=bar.ending, type="stop")
                if bar.backward:
                    SubElement(line, "repeat", direction="backward")
            before = bar

    def _attributes(self, measure: Element, bar: Bar, is_first: bool) -> None:
        """Write what holds from the beginning of a bar: key and metre of the part, clefs of its staves."""
        found = [(place, sign) for place, staff in enumerate(self.part.staves, 1) for sign in bar.signs.get(staff, [])]
        found = [(place, sign) for place, sign in found if not sign.onset]
        if not found and not is_first:
            return
        attributes = SubElement(measure, "attributes")
        if is_first:
            SubElement(attributes, "divisions").text = str(self.divisions)
        _signs(attributes, found)
        if is_first and len(self.part.staves) > 1:
            SubElement(attributes, "staves").text = str(len(self.part.staves))

    def _staves(self, measure: Element, bar: Bar) -> None:
        at = ZERO
        for place, staff in enumerate(self.part.staves, 1):
            voices = sorted((voice, events) for (own, voice), events in bar.voices.items() if own == staff and events)
            if not voices:
                voices = [(0, [whole_rest(bar.length)] if bar.length else [])]
            marks: list[tuple[Fraction, object]] = [*bar.directions.get(staff, [])]
            marks += [(sign.onset, sign) for sign in bar.signs.get(staff, []) if sign.onset and sign.clef]
            marks.sort(key=lambda mark: mark[0])
            for voice, events in voices:
                if at:
                    SubElement(SubElement(measure, "backup"), "duration").text = self._ticks(at)
                at = self._voice(measure, events, marks, place, voice)
                marks = []

    def _voice(
        self, measure: Element, events: list[Event], marks: list[tuple[Fraction, object]], place: int, voice: int
    ) -> Fraction:
        """Write one voice, with the marks of its staff before the notes they belong to; return where it ends."""
        at = ZERO
        tuplets = _tuplets(events)
        waiting = deque(marks)
        number = (place - 1) * self.span + voice + 1
        for event, ends in zip(events, tuplets, strict=True):
            if event.onset != at:
                step = SubElement(measure, "forward" if event.onset > at else "backup")
                SubElement(step, "duration").text = self._ticks(abs(event.onset - at))
            at = event.onset + event.duration
            while waiting and waiting[0][0] <= event.onset:
                _mark(measure, waiting.popleft()[1], place)
            if not event.hidden:
                self._event(measure, event, ends, place, number)
            elif event.duration:
                SubElement(SubElement(measure, "forward"), "duration").text = self._ticks(event.duration)
        for _, mark in waiting:
            _mark(measure, mark, place)
        return at

    def _ticks(self, time: Fraction) -> str:
        return str(int(time * self.divisions))

    def _event(self, measure: Element, event: Event, tuplet: list[str], place: int, number: int) -> None:
        for index, head in enumerate(event.notes or [None]):
            note = SubElement(measure, "note")
            if event.grace:
                SubElement(note, "grace", {"slash": "yes"} if event.grace == "slash" else {})
            if index:
                SubElement(note, "chord")
            _pitch(note, head)
            if not event.grace:
                SubElement(note, "duration").text = self._ticks(event.duration)
            ties = sorted(head.ties, reverse=True) if head is not None else []
            for tie in ties:
                SubElement(note, "tie", type=tie)
            SubElement(note, "voice").text = str(number)
            if event.written in TYPES:
                SubElement(note, "type").text = TYPES[event.written]
            for _ in range(event.dots):
                SubElement(note, "dot")
            if event.ratio is not None:
                ratio = SubElement(note, "time-modification")
                SubElement(ratio, "actual-notes").text = str(event.ratio[0])
                SubElement(ratio, "normal-notes").text = str(event.ratio[1])
            SubElement(note, "staff").text = str(place)
            if event.beam and not index:
                SubElement(note, "beam", number="1").text = event.beam
            notations = Element("notations")
            for tie in ties:
                SubElement(notations, "tied", type=tie)
            if not index:
                _notations(notations, event, tuplet)
            if len(notations):
                note.append(notations)
            for verse, (syllabic, text) in sorted(event.lyrics.items()) if not index else ():
                lyric = SubElement(note, "lyric", number=str(verse))
                SubElement(lyric, "syllabic").text = syllabic
                SubElement(lyric, "text").text = text


def _pitch(note: Element, head: Note | None) -> None:
    if head is None:
        SubElement(note, "rest")
    elif head.step:
        pitch = SubElement(note, "pitch")
        SubElement(pitch, "step").text = head.step
        if head.alter:
            SubElement(pitch, "alter").text = str(head.alter)
        SubElement(pitch, "octave").text = str(head.octave)
    else:
        unpitched = SubElement(note, "unpitched")
        SubElement(unpitched, "display-step").text = "B"
        SubElement(unpitched, "display-octave").text = str(head.octave)


def _notations(notations: Element, event: Event, tuplet: list[str]) -> None:
    for kind, number in event.slurs:
        SubElement(notations, "slur", type=kind, number=str(number))
    for kind in tuplet:
        SubElement(notations, "tuplet", type=kind)
    if event.tremolo is not None:
        ornaments = SubElement(notations, "ornaments")
        SubElement(ornaments, "tremolo", type=event.tremolo[0]).text = str(event.tremolo[1])
    for mark in dict.fromkeys(event.marks):
        group = _GROUPS[mark]
        SubElement(SubElement(notations, group) if group else notations, mark)


def _tuplets(events: list[Event]) -> list[list[str]]:
    """Return where tuplets start and stop; those without a name end where their sum needs no tuplet."""
    out: list[list[str]] = [[] for _ in events]
    begun: tuple[object, object] | None = None
    last, total = 0, ZERO
    for index, event in enumerate(events):
        if event.grace or event.hidden:
            continue
        key = (event.ratio, event.tuplet) if event.ratio is not None else None
        if begun is not None and key != begun:
            out[last].append("stop")
            begun = None
        if key is not None:
            if begun is None:
                out[index].append("start")
                begun, total = key, ZERO
            total += event.duration
            last = index
            if event.tuplet is None and total.denominator & (total.denominator - 1) == 0:
                out[index].append("stop")
                begun = None
    if begun is not None:
        out[last].append("stop")
    return out


def _mark(measure: Element, mark: object, place: int) -> None:
    if isinstance(mark, Sign):
        _signs(SubElement(measure, "attributes"), [(place, mark)])
        return
    assert isinstance(mark, ElementTree.Element), "marks are signs or elements"
    if mark.tag == "harmony":
        measure.append(mark)
        node = mark
    else:
        node = SubElement(measure, "direction")
        if mark.tag == "sound":
            SubElement(SubElement(node, "direction-type"), "words")
        node.append(mark)
    SubElement(node, "staff").text = str(place)


def _signs(attributes: Element, found: list[tuple[int, Sign]]) -> None:
    """Write keys, metres, clefs and transpositions in the order that MusicXML's schema asks for."""
    keys = [sign.key for _, sign in found if sign.key is not None]
    if keys:
        key = SubElement(attributes, "key")
        SubElement(key, "fifths").text = str(keys[-1][0])
        if keys[-1][1]:
            SubElement(key, "mode").text = keys[-1][1]
    metres = [sign.metre for _, sign in found if sign.metre is not None]
    if metres:
        time = SubElement(attributes, "time")
        SubElement(time, "beats").text = metres[-1][0]
        SubElement(time, "beat-type").text = str(metres[-1][1])
    for place, sign in found:
        if sign.clef is not None:
            clef = SubElement(attributes, "clef", number=str(place))
            SubElement(clef, "sign").text = sign.clef[0]
            if sign.clef[1]:
                SubElement(clef, "line").text = sign.clef[1]
            if sign.clef[2]:
                SubElement(clef, "clef-octave-change").text = str(sign.clef[2])
    shifts = [sign.transpose for _, sign in found if sign.transpose is not None]
    if shifts:
        transpose = SubElement(attributes, "transpose")
        SubElement(transpose, "diatonic").text, SubElement(transpose, "chromatic").text = map(str, shifts[-1])
