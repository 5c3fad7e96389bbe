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


def musicxml_to_abc(data: bytes, *, name: str = "score") -> Converted:
    """Convert MusicXML to standard ABC with unit length 1/8 and without line-break marks.

    Parameters
    ----------
    data : bytes
        A ``.xml``, ``.musicxml`` or ``.mxl`` file, recognised by its content.
    name : str
        Used in messages only.

    Returns
    -------
    Converted
        Text equal to the released pipeline's byte for byte, wherever that converts the file.

    Raises
    ------
    FormatError
        If the file is no MusicXML, has no notes, or exceeds a limit of `clamp3.formats.guards`.
    """
    return tree_to_abc(_partwise(parse_xml(unpack_mxl(data) if is_zip(data) else data)), name=name)


def tree_to_abc(root: Element, *, name: str = "score") -> Converted:
    """Convert a parsed score, which is changed if xml2abc needs it repaired.

    Parameters
    ----------
    root : Element
        ``score-partwise`` without namespaces.
    name : str
        Used in messages only.

    Raises
    ------
    FormatError
        As `musicxml_to_abc`.
    """
    _check_numbers(root)
    try:
        return _convert(root, name)
    except _ConverterError as stopped:
        return _repaired(root, stopped, name)


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


def _convert(root: Element, name: str, *, forget: bool = False) -> Converted:
    from clamp3.formats.xml2abc_engine import engine

    converter = engine()
    try:
        text = converter.convert(root, name=name, forget=forget)
    except MemoryError:
        raise
    except Exception as error:  # of any type: KeyError, IndexError, ValueError, …
        raise _ConverterError(f"{type(error).__name__}: {sentence_of(error, 80)}") from error
    if not text:
        raise FormatError("the score holds no notes.")
    return Converted(text, _losses(converter.messages) + _moved_keys(root))


def _repaired(root: Element, stopped: _ConverterError, name: str) -> Converted:
    """Try again with a repaired tree, then with what music21 makes of the score."""
    from clamp3.formats.musicxml_repair import repair

    notes = tuple(repair(root))
    try:
        made = _convert(root, name, forget=True)
        return Converted(made.text, notes + made.notes)
    except _ConverterError as still:
        stopped = still
    from xml.etree.ElementTree import tostring

    from clamp3.formats.notation import read_notation

    try:
        fresh = read_notation(tostring(root), suffix=".musicxml", name=name)
        made = _convert(fresh.root, name, forget=True)
    except (FormatError, _ConverterError) as last:
        raise FormatError(f"xml2abc stops with {stopped}; by way of music21: {sentence_of(last, 150)}") from last
    why = f"rewritten by music21, since xml2abc stops with {stopped}"
    return Converted(made.text, (why, *fresh.notes[1:], *made.notes))


def _moved_keys(root: Element) -> tuple[str, ...]:
    """Return a note if the key changes inside a bar: xml2abc writes the new key at the bar's beginning."""
    n_bars = 0
    for measure in root.iterfind("part/measure"):
        if measure.find("attributes/key") is not None:
            tags = [
                child.tag if child.tag != "attributes" or child.find("key") is not None else "" for child in measure
            ]
            if "note" in tags and "attributes" in tags[tags.index("note") :]:
                n_bars += 1
    what = "key change inside a bar moved to its beginning"
    return (f"{what} ({n_bars})" if n_bars > 1 else what,) if n_bars else ()


def _losses(messages: list[str]) -> tuple[str, ...]:
    """Return what the converter reported as left out, each kind once with its count."""
    counts = Counter(what for message in messages for mark, what in _LOSSES.items() if mark in message)
    return tuple(f"{what} ({count})" if count > 1 else what for what, count in counts.items())
