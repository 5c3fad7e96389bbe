"""Attribute values of MEI: numbers, durations, keys, metres and clefs."""

from __future__ import annotations

import re
from fractions import Fraction
from xml.etree.ElementTree import Element

from clamp3.formats.score import SIGNATURE, Sign

_DURATIONS = {
    "maxima": 32, "long": 16, "longa": 16, "breve": 8, "brevis": 8, "semibrevis": 4, "minima": 2, "semiminima": 1,
}  # fmt: skip
_DURATIONS_BELOW = {"fusa": 2, "semifusa": 4}
_MODES = frozenset(("major", "minor", "dorian", "phrygian", "lydian", "mixolydian", "aeolian", "ionian", "locrian"))


def integer(text: str | None, default: int = 0) -> int:
    """Return the whole number at the beginning of a text.

    Parameters
    ----------
    text : str or None
    default : int
        If there is none.
    """
    found = re.match(r"\s*([+-]?\d{1,6})", text or "")
    return int(found.group(1)) if found else default


def duration_of(text: str) -> Fraction:
    """Return a value such as ``4`` or ``breve`` in quarters."""
    if text in _DURATIONS:
        return Fraction(_DURATIONS[text])
    if text in _DURATIONS_BELOW:
        return Fraction(1, _DURATIONS_BELOW[text])
    number = integer(text, 4)
    return Fraction(4, number) if number > 0 else Fraction(8)


def key_of(sig: str | None, mode: str | None) -> tuple[int, str] | None:
    """Return fifths and mode of a signature.

    Parameters
    ----------
    sig : str or None
        Such as ``3f``.
    mode : str or None
    """
    found = re.fullmatch(r"\s*(\d{1,2})([sf]?)\s*", sig or "")
    if found is None:
        return None
    fifths = min(7, int(found.group(1))) * (-1 if found.group(2) == "f" else 1)
    return fifths, mode if mode in _MODES else ""


def metre_of(count: str | None, unit: str | None, symbol: str | None) -> tuple[str, int] | None:
    """Return beats and unit, if the unit is a power of two.

    Parameters
    ----------
    count : str or None
        Such as ``3+2``.
    unit : str or None
    symbol : str or None
        Counts where there is no number.
    """
    beats = sum(int(number) for number in re.findall(r"\d{1,4}", count or ""))
    if not beats:
        return {"common": ("4", 4), "cut": ("2", 2)}.get(symbol or "")
    number = integer(unit, 4)
    return (str(beats), number) if number > 0 and number & (number - 1) == 0 else None


def clef_of(shape: str | None, line: str | None, octaves: str | None, place: str | None) -> tuple[str, str, int] | None:
    """Return sign, line and octaves of a clef.

    Parameters
    ----------
    shape : str or None
    line : str or None
    octaves : str or None
        8 or 15.
    place : str or None
        Of the octaves: ``above`` or ``below``.
    """
    if not shape:
        return None
    if shape not in ("G", "F", "C", "GG"):
        return "TAB" if shape == "TAB" else "percussion", "", 0
    shift = {"8": 1, "15": 2}.get(octaves or "", 0) * (-1 if place == "below" else 1)
    return shape[0], line or {"G": "2", "F": "4", "C": "3"}[shape[0]], -1 if shape == "GG" else shift


def sign_of(node: Element) -> Sign:
    """Return the key, metre or clef of an element."""
    if node.tag == "clef":
        return Sign(clef=clef_of(*(node.get(key) for key in ("shape", "line", "dis", "dis.place"))))
    if node.tag == "meterSigGrp":
        inside = [metre for metre in (sign_of(sub).metre for sub in node.findall("meterSig")) if metre]
        if inside and node.get("func") == "mixed":
            unit = max(unit for _, unit in inside)
            return Sign(metre=(str(sum(int(beats) * unit // own for beats, own in inside)), unit))
        return Sign(metre=inside[0] if inside else None)
    if node.tag == "meterSig":
        return Sign(metre=metre_of(node.get("count"), node.get("unit"), node.get("sym")))
    signature = node.get("sig")
    accids = [child.get("accid", "") for child in node.findall("keyAccid")]
    if signature is None and accids:
        signature = f"{len(accids)}{accids[0]}"
    return Sign(key=key_of(signature, node.get("mode")))


def by_key(name: str, key: tuple[int, str] | None) -> int:
    """Return the alteration of a note by a signature.

    Parameters
    ----------
    name : str
    key : tuple of (int, str), optional
    """
    fifths = key[0] if key else 0
    place = SIGNATURE.index(name.upper())
    return (place < fifths) - (6 - place < -fifths)
