"""Repair MusicXML that xml2abc cannot convert: what makes that converter fail is rewritten, the music stays.

Only files on which xml2abc has already failed are repaired, so no text that the released pipeline produces can change.
Each repair reports what it did and how often.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from math import lcm
from typing import TYPE_CHECKING
from xml.etree import ElementTree
from xml.etree.ElementTree import SubElement

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

ACCIDENTALS = {"double-flat", "flat-flat", "flat", "natural", "sharp", "sharp-sharp", "double-sharp"}
# An accidental that first cancels the previous one sounds as its second half.
CANCELLING = {"natural-sharp": "sharp", "natural-flat": "flat", "sharp-natural": "natural", "flat-natural": "natural"}
SPANNERS = {
    "wedge": {"crescendo", "diminuendo", "stop"},
    "octave-shift": {"up", "down", "stop"},
    "pedal": {"start", "stop"},
}
# A pedal "change" is a release and a press; the other types are one of the two.
PEDAL_MOVES = {"change": ("stop", "start"), "discontinue": ("stop",), "resume": ("start",), "sostenuto": ("start",)}
MAX_DIVISIONS = 10_080
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_LEVEL = re.compile(r"[+-]?\d{1,12}(?:\.\d{0,12})?")
_DECIMAL = re.compile(r"[+-]?\d{0,12}(?:\.\d{0,12})?")


def repair(root: Element) -> list[str]:
    """Rewrite a partwise score in place.

    Parameters
    ----------
    root : Element
        ``score-partwise`` without namespaces.

    Returns
    -------
    list of str
        What was done, for example ``"pedal change written as stop and start (12)"``; empty if nothing
        was found that xml2abc is known to fail on.
    """
    done: Counter[str] = Counter()
    _part_list(root, done)
    for part in root.findall("part"):
        _durations(part, done)
        _whole_numbers(part, "voice", done)
        _whole_numbers(part, "staff", done)
        _lyrics(part, done)
        if part.find("measure/note") is None:
            _empty(part, done)
        staves = _staves(part)
        _clefs(part, done)
        for measure in part.findall("measure"):
            _chords(measure, done)
            for parent in measure.iter():
                fix = _FIXES.get(parent.tag)
                if fix is not None:
                    fix(parent, staves, done)
    return [f"{what} ({count})" if count > 1 else what for what, count in done.items()]


def _remove(parent: Element, child: Element, done: Counter[str], what: str) -> None:
    parent.remove(child)
    done[what] += 1


def _whole(text: str | None) -> bool:
    return re.fullmatch(r"\s*[+-]?\d{1,9}\s*", text or "") is not None


def _part_list(root: Element, done: Counter[str]) -> None:
    listed = root.find("part-list")
    if listed is None:
        listed = SubElement(root, "part-list")
    known = {entry.get("id") for entry in listed.findall("score-part")}
    for part in root.findall("part"):
        if part.get("id") not in known:
            SubElement(listed, "score-part", id=part.get("id", ""))
            done["part missing from the part list added"] += 1
    for entry in listed.findall("score-part"):
        for instrument in entry.findall("midi-instrument"):
            values = [instrument.findtext(tag) for tag in ("midi-channel", "midi-program", "midi-unpitched")]
            levels = [instrument.findtext(tag) for tag in ("volume", "pan")]
            numbers = all(value is None or _LEVEL.fullmatch(value.strip()) for value in levels)
            if not numbers or not all(value is None or _whole(value) for value in values):
                _remove(entry, instrument, done, "MIDI settings that are no numbers left out")


def _durations(part: Element, done: Counter[str]) -> None:
    """Scale divisions so that all durations are whole numbers; a missing duration is zero."""
    nodes = [node for tag in ("duration", "divisions") for node in part.iter(tag)]
    if all(_whole(node.text) for node in nodes):
        return
    exact = [_fraction(node.text) for node in nodes]
    factor = lcm(*(value.denominator for value in exact))
    if factor > MAX_DIVISIONS:
        factor = 1
    for node, value in zip(nodes, exact, strict=True):
        least = 1 if node.tag == "divisions" else 0
        node.text = str(max(least, round(value * factor)))
    done["durations written as whole numbers"] += 1


def _fraction(text: str | None) -> Fraction:
    if not _DECIMAL.fullmatch((text or "").strip()):  # Fraction writes 1e999999999 out
        return Fraction(0)
    try:
        return Fraction((text or "").strip()).limit_denominator(MAX_DIVISIONS)
    except (ValueError, ZeroDivisionError):
        return Fraction(0)


def _whole_numbers(part: Element, tag: str, done: Counter[str]) -> None:
    """Number the voices or staves that have a name instead of a number."""
    nodes = list(part.iter(tag))
    taken = {int(node.text or "") for node in nodes if _whole(node.text)}
    names: dict[str, str] = {}
    for node in nodes:
        if not _whole(node.text):
            name = (node.text or "").strip()
            if name not in names:
                free = next(number for number in range(1, len(taken) + 2) if number not in taken)
                taken.add(free)
                names[name] = str(free)
            node.text = names[name]
    if names:
        done[f"named {tag} numbered"] += len(names)


def _lyrics(part: Element, done: Counter[str]) -> None:
    """Number verses that have a name ("chorus"), after those that have a number."""
    nodes = [(node, re.sub(r"^.*verse", "", node.get("number", "1"))) for node in part.iter("lyric")]
    last = max([int(number) for _, number in nodes if _whole(number)], default=0)
    names: dict[str, int] = {}
    for node, number in nodes:
        if not _whole(number):
            names.setdefault(number, last + len(names) + 1)
            node.set("number", str(names[number]))
    if names:
        done["named verse numbered"] += len(names)


def _empty(part: Element, done: Counter[str]) -> None:
    """Leave out what stands in a part without a single note: xml2abc looks for the voice of a direction or a clef."""
    for measure in part.findall("measure"):
        measure[:] = [child for child in measure if child.tag in ("attributes", "barline", "print")]
        for attributes in measure.findall("attributes"):
            attributes[:] = [child for child in attributes if child.tag not in ("clef", "measure-style")]
    done["part without notes emptied"] += 1


def _staves(part: Element) -> set[str]:
    """Return the staves that xml2abc gives a voice: each voice belongs to the staff with most of its notes."""
    counts: dict[str, Counter[tuple[int, str]]] = {}
    for note in part.iterfind("measure/note"):
        staff = (note.findtext("staff") or "1").strip()
        counts.setdefault(note.findtext("voice", "1"), Counter())[int(staff), staff] += 1
    return {max((count, staff) for staff, count in own.items())[1][1] for own in counts.values()} or {"1"}


def _clefs(part: Element, done: Counter[str]) -> None:
    """Give a staff with notes of no pitch the clef of percussion if it begins without one, for xml2abc looks it up."""
    known: set[str] = set()
    for measure in part.findall("measure"):
        for child in list(measure):
            known.update(clef.get("number", "1") for clef in child.findall("clef"))
            staff = (child.findtext("staff") or "1").strip()
            if child.tag == "note" and child.find("unpitched") is not None and staff not in known:
                attributes = ElementTree.Element("attributes")
                SubElement(SubElement(attributes, "clef", number=staff), "sign").text = "percussion"
                measure.insert(list(measure).index(child), attributes)
                known.add(staff)
                done["clef of percussion added"] += 1


def _chords(measure: Element, done: Counter[str]) -> None:
    """Make a chord note with no note before it a note of its own."""
    opened = False
    for child in list(measure):
        if child.tag == "note":
            chord = child.find("chord")
            if chord is not None and not opened:
                _remove(child, chord, done, "chord note without a first note made a note")
            opened = True
        elif child.tag in ("backup", "forward"):
            if child.find("duration") is None:
                _remove(measure, child, done, f"{child.tag} without a duration left out")
            opened = False


def _note(note: Element, _staves: set[str], done: Counter[str]) -> None:
    accidental = note.find("accidental")
    if accidental is not None and (accidental.text or "").strip() not in ACCIDENTALS:
        text = (accidental.text or "").strip()
        if text in CANCELLING:
            accidental.text = CANCELLING[text]
            done[f"accidental {text} written as {CANCELLING[text]}"] += 1
        else:
            _remove(note, accidental, done, f"accidental {text or 'without a name'} taken from the sounding pitch")
    elif accidental is not None:
        accidental.text = (accidental.text or "").strip()
    pitch = note.find("pitch")
    if pitch is not None:
        _pitch(note, pitch, done)
    ratio = note.find("time-modification")
    if ratio is not None:
        values = [ratio.findtext(tag) for tag in ("actual-notes", "normal-notes")]
        if not all(_whole(value) and int(value or "0") > 0 for value in values):
            _remove(note, ratio, done, "tuplet without a ratio read as plain notes")


def _pitch(note: Element, pitch: Element, done: Counter[str]) -> None:
    if not _whole(pitch.findtext("octave")) or pitch.findtext("step", "").strip() not in tuple("ABCDEFG"):
        _remove(note, pitch, done, "note without a readable pitch made a rest")
        SubElement(note, "rest")
        return
    alter = pitch.find("alter")
    if alter is None:
        return
    try:
        value = float(alter.text or "")
    except ValueError:
        _remove(pitch, alter, done, "alteration that is no number left out")
        return
    if not -2 <= value <= 2:  # a comparison that NaN fails as well
        alter.text = "2" if value > 0 else "-2"
        done["alteration beyond a double accidental limited to it"] += 1


def _direction(direction: Element, staves: set[str], done: Counter[str]) -> None:
    _place(direction, staves, done)
    for kind in direction.findall("direction-type"):
        for tag, known in SPANNERS.items():
            spanner = kind.find(tag)
            if spanner is not None and spanner.get("type") not in known:
                _spanner(direction, kind, spanner, done)
        metronome = kind.find("metronome")
        if metronome is not None:
            _metronome(kind, metronome, done)
        for words in kind.findall("words") + kind.findall("rehearsal"):
            if _NUMBER.search(words.get("default-y", "0")) is None:
                del words.attrib["default-y"]
                done["position of words left out"] += 1


def _spanner(direction: Element, kind: Element, spanner: Element, done: Counter[str]) -> None:
    found = spanner.get("type") or "without a type"
    kind.remove(spanner)
    moves = PEDAL_MOVES.get(found, ()) if spanner.tag == "pedal" else ()
    for move in moves:
        SubElement(SubElement(direction, "direction-type"), "pedal", {**spanner.attrib, "type": move})
    what = f"written as {' and '.join(moves)}" if moves else "left out"
    done[f"{spanner.tag} {found} {what}"] += 1


def _metronome(kind: Element, metronome: Element, done: Counter[str]) -> None:
    rate = metronome.find("per-minute")
    number = _NUMBER.search(rate.text or "") if rate is not None else None
    if rate is None or number is None:
        _remove(kind, metronome, done, "metronome mark without a number left out")
    else:
        rate.text = number.group()


def _sound(sound: Element, _staves: set[str], done: Counter[str]) -> None:
    tempo = sound.get("tempo")
    if tempo is not None and _NUMBER.fullmatch(tempo.strip()) is None:
        del sound.attrib["tempo"]
        done["tempo that is no number left out"] += 1


def _place(node: Element, staves: set[str], done: Counter[str]) -> None:
    staff = node.find("staff")
    if (staff.text if staff is not None else "1") not in staves:
        if staff is None:
            staff = SubElement(node, "staff")
        staff.text = min(staves, key=int)
        done[f"{node.tag} moved to a staff that has notes"] += 1


def _harmony(harmony: Element, staves: set[str], done: Counter[str]) -> None:
    _place(harmony, staves, done)
    kind = harmony.find("kind")
    if kind is not None and (kind.text or "").count("-") > 1:
        kind.text = (kind.text or "").split("-")[0]
        done["chord symbol simplified"] += 1


def _attributes(attributes: Element, staves: set[str], done: Counter[str]) -> None:
    for key in attributes.findall("key"):
        fifths = key.findtext("fifths")
        if fifths is not None and not (_whole(fifths) and -7 <= int(fifths) <= 7):
            _remove(attributes, key, done, f"key signature of {fifths} fifths left out")
        elif (mode := key.find("mode")) is not None and (mode.text or "").strip().lower() not in _MODES:
            _remove(key, mode, done, "unknown mode of a key left out")
    for time in attributes.findall("time"):
        beats, unit = time.find("beats"), time.findtext("beat-type")
        if beats is None:
            continue
        terms = (beats.text or "").split("+")
        if not all(_whole(term) for term in terms) or not _whole(unit) or int(unit or "0") <= 0:
            _remove(attributes, time, done, "time signature that is no number left out")
        elif len(terms) > 1:
            done[f"metre {beats.text} written as its sum"] += 1
            beats.text = str(sum(map(int, terms)))
    for clef in attributes.findall("clef"):
        shift = clef.findtext("clef-octave-change")
        if clef.findtext("sign") is None or clef.get("number", "1") not in staves or not (not shift or _whole(shift)):
            _remove(attributes, clef, done, "clef of no staff with notes left out")
    for style in attributes.findall("measure-style"):
        _remove(attributes, style, done, "repeat and rest signs of whole bars left out")
    for transpose in attributes.findall("transpose"):
        steps = [transpose.findtext(tag, "0") or "0" for tag in ("chromatic", "octave-change")]
        if not all(_whole(step) for step in steps):
            _remove(attributes, transpose, done, "transposition that is no number left out")


_MODES = {"major", "minor", "ionian", "dorian", "phrygian", "lydian", "mixolydian", "aeolian", "locrian", "none"}


def _notations(notations: Element, _staves: set[str], done: Counter[str]) -> None:
    for ornaments in notations.findall("ornaments"):
        for tremolo in ornaments.findall("tremolo"):
            if not _whole(tremolo.text):
                _remove(ornaments, tremolo, done, "tremolo without a number left out")


_FIXES: dict[str, Callable[[Element, set[str], Counter[str]], None]] = {
    "note": _note,
    "direction": _direction,
    "sound": _sound,
    "harmony": _harmony,
    "attributes": _attributes,
    "notations": _notations,
}


def partwise(root: Element) -> Element:
    """Return a ``score-timewise`` tree in the partwise order, its other elements as they are."""
    turned = ElementTree.Element("score-partwise", root.attrib)
    parts: dict[str, Element] = {}
    for child in root:
        if child.tag != "measure":
            turned.append(child)
    for measure in root.findall("measure"):
        for part in measure.findall("part"):
            whole = parts.setdefault(part.get("id", ""), ElementTree.Element("part", part.attrib))
            SubElement(whole, "measure", measure.attrib).extend(list(part))
    turned.extend(parts.values())
    return turned
