"""What music files become: bytes in, text out; no model, no walking of folders.

``SUFFIXES`` is the one table of file types of the whole project.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePath


class Kind(str, Enum):
    """What a file holds, told by its suffix."""

    TEXT = "text"
    MUSICXML = "musicxml"
    SCORE = "score"  # other notations that music21 reads; converted through MusicXML
    ABC = "abc"
    MIDI = "midi"
    MTF = "mtf"
    AUDIO = "audio"
    FEATURES = "features"


SUFFIXES: dict[str, Kind] = {
    ".txt": Kind.TEXT,
    ".xml": Kind.MUSICXML,
    ".musicxml": Kind.MUSICXML,
    ".mxl": Kind.MUSICXML,
    ".krn": Kind.SCORE,
    ".mei": Kind.SCORE,
    ".rntxt": Kind.SCORE,
    ".capx": Kind.SCORE,
    ".abc": Kind.ABC,
    ".mid": Kind.MIDI,
    ".midi": Kind.MIDI,
    ".mtf": Kind.MTF,
    ".wav": Kind.AUDIO,
    ".mp3": Kind.AUDIO,
    ".flac": Kind.AUDIO,
    ".ogg": Kind.AUDIO,
    ".oga": Kind.AUDIO,
    ".opus": Kind.AUDIO,
    ".m4a": Kind.AUDIO,
    ".aac": Kind.AUDIO,
    ".mp4": Kind.AUDIO,
    ".webm": Kind.AUDIO,
    ".wma": Kind.AUDIO,
    ".aif": Kind.AUDIO,
    ".aiff": Kind.AUDIO,
    ".au": Kind.AUDIO,
    ".npy": Kind.FEATURES,
}


@dataclass(frozen=True)
class Converted:
    """Text of a converted piece, and what a user should know about how it came to be."""

    text: str
    notes: tuple[str, ...] = ()


def kind_of(path: PurePath | str) -> Kind | None:
    """Return the kind of a file by its suffix, upper or lower case, or None if no reader exists."""
    return SUFFIXES.get(os.path.splitext(path)[1].lower())
