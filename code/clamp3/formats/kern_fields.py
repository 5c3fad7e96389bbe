"""Single fields of kern spines: notes, chords and rests, and the syllables sung to them."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from clamp3.formats.score import ZERO, Event, Note, Sign, mode_for, value_of

_PITCH = re.compile(r"(([a-g])\2*|([A-G])\3*)(#+|-+|n)?")
_RECIP = re.compile(r"(\d{1,6})(?:%(\d{1,6}))?")
_METRE = re.compile(r"\*M(\d{1,4}(?:\+\d{1,4})*)/(\d{1,4})$")
_KEY = re.compile(r"\*([a-gA-G])([#-]?):(\w*)")
_CLEF = re.compile(r"\*clef([GFCX])(v{1,2}|\^{1,2})?(\d?)")
_MODES = {"dor": "dorian", "phr": "phrygian", "lyd": "lydian", "mix": "mixolydian", "loc": "locrian", "aeo": "minor"}
_MARKS = {
    "'": "staccato", "`": "staccatissimo", "~": "tenuto", ";": "fermata", ":": "arpeggiate", ",": "breath-mark",
    "T": "trill-mark", "t": "trill-mark", "M": "inverted-mordent", "m": "inverted-mordent", "W": "mordent",
    "w": "mordent", "S": "turn", "$": "inverted-turn", "v": "up-bow", "u": "down-bow", "o": "harmonic", "s": "spiccato",
}  # fmt: skip


def event_of(field: str, onset: Fraction) -> Event:
    """Return the note, chord or rest of a field.

    Parameters
    ----------
    field : str
        A data token of a ``**kern`` spine.
    onset : Fraction
        Where it begins, in quarter notes.
    """
    duration, written, dots, ratio, grace = _time(field)
    event = Event(onset, duration, written=written, dots=dots, ratio=ratio, grace=grace)
    for subtoken in field.split(" "):
        head = _note(subtoken)
        if head is not None:
            step, octave, alter = head
            event.notes.append(Note(step, octave, alter, _ties(subtoken)))
    event.hidden = not event.notes and "yy" in field
    marked = [mark for sign, mark in _MARKS.items() if sign in field]
    if "^" in field:
        marked.append("strong-accent" if "^^" in field else "accent")
    event.marks = marked if event.notes else [mark for mark in marked if mark == "fermata"]
    return event


@lru_cache(maxsize=1 << 12)
def _time(field: str) -> tuple[Fraction, Fraction, int, tuple[int, int] | None, str]:
    """Return duration, written value, dots, tuplet ratio and kind of grace note."""
    first = field.split(" ")[0]
    recip = _RECIP.search(first)
    grace = "plain" if "qq" in field else "slash" if "q" in field else ""
    if recip is None:
        base = Fraction(1, 2) if grace else Fraction(1)
    elif not int(recip.group(1)):
        base = Fraction(4 << min(3, len(recip.group(1))))
    else:
        base = Fraction(4 * int(recip.group(2) or 1), int(recip.group(1)))
    base = base or Fraction(1)
    written, more, ratio = value_of(base)
    if grace:
        return ZERO, written, 0, None, grace
    dots = min(4, first.count("."))
    duration = base * (2 - Fraction(1, 1 << dots))
    return duration, written, dots + more, ratio, ""


@lru_cache(maxsize=1 << 12)
def _note(subtoken: str) -> tuple[str, int, int] | None:
    """Return step, octave and alteration, an empty step for a note without pitch, None for a rest."""
    if "r" in subtoken:
        return None
    pitch = _PITCH.search(subtoken)
    if pitch is None:
        return ("", 4, 0) if "R" in subtoken else None
    letters, accidental = pitch.group(1), pitch.group(4) or ""
    octave = 3 + len(letters) if letters.islower() else 4 - len(letters)
    return letters[0].upper(), octave, max(-2, min(2, accidental.count("#") - accidental.count("-")))


def _ties(subtoken: str) -> set[str]:
    ties = set()
    if "[" in subtoken or "_" in subtoken:
        ties.add("start")
    if "]" in subtoken or "_" in subtoken:
        ties.add("stop")
    return ties


def syllable_of(field: str) -> tuple[str, str] | None:
    """Return a syllable's place in its word, and its text."""
    text = field.strip()
    if not text or text in ("_", "|", "-"):
        return None
    before, after = text.startswith("-"), text.endswith("-")
    place = {(False, False): "single", (False, True): "begin", (True, True): "middle", (True, False): "end"}
    return place[before, after], text.strip("-_") or text


def divide(event: Event, time: Fraction) -> Event:
    """Shorten an event that sounds on at a bar line, and return its rest, tied to it, for the next bar.

    Parameters
    ----------
    event : Event
        Changed in place.
    time : Fraction
        Of the bar line, in quarter notes.
    """
    rest = event.onset + event.duration - time
    event.duration = time - event.onset
    event.written, event.dots, event.ratio = value_of(event.duration)
    written, dots, ratio = value_of(rest)
    notes = [Note(note.step, note.octave, note.alter, (note.ties & {"start"}) | {"stop"}) for note in event.notes]
    for note in event.notes:
        note.ties.add("start")
    return Event(ZERO, rest, notes, written, dots, ratio, hidden=event.hidden)


def sign_of(field: str, fifths: int | None) -> Sign | None:
    """Return the key, metre or clef of an interpretation.

    Parameters
    ----------
    field : str
    fifths : int or None
        The signature in force, which decides whether a named key fits it.
    """
    if field.startswith("*k["):
        return Sign(key=(fifths or 0, ""))
    if key := _KEY.match(field):
        step, accidental, mode = key.groups()
        usual = "minor" if step.islower() else "major"
        alter = {"": 0, "#": 1, "-": -1}[accidental]
        if fifths is None:
            return None
        return Sign(key=(fifths, mode_for(step.upper(), alter, fifths, _MODES.get(mode[:3], usual))))
    if metre := _METRE.match(field):
        beats, unit = sum(map(int, metre.group(1).split("+"))), int(metre.group(2))
        if not unit:  # breves
            beats, unit = 2 * beats, 1
        return Sign(metre=(str(beats), unit)) if beats and unit & (unit - 1) == 0 else None
    if clef := _CLEF.match(field):
        shape, shift, line = clef.groups()
        octaves = (1 if "^" in shift else -1) * len(shift) if shift else 0
        return Sign(clef=("percussion", "", 0) if shape == "X" else (shape, line or "2", octaves))
    return None
