"""A score as readers of notation see it, and its MusicXML: bars of staves, whose voices are events with exact times.

The readers of kern and MEI fill a `Score`; `Score.musicxml` writes what xml2abc understands. Times are fractions of a
quarter note, counted from the beginning of the bar.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from math import lcm
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

ZERO = Fraction(0)
TYPES = {
    Fraction(32): "maxima",
    Fraction(16): "long",
    Fraction(8): "breve",
    Fraction(4): "whole",
    Fraction(2): "half",
    Fraction(1): "quarter",
    Fraction(1, 2): "eighth",
    **{Fraction(1, 1 << i): f"{4 << i}th" for i in range(2, 9)},
}
SIGNATURE = "FCGDAEB"
_MODES = {"major": 0, "minor": -3, "dorian": -2, "phrygian": -4, "lydian": 1, "mixolydian": -1, "locrian": -5}
_GROUPS: dict[str, str] = {}
for _group, _marks in {
    "articulations": "accent strong-accent staccato tenuto staccatissimo spiccato breath-mark detached-legato",
    "ornaments": "trill-mark mordent inverted-mordent turn inverted-turn",
    "technical": "up-bow down-bow harmonic open-string stopped snap-pizzicato",
    "": "fermata arpeggiate",
}.items():
    _GROUPS |= dict.fromkeys(_marks.split(), _group)
DYNAMICS = frozenset((
    "p", "pp", "ppp", "pppp", "f", "ff", "fff", "ffff", "mp", "mf", "sfz", "sf", "fp", "fz", "rf", "rfz", "n",
))  # fmt: skip


@dataclass
class Note:
    """One note head; ``ties`` holds "start" and "stop". Without a step it has no pitch."""

    step: str
    octave: int
    alter: int = 0
    ties: set[str] = field(default_factory=set)


@dataclass
class Event:
    """A note, a chord or (without notes) a rest.

    Attributes
    ----------
    onset, duration : Fraction
        What it takes up in its bar; grace notes take nothing.
    notes : list of Note
    written : Fraction
        Value of the note without dots and tuplets.
    dots : int
    ratio : tuple of int, optional
        Notes played and notes they stand for, of a tuplet.
    tuplet : object, optional
        Events of one tuplet have the same; None lets the writer group them.
    grace : str
        ``"slash"`` or ``"plain"``.
    beam : str
        ``"begin"``, ``"continue"`` or ``"end"``.
    marks : list of str
        MusicXML names of articulations and ornaments.
    slurs : list of (str, int)
        ``"start"`` or ``"stop"`` with a number.
    lyrics : dict of int to (str, str)
        Per verse its syllabic and its text.
    tremolo : tuple of (str, int), optional
        Type and number of strokes.
    hidden : bool
        Takes up its time, but is not shown.
    """

    onset: Fraction
    duration: Fraction
    notes: list[Note] = field(default_factory=list)
    written: Fraction = ZERO
    dots: int = 0
    ratio: tuple[int, int] | None = None
    tuplet: object = None
    grace: str = ""
    beam: str = ""
    marks: list[str] = field(default_factory=list)
    slurs: list[tuple[str, int]] = field(default_factory=list)
    lyrics: dict[int, tuple[str, str]] = field(default_factory=dict)
    tremolo: tuple[str, int] | None = None
    hidden: bool = False


@dataclass
class Sign:
    """A key, a metre or a clef from a time on; the fields that are None stay as they are.

    ``key`` is (fifths, mode or ""), ``metre`` (beats, unit), ``clef`` (sign, line, octaves).
    """

    onset: Fraction = ZERO
    key: tuple[int, str] | None = None
    metre: tuple[str, int] | None = None
    clef: tuple[str, str, int] | None = None
    transpose: tuple[int, int] | None = None


@dataclass
class Bar:
    """One bar of all staves; staves and voices are numbered from 0.

    Attributes
    ----------
    length : Fraction
    voices : dict of (int, int) to list of Event
        By staff and voice.
    signs : dict of int to list of Sign
    directions : dict of int to list of (Fraction, Element)
        Contents of ``<direction>`` or ``<harmony>`` elements, by staff.
    forward, backward : bool
        A repeated passage begins or ends here.
    style : str
        MusicXML's name of the line at its end.
    ending : str
        Number of the volta that the bar belongs to.
    """

    length: Fraction = ZERO
    voices: dict[tuple[int, int], list[Event]] = field(default_factory=dict)
    signs: dict[int, list[Sign]] = field(default_factory=dict)
    directions: dict[int, list[tuple[Fraction, Element]]] = field(default_factory=dict)
    forward: bool = False
    backward: bool = False
    style: str = ""
    ending: str = ""


@dataclass
class Part:
    """Staves of one instrument, from the top, and the groups it stands in: (number, symbol), from outside."""

    staves: list[int]
    name: str = ""
    abbreviation: str = ""
    groups: list[tuple[int, str]] = field(default_factory=list)


@dataclass
class Score:
    """Parts from the top, and their bars; ``copied`` notes are more than the source has (repeated or divided ones)."""

    parts: list[Part] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    title: str = ""
    composers: list[str] = field(default_factory=list)
    lyricists: list[str] = field(default_factory=list)
    copied: int = 0

    def events(self) -> Iterable[Event]:
        """Yield the events of all bars, staves and voices."""
        for bar in self.bars:
            for voice in bar.voices.values():
                yield from voice

    def musicxml(self) -> Element:
        """Return a ``score-partwise`` tree."""
        if not any(event.beam for event in self.events()):
            _beam(self)
        _delay_signs(self.bars)
        root = Element("score-partwise", version="4.0")
        if self.title:
            SubElement(SubElement(root, "work"), "work-title").text = self.title
        identification = SubElement(root, "identification")
        for kind, names in (("composer", self.composers), ("lyricist", self.lyricists)):
            for name in names:
                SubElement(identification, "creator", type=kind).text = name
        listed = SubElement(root, "part-list")
        open_groups: list[tuple[int, str]] = []
        for index, part in enumerate(self.parts):
            open_groups = _part_groups(listed, open_groups, part.groups)
            entry = SubElement(listed, "score-part", id=f"P{index + 1}")
            SubElement(entry, "part-name").text = part.name
            if part.abbreviation:
                SubElement(entry, "part-abbreviation").text = part.abbreviation
            _PartWriter(self, part).write(SubElement(root, "part", id=f"P{index + 1}"))
        _part_groups(listed, open_groups, [])
        return root


def direction(kind: str, text: str = "", **attributes: str) -> Element:
    """Return the content of a direction: ``words``, ``dynamics``, ``wedge``, ``pedal``, ``octave-shift``, ``tempo``."""
    if kind == "tempo":
        return Element("sound", tempo=text)
    whole = Element("direction-type")
    node = SubElement(whole, kind, attributes)
    if kind == "dynamics":
        SubElement(node, text)
    else:
        node.text = text or None
    return whole


def mode_for(step: str, alter: int, fifths: int, mode: str) -> str:
    """Return a mode in which this tonic has that signature, the stated one if it fits; empty if none does.

    Examples
    --------
    >>> mode_for("A", 0, 0, "minor"), mode_for("G", 0, -1, "minor"), mode_for("C", 0, 4, "major")
    ('minor', 'dorian', '')
    """
    tonic = SIGNATURE.index(step) - 1 + 7 * alter
    fitting = [name for name, shift in _MODES.items() if tonic + shift == fifths]
    return mode if mode in fitting else "".join(fitting[:1])


def value_of(duration: Fraction) -> tuple[Fraction, int, tuple[int, int] | None]:
    """Return value, dots and tuplet ratio of a duration.

    Examples
    --------
    >>> value_of(Fraction(3, 2)), value_of(Fraction(2, 3))
    ((Fraction(1, 1), 1, None), (Fraction(1, 1), 0, (3, 2)))
    """
    for dots, share in ((0, Fraction(1)), (1, Fraction(3, 2)), (2, Fraction(7, 4)), (3, Fraction(15, 8))):
        if duration / share in TYPES:
            return duration / share, dots, None
    written = min((value for value in TYPES if value >= duration), default=Fraction(32))
    if duration.denominator & (duration.denominator - 1) == 0:
        return written, 0, None  # five quarters are no tuplet
    ratio = written / duration
    return written, 0, (ratio.numerator, ratio.denominator)


def whole_rest(length: Fraction) -> Event:
    """Return the rest of a whole bar."""
    return Event(ZERO, length, written=Fraction(4))


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
        self.divisions = lcm(*denominators)
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
        waiting = list(marks)
        number = (place - 1) * self.span + voice + 1
        for event, ends in zip(events, tuplets, strict=True):
            if event.onset != at:
                step = SubElement(measure, "forward" if event.onset > at else "backup")
                SubElement(step, "duration").text = self._ticks(abs(event.onset - at))
            at = event.onset + event.duration
            while waiting and waiting[0][0] <= event.onset:
                _mark(measure, waiting.pop(0)[1], place)
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
