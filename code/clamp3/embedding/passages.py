"""Stretches of a piece, each as a piece of its own: where they lie, and what of a sequence belongs to them.

A plan is in the music's own unit: seconds for recordings and performances, bars for scores. Every passage of a score
begins with the score's header, every passage of a performance with what stands before its first note, so that key,
metre and instruments are known; a passage of a recording is a run of audio vectors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from clamp3.errors import ConfigError
from clamp3.modalities.marks import Marks

Unit = Literal["seconds", "bars", "whole"]
_UNITS: tuple[Unit, ...] = ("seconds", "bars", "whole")
_N_FACTS = 7  # numbers that say where a passage lies


@dataclass(frozen=True)
class PassagePlan:
    """How long passages are and how far apart they begin; hops may not leave gaps."""

    windows_sec: float = 30.0
    hop_sec: float = 10.0
    windows_bars: int = 16
    hop_bars: int = 8

    def __post_init__(self) -> None:
        for window, hop in ((self.windows_sec, self.hop_sec), (self.windows_bars, self.hop_bars)):
            if not 0 < hop <= window < math.inf:
                raise ConfigError(
                    f"passages of {window:g} every {hop:g} are not possible; hops are from 0 to a window."
                )

    @property
    def identity(self) -> str:
        """What the cache tells plans apart by."""
        return f"{self.windows_sec:g}/{self.hop_sec:g}s,{self.windows_bars}/{self.hop_bars}bars"


@dataclass(frozen=True)
class Passage:
    """Where a passage lies.

    Attributes
    ----------
    unit : {"seconds", "bars", "whole"}
        Of ``start`` and ``end``; whole where a piece cannot be divided.
    start, end : float
        Seconds from the beginning, ``end`` exclusive; or bars counted from 1, a pickup included, both inclusive.
    first, last : int
        Its patches or audio vectors in the sequence of the piece, ``last`` exclusive.
    start_tick, end_tick : int or None
        In performances.
    """

    unit: Unit
    start: float
    end: float
    first: int
    last: int
    start_tick: int | None = None
    end_tick: int | None = None

    def __str__(self) -> str:
        if self.unit == "bars":
            return f"bars {self.start:g}-{self.end:g}"
        return f"{_clock(self.start)}-{_clock(self.end)}" if self.unit == "seconds" else ""

    def overlaps(self, other: Passage) -> bool:
        """Whether two passages of one piece share anything."""
        return self.first < other.last and other.first < self.last


def divide(n_items: int, marks: Marks | None, plan: PassagePlan) -> list[Passage]:
    """Return the passages of a sequence.

    Parameters
    ----------
    n_items : int
        T, the wrapping items included.
    marks : Marks or None
        None, or marks of another length, make the piece one passage.
    plan : PassagePlan
        The last passage reaches the end and may be shorter; passages without an item are left out.

    Returns
    -------
    list of Passage
        At least one, in order.
    """
    if marks is None or len(marks.starts) != n_items - 2 or marks.head >= len(marks.starts):
        return [Passage("whole", 0.0, 0.0, 0, n_items)]
    in_bars = marks.unit == "bars"
    window, hop = (plan.windows_bars, plan.hop_bars) if in_bars else (plan.windows_sec, plan.hop_sec)
    starts = marks.starts[marks.head :]
    ticks = marks.ticks[marks.head :] if marks.ticks is not None else None
    offset = 1 + marks.head
    found: list[Passage] = []
    for first, last in _ranges(starts + marks.middle, marks.end, window, hop):
        items = (first + offset, last + offset)
        if found and (found[-1].first, found[-1].last) == items:
            continue
        ends = last == len(starts)
        if in_bars:
            start, end = starts[first] + 1, starts[last - 1] + 1
        else:
            start, end = starts[first] if first else 0.0, marks.end if ends else starts[last]
        between: tuple[int, ...] = ()
        if ticks is not None:
            between = (int(ticks[first]) if first else 0, marks.end_tick if ends else int(ticks[last]))
        found.append(Passage(marks.unit, float(start), float(end), *items, *between))
    return found


def _ranges(places: np.ndarray, end: float, window: float, hop: float) -> Iterator[tuple[int, int]]:
    """Yield (first, last) items of each window that holds any of their places."""
    number, n_windows = 0, max(1, math.ceil((end - window) / hop - 1e-9) + 1)
    while number < n_windows:
        # A window that begins at a place holds it, whatever the rounding of the times; the last one holds the rest.
        first, last = np.searchsorted(places, (number * hop - 1e-6, number * hop + window - 1e-6))
        if number * hop + window >= end - 1e-6:
            last = len(places)
        if first < last:
            yield int(first), int(last)
        elif first == len(places):
            return
        else:  # silence, however long: on to the window that the next place lies in
            number = max(number, math.floor((places[first] - window) / hop) - 1)
        number += 1


def cut(values: np.ndarray, marks: Marks | None, passage: Passage) -> np.ndarray:
    """Return a passage's sequence: the first wrapping item, the head, its own items and the last wrapping item."""
    if passage.unit == "whole" or marks is None:
        return values
    return np.concatenate([values[: 1 + marks.head], values[passage.first : passage.last], values[-1:]])


def pack(vectors: np.ndarray, passages: Sequence[Passage]) -> np.ndarray:
    """Return (W, D) vectors with their passages as one float32 array, shape (1 + W * (D + 14),), for the cache."""
    facts = [(_UNITS.index(p.unit), p.start, p.end, p.first, p.last, p.start_tick, p.end_tick) for p in passages]
    # None becomes NaN; the same bits as two numbers for one.
    as_floats = np.array(facts, np.float64).view(np.float32)
    rows = np.concatenate([vectors.astype(np.float32), as_floats], axis=1)
    return np.concatenate([[np.float32(len(rows))], rows.reshape(-1)])


def unpack(packed: np.ndarray) -> tuple[np.ndarray, tuple[Passage, ...]]:
    """Return what `pack` was given."""
    rows = packed[1:].reshape(int(packed[0]), -1)
    facts = np.ascontiguousarray(rows[:, -2 * _N_FACTS :]).view(np.float64)
    passages = tuple(
        Passage(_UNITS[int(unit)], float(start), float(end), int(first), int(last), _or_none(tick), _or_none(end_tick))
        for unit, start, end, first, last, tick, end_tick in facts
    )
    return np.ascontiguousarray(rows[:, : -2 * _N_FACTS]), passages


def _or_none(value: float) -> int | None:
    return None if math.isnan(value) else int(value)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
