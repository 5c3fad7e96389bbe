"""The positions of a sequence's items in the music: bars of a score, seconds of a performance or a recording."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from clamp3.errors import FormatError
from clamp3.formats.midi import CHANNEL_TYPES, SYSTEM_TYPES
from clamp3.formats.symbolic import is_mtf
from clamp3.modalities import patches

_MAX_HEAD = 32  # patches before the first note; some files begin with pages of controls
_MAX_DIGITS = 11  # of a number of ticks that is none of a piece of music
_DEFAULT_TEMPO = 500_000  # microseconds per beat, until a file sets another
# MTF messages with their delta time right after their type; the others have it last.
_TIME_FIRST = frozenset((*CHANNEL_TYPES, *SYSTEM_TYPES, "sysex"))


@dataclass(frozen=True)
class Marks:
    """The positions of a sequence's items in the music.

    Attributes
    ----------
    unit : {"seconds", "bars"}
        Of ``starts`` and ``end``; bars are counted from 0 here.
    head : int
        Number of items, after the first wrapping one, that every passage begins with.
    starts : float array, shape (T - 2,)
        Start of each item between the two wrapping ones; never decreasing.
    end : float
        End of the last one.
    ticks : int array, shape (T - 2,), or None
        The starts in ticks.
    end_tick : int
        The end in ticks.
    middle : float
        Distance from an item's start to the point that must lie in a window for the item to belong to it.
    """

    unit: Literal["seconds", "bars"]
    head: int
    starts: np.ndarray
    end: float
    ticks: np.ndarray | None = None
    end_tick: int = 0
    middle: float = 0.0


def sound_marks(n_vectors: int, vector_sec: float, end_sec: float = math.inf) -> Marks:
    """Return the marks of audio vectors.

    Parameters
    ----------
    n_vectors : int
        Number of vectors.
    vector_sec : float
        Seconds per vector.
    end_sec : float
        Length of the recording.
    """
    end = min(end_sec, n_vectors * vector_sec)
    return Marks("seconds", 0, np.arange(n_vectors) * vector_sec, end, middle=vector_sec / 2)


def marks_of(text: str) -> Marks:
    """Return the marks of the text of a piece: MTF, or interleaved ABC."""
    return performance_marks(text) if is_mtf(text) else score_marks(text)


def score_marks(text: str) -> Marks:
    """Return the marks of interleaved ABC: every line of music is one bar of all voices."""
    bars: list[int] = []
    head, bar = 0, -1
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        try:
            n_patches = len(patches.split_text(f"{line}\n"))
        except FormatError:
            continue
        if not ((line[1:2] == ":" and line[0].isalpha()) or line.startswith("%%")):
            bar += 1
        if bar < 0:
            head += n_patches
        bars += [max(0, bar)] * n_patches
    return Marks("bars", head, np.array(bars, np.float64), float(bar + 1))


def performance_marks(text: str) -> Marks:
    """Return the marks of MTF, in seconds by its tempo changes, and in ticks."""
    strings = patches.split_text(text)
    said = strings[0].split()[1] if strings[0].split()[1:] else "0"
    division = _number(said.removeprefix("-")) * (-1 if said.startswith("-") else 1)
    tempo, tick, second = _DEFAULT_TEMPO, 0, 0.0
    ticks, starts, head = [0], [0.0], 1
    sounding = False
    for string in strings[1:]:
        word, _, rest = string.rstrip("\n").partition(" ")
        sounding = sounding or word.startswith("note_")
        for place, values in enumerate(rest.split("\t")):
            delta, tempo_after = _delta(word, values), tempo
            if word == "set_tempo":
                tempo_after = _number(values.split(" ")[0]) or tempo
            tick += delta
            second += delta * _tick_sec(division, tempo)
            tempo = tempo_after
            if place == 0:
                ticks.append(tick)
                starts.append(second)
        if not sounding and len(starts) <= _MAX_HEAD + 1:
            head = len(starts)
    if not sounding:
        head = 1
    return Marks("seconds", head, np.array(starts), second, np.array(ticks, np.int64), tick)


def _delta(word: str, values: str) -> int:
    numbers = values.split(" ")
    return _number(numbers[0] if word in _TIME_FIRST else numbers[-1])


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < _MAX_DIGITS else 0


def _tick_sec(division: int, tempo: int) -> float:
    """Return seconds per tick: of a beat, or of a film frame where the division is negative (SMPTE)."""
    if division < 0:
        frames_per_sec, per_frame = 256 - (division >> 8 & 0xFF), division & 0xFF
        return 1 / (frames_per_sec * max(1, per_frame))
    return tempo / 1e6 / (division or 480)
