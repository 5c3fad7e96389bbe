"""MusicXML (plain or compressed) to standard ABC, the way the training data was made.

References
----------
Behaviour of the released ``preprocessing/abc/batch_xml2abc.py``: xml2abc 143 with ``-d 8 -x``.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from clamp3.errors import FormatError, sentence_of
from clamp3.formats import Converted
from clamp3.formats.guards import is_zip, parse_xml, unpack_mxl

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

# Parts of xml2abc's messages about lost or moved notes, and how notes on a conversion say it.
_LOSSES = {
    "discarded": "overlapping note or slur left out",
    "skipped empty voice": "voice without notes left out",
    "skipped non printable": "voice with invisible notes left out",
    "longer than metre": "bar longer than its metre",
    "added chord": "overlapping notes joined into a chord",
}

_MOST = {"octave": 20, "clef-octave-change": 10, "lyric": 1000, "tremolo": 20}


def musicxml_to_abc(data: bytes, *, name: str = "score", correct: bool = False) -> Converted:
    """Convert MusicXML to standard ABC with unit length 1/8 and without line-break marks.

    Parameters
    ----------
    data : bytes
        A ``.xml``, ``.musicxml`` or ``.mxl`` file, recognised by its content.
    name : str
        Used in messages only.
    correct : bool
        Mend what xml2abc gets wrong in silence; see `clamp3.formats.xml2abc_faults`.

    Returns
    -------
    Converted
        Text equal to the released pipeline's byte for byte, wherever that converts the file and ``correct`` is not
        asked for. The notes say what is wrong in it.

    Raises
    ------
    FormatError
        If the file is no MusicXML, has no notes, or exceeds a limit of `clamp3.formats.guards`.
    """
    return tree_to_abc(_partwise(parse_xml(unpack_mxl(data) if is_zip(data) else data)), name=name, correct=correct)


def tree_to_abc(root: Element, *, name: str = "score", correct: bool = False) -> Converted:
    """Convert a parsed score, which is changed if xml2abc needs it repaired or ``correct`` is asked for.

    Parameters
    ----------
    root : Element
        ``score-partwise`` without namespaces.
    name, correct
        As in `musicxml_to_abc`.

    Raises
    ------
    FormatError
        As `musicxml_to_abc`.
    """
    _check_numbers(root)
    try:
        return _convert(root, name, correct=correct)
    except _ConverterError as stopped:
        return _repaired(root, stopped, name, correct)


def _check_numbers(root: Element) -> None:
    """Refuse numbers that xml2abc writes out as so many characters."""
    for node in root.iter():  # once: a pass for each tag takes longer
        if node.tag in _MOST:
            tag, most = node.tag, _MOST[node.tag]
            text = (node.text if tag != "lyric" else node.get("number")) or ""
            digits = text.strip().lstrip("+-0")
            if digits.isdecimal() and (len(digits) > 4 or int(digits) > most):
                raise FormatError(f"the score states {tag} {sentence_of(text, 20)}, beyond {most}.")


class _ConverterError(Exception):
    """xml2abc raised an exception, which the message names."""


def _partwise(root: Element) -> Element:
    if root.tag.startswith("{"):
        for node in root.iter():
            if isinstance(node.tag, str):
                node.tag = node.tag.rsplit("}", 1)[-1]
    if root.tag == "score-timewise":
        from clamp3.formats.musicxml_repair import partwise

        return partwise(root)
    if root.tag != "score-partwise":
        raise FormatError(f"not a MusicXML score: its root element is <{sentence_of(root.tag, 60)}>.")
    return root


def _convert(root: Element, name: str, *, correct: bool, forget: bool = False) -> Converted:
    from clamp3.formats.xml2abc_engine import engine

    converter = engine()
    try:
        text = converter.convert(root, name=name, forget=forget, correct=correct)
    except MemoryError:
        raise
    except Exception as error:  # of any type: KeyError, IndexError, ValueError, …
        raise _ConverterError(f"{type(error).__name__}: {sentence_of(error, 80)}") from error
    if not text:
        raise FormatError("the score holds no notes.")
    return Converted(text, _losses(converter.messages) + converter.faults)


def _repaired(root: Element, stopped: _ConverterError, name: str, correct: bool) -> Converted:
    """Try again with a repaired tree, then with what music21 makes of the score."""
    from clamp3.formats.musicxml_repair import repair

    notes = tuple(repair(root))
    try:
        made = _convert(root, name, correct=correct, forget=True)
        return Converted(made.text, notes + made.notes)
    except _ConverterError as still:
        stopped = still
    from xml.etree.ElementTree import tostring

    from clamp3.formats.notation import read_notation

    try:
        fresh = read_notation(tostring(root), suffix=".musicxml", name=name)
        made = _convert(fresh.root, name, correct=correct, forget=True)
    except (FormatError, _ConverterError) as last:
        raise FormatError(f"xml2abc stops with {stopped}; by way of music21: {sentence_of(last, 150)}") from last
    why = f"rewritten by music21, since xml2abc stops with {stopped}"
    return Converted(made.text, (why, *fresh.notes[1:], *made.notes))


def _losses(messages: list[str]) -> tuple[str, ...]:
    """Return what the converter reported as left out, each kind once with its count."""
    counts = Counter(what for message in messages for mark, what in _LOSSES.items() if mark in message)
    return tuple(f"{what} ({count})" if count > 1 else what for what, count in counts.items())
