"""Marks of an MEI score: what stands beside the notes (slurs, dynamics, words), their own attributes, and the head."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol
from xml.etree.ElementTree import Element

from clamp3.formats.score import DYNAMICS, ZERO, Event, Note, Score, direction

_ID = "{http://www.w3.org/XML/1998/namespace}id"
_ARTICULATIONS = {
    "acc": "accent", "stacc": "staccato", "ten": "tenuto", "stacciss": "staccatissimo", "marc": "strong-accent",
    "spicc": "spiccato", "ten-stacc": "detached-legato", "dnbow": "down-bow", "upbow": "up-bow", "harm": "harmonic",
    "open": "open-string", "stop": "stopped", "snap": "snap-pizzicato",
}  # fmt: skip
_WORDS = frozenset(("dir", "reh", "tempo", "dynam"))
_ON_NOTES = frozenset(("fermata", "trill", "mordent", "turn", "arpeg", "breath"))
# Of the engraving only.
_SILENT = frozenset((
    "mNum", "annot", "sb", "pb", "cb", "beamSpan", "lv", "curve", "line", "fig", "symbol", "bracketSpan", "lg",
))  # fmt: skip

Place = tuple[int, int, int]
"""Bar, staff and voice."""


class _HasIndex(Protocol):
    index: int


@dataclass
class _Found:
    event: Event
    place: Place
    notes: list[Note]


@dataclass
class _Mark:
    node: Element
    bar: int
    staff: int
    unit: int


class Marks:
    """Notes by their identifiers, and the marks that refer to them or to times.

    Parameters
    ----------
    score : Score
        Receives the marks.
    """

    def __init__(self, score: Score) -> None:
        self._score = score
        self._by_id: dict[str, _Found] = {}
        self._marks: list[_Mark] = []
        self._open: dict[tuple[int, int, str], int] = {}  # slurs of notes' attributes
        self._n_slurs = 0
        self._times: dict[tuple[int, int], tuple[dict[Fraction, Event], list[Fraction]]] = {}

    def known(self, event: Event, node: Element, heads: list[Element], place: Place) -> None:
        """Remember an event and its notes by their identifiers, and number the slurs of its attributes.

        Parameters
        ----------
        event : Event
        node : Element
            The note or chord.
        heads : list of Element
            Its notes.
        place : Place
        """
        if _ID in node.attrib:
            self._by_id[node.attrib[_ID]] = _Found(event, place, event.notes)
        for head, note in zip(heads, event.notes, strict=True):
            if _ID in head.attrib:
                self._by_id[head.attrib[_ID]] = _Found(event, place, [note])
        for word in " ".join(one.get("slur", "") for one in dict.fromkeys([node, *heads])).split():
            key = (*place[1:], word[1:])
            if word[0] in "mt" and key in self._open:
                event.slurs.insert(0, ("stop", self._open.pop(key)))
            if word[0] in "im":
                self._n_slurs += 1
                self._open[key] = self._n_slurs
                event.slurs.append(("start", self._n_slurs))

    def add(self, node: Element, bar: int, scope: str, unit: int, staves: Mapping[str, _HasIndex]) -> None:
        """Keep a mark of a measure until all notes are known.

        Parameters
        ----------
        node : Element
        bar : int
            Index of the measure.
        scope : str
            Stands before the number of a staff in ``staves``.
        unit : int
            Of the metre; times are counted in it.
        staves : mapping of str to staff
        """
        number = (node.get("staff") or "1").split()
        staff = staves.get(scope + number[0]) if number else None
        self._marks.append(_Mark(node, bar, staff.index if staff is not None else 0, unit))

    def attach(self) -> Counter[str]:
        """Attach all marks; return the tags of those that were left out."""
        left_out: Counter[str] = Counter()
        for mark in self._marks:
            tag = mark.node.tag
            if tag in ("slur", "tie", "phrase"):
                done = self._curve(mark)
            elif tag in _WORDS or tag in ("hairpin", "pedal", "octave", "harm"):
                done = self._direct(mark)
            elif tag in _ON_NOTES:
                done = self._on_note(mark)
            else:
                done = tag in _SILENT
            if not done:
                left_out[str(tag)] += 1
        return left_out

    # ---- places --------------------------------------------------------------------------------------------------

    def _start(self, mark: _Mark) -> tuple[int, int, Fraction] | None:
        """Return bar, staff and time of a mark."""
        found = self._by_id.get((mark.node.get("startid") or "").lstrip("#"))
        if found is not None:
            return found.place[0], found.place[1], found.event.onset
        time = onset(mark.node.get("tstamp"), mark.unit)
        return (mark.bar, mark.staff, time) if time is not None else None

    def _end(self, mark: _Mark) -> tuple[int, int, Fraction] | None:
        found = self._by_id.get((mark.node.get("endid") or "").lstrip("#"))
        if found is not None:
            return found.place[0], found.place[1], found.event.onset + found.event.duration
        stated = re.fullmatch(r"(?:(\d{1,4})m\s*\+\s*)?(\d{1,4}(?:\.\d{1,6})?)", mark.node.get("tstamp2") or "")
        if stated is None:
            return None
        bar = mark.bar + int(stated.group(1) or 0)
        time = onset(stated.group(2), mark.unit)
        return (bar, mark.staff, time or ZERO) if bar < len(self._score.bars) else None

    def _event_at(self, place: tuple[int, int, Fraction] | None, *, last: bool = False) -> Event | None:
        """Return the first note of a staff at a time, or the last one not after it."""
        if place is None:
            return None
        bar, staff, time = place
        if (bar, staff) not in self._times:
            first: dict[Fraction, Event] = {}
            for (own, _), events in sorted(self._score.bars[bar].voices.items()):
                for event in events if own == staff else ():
                    if event.notes and not event.grace:
                        first.setdefault(event.onset, event)
            self._times[bar, staff] = first, sorted(first)
        events_at, times = self._times[bar, staff]
        index = bisect_right(times, time)
        return events_at.get(time) or (events_at[times[index - 1]] if last and index else None)

    # ---- marks ---------------------------------------------------------------------------------------------------

    def _curve(self, mark: _Mark) -> bool:
        node = mark.node
        start = self._by_id.get((node.get("startid") or "").lstrip("#"))
        end = self._by_id.get((node.get("endid") or "").lstrip("#"))
        if node.tag == "tie":
            if start is None and end is None:
                return False
            for found, kind in ((start, "start"), (end, "stop")):
                other = end if kind == "start" else start
                pitches = {(note.step, note.octave) for note in other.notes} if other is not None else None
                for note in found.notes if found is not None else ():
                    if pitches is None or (note.step, note.octave) in pitches or len(found.notes if found else ()) == 1:
                        note.ties.add(kind)
            return True
        first = start.event if start is not None else self._event_at(self._start(mark))
        last = end.event if end is not None else self._event_at(self._end(mark), last=True)
        if first is None or last is None or first is last:
            return False
        self._n_slurs += 1
        first.slurs.append(("start", self._n_slurs))
        last.slurs.insert(0, ("stop", self._n_slurs))
        return True

    def _put(self, place: tuple[int, int, Fraction], node: Element) -> None:
        bar, staff, time = place
        self._score.bars[bar].directions.setdefault(staff, []).append((time, node))

    def _direct(self, mark: _Mark) -> bool:
        node, start = mark.node, self._start(mark)
        if start is None:
            return False
        text = " ".join("".join(node.itertext()).split())
        if node.tag in ("hairpin", "octave"):
            end = self._end(mark)
            if end is None:
                return False
            if node.tag == "hairpin":
                kind, opening = "wedge", "crescendo" if node.get("form") == "cres" else "diminuendo"
            else:
                kind, opening = "octave-shift", "up" if node.get("dis.place") == "below" else "down"
            number = str(start[1] + 1)
            self._put(start, direction(kind, type=opening, number=number))
            self._put(end, direction(kind, type="stop", number=number))
        elif node.tag == "pedal":
            moves = {"down": ["start"], "up": ["stop"], "bounce": ["stop", "start"]}.get(node.get("dir", ""), [])
            for move in moves:
                self._put(start, direction("pedal", type=move))
        elif node.tag == "harm":
            return self._harmony(start, text)
        elif node.tag == "dynam" and text in DYNAMICS:
            self._put(start, direction("dynamics", text))
        elif text:
            self._put(start, direction("words", text))
        if node.tag == "tempo" and (tempo := _quarters_per_minute(node)):
            self._put(start, direction("tempo", tempo))
        return True

    def _harmony(self, place: tuple[int, int, Fraction], text: str) -> bool:
        chord = re.fullmatch(r"([A-G])([#♯b♭]?)(.{0,20}?)(?:/([A-G])([#♯b♭]?))?", text)
        if chord is None:
            if text:
                self._put(place, direction("words", text))
            return True
        alters = {"#": "1", "♯": "1", "b": "-1", "♭": "-1"}
        step, sign, kind, bass, bass_sign = chord.groups()
        node = Element("harmony")
        for name, value, alter in (("root", step, sign), ("kind", kind, ""), ("bass", bass, bass_sign)):
            if value is None:
                continue
            part = Element(name)
            node.append(part)
            if name == "kind":
                part.text = "none"
                part.set("text", value)
                continue
            for tag, content in ((f"{name}-step", value), (f"{name}-alter", alters.get(alter or "", ""))):
                if content:
                    sub = Element(tag)
                    sub.text = content
                    part.append(sub)
        self._put(place, node)
        return True

    def _on_note(self, mark: _Mark) -> bool:
        node = mark.node
        ids = (node.get("startid") or node.get("plist") or "").split()
        events = [found.event for one in ids if (found := self._by_id.get(one.lstrip("#"))) is not None]
        if not events:
            event = self._event_at(self._start(mark), last=True)
            events = [event] if event is not None else []
        kind = {
            "fermata": "fermata", "trill": "trill-mark", "arpeg": "arpeggiate", "breath": "breath-mark",
            "mordent": "inverted-mordent" if node.get("form") == "upper" else "mordent",
            "turn": "inverted-turn" if node.get("form") == "lower" else "turn",
        }[str(node.tag)]  # fmt: skip
        for event in events if node.tag == "arpeg" else events[:1]:
            event.marks.append(kind)
        return bool(events)


def own_marks(event: Event, node: Element, heads: list[Element]) -> None:
    """Give an event the marks and words that its own elements carry.

    Parameters
    ----------
    event : Event
    node : Element
        The note or chord.
    heads : list of Element
        Its notes.
    """
    for one in dict.fromkeys([node, *heads]):
        words = (one.get("artic") or "").split()
        for child in one.iter("artic"):
            words += (child.get("artic") or "").split()
        event.marks += [_ARTICULATIONS[word] for word in words if word in _ARTICULATIONS]
        if one.get("fermata") or one.find("fermata") is not None:
            event.marks.append("fermata")
        strokes = re.match(r"([1-6])slash", one.get("stem.mod", ""))
        if strokes and event.tremolo is None:
            event.tremolo = ("single", int(strokes.group(1)))
        _words(event, one)
        beam = (one.get("beam") or "")[:1]
        if beam:
            event.beam = {"i": "begin", "m": "continue", "t": "end"}.get(beam, "")


def _words(event: Event, node: Element) -> None:
    verses = [(child, child.findall("syl")) for child in node if child.tag == "verse"]
    if not verses:
        own = [child for child in node if child.tag == "syl"]
        verses = [(node, own)] if own else []
    for number, (verse, syllables) in enumerate(verses, 1):
        text = "~".join(filter(None, ("".join(syl.itertext()).strip() for syl in syllables)))
        if not text:
            continue
        places = [syl.get("wordpos") or {"d": "i"}.get(syl.get("con", ""), "") for syl in syllables]
        stated = verse.get("n", "") if verse.tag == "verse" else ""
        place = {"i": "begin", "m": "middle", "t": "end"}.get(places[-1], "single")
        event.lyrics[int(stated) if re.fullmatch(r"[1-9]\d?", stated) else number] = (place, text)
    if node.get("syl") and not event.lyrics:
        event.lyrics[1] = ("single", node.get("syl", ""))


def tie_ends(letters: str) -> set[str]:
    """Return what an attribute ``tie`` of i(nitial), m(edial) or t(erminal) says."""
    ties = set()
    if "i" in letters or "m" in letters:
        ties.add("start")
    if "t" in letters or "m" in letters:
        ties.add("stop")
    return ties


def ending_number(node: Element) -> str:
    """Return the numbers of a volta, in the form that MusicXML has them."""
    stated = node.get("n") or node.get("label") or ""
    if span := re.search(r"(\d)\s*[-–]\s*(\d)", stated):
        return ",".join(str(number) for number in range(int(span.group(1)), int(span.group(2)) + 1)) or "1"
    return ",".join(re.findall(r"\d+", stated)[:20]) or "1"


def label(node: Element) -> tuple[str, str]:
    """Return name and abbreviation of a staff or a group of staves."""
    texts = []
    for tag, attribute in (("label", "label"), ("labelAbbr", "label.abbr")):
        child = node.find(tag)
        text = "".join(child.itertext()) if child is not None else node.get(attribute, "")
        texts.append(" ".join(text.split()))
    return texts[0], texts[1]


def head(root: Element, score: Score) -> None:
    """Take title and names from the head of a document.

    Parameters
    ----------
    root : Element
    score : Score
        Receives them.
    """
    for path in (".//fileDesc/titleStmt/title", ".//work/title", ".//work/titleStmt/title"):
        titles = [" ".join("".join(node.itertext()).split()) for node in root.findall(path)]
        if any(titles):
            score.title = next(filter(None, titles))
            break
    for node in (*root.findall(".//titleStmt"), *root.findall(".//work")):
        for name in node.iter():
            role = name.get("role") if name.tag in ("persName", "name", "corpName") else name.tag
            text = " ".join("".join(name.itertext()).split())
            if role == "composer" and text and text not in score.composers:
                score.composers.append(text)
            elif role in ("lyricist", "librettist") and text and text not in score.lyricists:
                score.lyricists.append(text)


def onset(stamp: str | None, unit: int) -> Fraction | None:
    """Return the time of a beat in quarter notes; the first one is 1, and 0 is the bar line before it.

    Parameters
    ----------
    stamp : str or None
        ``@tstamp``; None where it is no number.
    unit : int
        Beats of a whole note.
    """
    if not re.fullmatch(r"\d{1,4}(?:\.\d{1,6})?", stamp or ""):
        return None
    return max(ZERO, (Fraction(stamp or 0).limit_denominator(96) - 1) * 4 / unit)


def _quarters_per_minute(node: Element) -> str:
    rate = re.fullmatch(r"\d{1,4}(?:\.\d{1,3})?", node.get("mm") or node.get("midi.bpm") or "")
    unit = re.fullmatch(r"[1-9]\d{0,2}", node.get("mm.unit") or "4")
    if rate is None or unit is None or not float(rate.group()):
        return ""
    dotted = 1.5 if node.get("mm.dots") == "1" else 1.0
    return f"{float(rate.group()) * 4 / int(unit.group()) * dotted:g}"
