"""Any symbolic file to the text that patches take: interleaved ABC or MTF."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from clamp3.errors import FormatError
from clamp3.formats import Converted, Kind, suffix_of
from clamp3.formats.guards import decode_lenient, decode_text

_MTF_START = "ticks_per_beat "

Convert = Callable[..., Converted]
"""Content (first argument) and ``name`` of a file to interleaved ABC or MTF."""


def to_symbolic(data: bytes, kind: Kind, *, name: str, correct: bool = False) -> Converted:
    """Convert a symbolic file into interleaved ABC (scores) or MTF (performances).

    Parameters
    ----------
    data : bytes
        The file's content.
    kind : Kind
        A key of `CONVERTERS`.
    name : str
        File name; its suffix distinguishes the formats of `Kind.SCORE`.
    correct : bool
        Mend what the released converters get wrong in silence: keys inside bars, notes that are not printed,
        quarter-tones, open grace notes, wrong accidentals, a repeat before empty bars. Kinds of `CORRECTED` only.

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
    if kind not in CONVERTERS:
        raise FormatError(f"{name} is a {kind.value} file, not a score.")
    convert = CONVERTERS[kind]
    ours = getattr(convert, "func", None) is score_to_interleaved
    return convert(data, name=name, correct=True) if correct and ours else convert(data, name=name)


def register(kind: Kind, convert: Convert) -> None:
    """Let `to_symbolic` convert files of a further kind, in worker processes too.

    Parameters
    ----------
    kind : Kind
        Made by `clamp3.formats.register_kind`.
    convert : callable
        ``convert(data, name)`` returns interleaved ABC or MTF; a module-level function, because worker processes
        import it by its name. `clamp3.formats.abc.interleave.interleave` makes the first of any ABC.
    """
    CONVERTERS[kind] = convert
    kind.carried += ((register, convert),)


def is_mtf(text: str) -> bool:
    """Return whether a text that `to_symbolic` made is MTF; otherwise it is interleaved ABC."""
    return text.startswith(_MTF_START)


def score_to_interleaved(data: bytes, kind: Kind, *, name: str, correct: bool = False) -> Converted:
    """Convert a score (MusicXML, a notation music21 reads, or ABC) into interleaved ABC.

    Parameters
    ----------
    data : bytes
        The file's content.
    kind : Kind
        `Kind.MUSICXML`, `Kind.SCORE` or `Kind.ABC`.
    name, correct
        As in `to_symbolic`.

    Raises
    ------
    FormatError
        As `to_symbolic`.
    """
    from clamp3.formats.abc.interleave import interleave

    standard = (
        Converted(*decode_lenient(data)) if kind == Kind.ABC else score_to_abc(data, kind, name=name, correct=correct)
    )
    woven = interleave(standard.text, correct=correct)
    return Converted(woven.text, standard.notes + woven.notes)


def score_to_abc(data: bytes, kind: Kind, *, name: str, correct: bool = False) -> Converted:
    """Convert MusicXML, or a notation music21 reads, into standard ABC.

    Parameters
    ----------
    data : bytes
        The file's content.
    kind : Kind
        `Kind.MUSICXML` or `Kind.SCORE`.
    name, correct
        As in `to_symbolic`.

    Raises
    ------
    FormatError
        As `to_symbolic`.
    """
    from clamp3.formats.musicxml import musicxml_to_abc, tree_to_abc

    if kind != Kind.SCORE:
        return musicxml_to_abc(data, name=name, correct=correct)
    from clamp3.formats import note_counts
    from clamp3.formats.notation import read_notation

    read = read_notation(data, suffix=suffix_of(name), name=name)
    made = tree_to_abc(read.root, name=name, correct=correct)
    lost = note_counts.difference(read.n_notes, note_counts.in_abc(made.text), "xml2abc")
    return Converted(made.text, (*read.notes, *made.notes, *lost))


def _midi(data: bytes, name: str) -> Converted:
    from clamp3.formats.mtf import midi_to_mtf

    return midi_to_mtf(data)


def _mtf(data: bytes, name: str) -> Converted:
    text = decode_text(data)
    if not is_mtf(text):
        raise FormatError(f"{name} is no MTF text: its first line is not '{_MTF_START}N'.")
    return Converted(text)


CORRECTED = frozenset((Kind.MUSICXML, Kind.SCORE, Kind.ABC))
CONVERTERS: dict[Kind, Convert] = {
    **{kind: partial(score_to_interleaved, kind=kind) for kind in CORRECTED},
    Kind.MIDI: _midi,
    Kind.MTF: _mtf,
}
