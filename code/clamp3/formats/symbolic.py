"""Any symbolic file to the text that patches take: interleaved ABC or MTF."""

from __future__ import annotations

from clamp3.errors import FormatError
from clamp3.formats import Converted, Kind
from clamp3.formats.guards import decode_lenient, decode_text

SYMBOLIC_KINDS = (Kind.MUSICXML, Kind.SCORE, Kind.ABC, Kind.MIDI, Kind.MTF)
MTF_START = "ticks_per_beat "


def to_symbolic(data: bytes, kind: Kind, *, name: str) -> Converted:
    """Convert a symbolic file into interleaved ABC (scores) or MTF (performances).

    Parameters
    ----------
    data : bytes
        The file's content.
    kind : Kind
        One of `SYMBOLIC_KINDS`.
    name : str
        File name; its suffix tells `Kind.SCORE` formats apart.

    Returns
    -------
    Converted
        Text, and notes on what was lost or repaired on the way.

    Raises
    ------
    FormatError
        If the content is not what ``kind`` says, holds no music, or passes a limit.
    """
    if not data.strip():
        raise FormatError(f"{name} is empty.")
    if kind is Kind.MIDI:
        from clamp3.formats.mtf import midi_to_mtf

        return midi_to_mtf(data)
    if kind is Kind.MTF:
        text = decode_text(data)
        if not text.startswith(MTF_START):
            raise FormatError(f"{name} is no MTF text: its first line is not '{MTF_START}N'.")
        return Converted(text)
    return score_to_interleaved(data, kind, name=name)


def score_to_interleaved(data: bytes, kind: Kind, *, name: str) -> Converted:
    """Convert a score (MusicXML, a notation music21 reads, or ABC) into interleaved ABC.

    Raises
    ------
    FormatError
        As `to_symbolic`.
    """
    from clamp3.formats.abc.interleave import interleave

    if kind is Kind.ABC:
        text, notes = decode_lenient(data)
        standard = Converted(text, notes)
    elif kind in (Kind.MUSICXML, Kind.SCORE):
        standard = score_to_abc(data, kind, name=name)
    else:
        raise FormatError(f"{name} is a {kind.value} file, not a score.")
    woven = interleave(standard.text)
    return Converted(woven.text, standard.notes + woven.notes)


def score_to_abc(data: bytes, kind: Kind, *, name: str) -> Converted:
    """Convert MusicXML, or a notation music21 reads, into standard ABC.

    Raises
    ------
    FormatError
        As `to_symbolic`.
    """
    from pathlib import PurePath

    from clamp3.formats.musicxml import musicxml_to_abc

    if kind is not Kind.SCORE:
        return musicxml_to_abc(data, name=name)
    from clamp3.formats.notation import score_to_musicxml

    suffix = PurePath(name).suffix
    made = musicxml_to_abc(score_to_musicxml(data, suffix=suffix, name=name), name=name)
    return Converted(made.text, (f"read as {suffix} by music21", *made.notes))
