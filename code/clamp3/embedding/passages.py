"""Passages of a piece, each encoded like a piece of its own: their positions, and which items of a sequence they hold.

A plan is in the music's own unit: seconds for recordings and performances, bars for scores. Every passage of a score
begins with the score's header, every passage of a performance with the messages before its first note, so that key,
metre and instruments are known; a passage of a recording is a run of audio vectors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from clamp3.errors import ConfigError, FormatError
from clamp3.modalities.marks import Marks

Unit = Literal["seconds", "bars", "whole"]
_UNITS: tuple[Unit, ...] = ("seconds", "bars", "whole")
_N_FACTS = 7  # numbers that locate a passage


@dataclass(frozen=True)
class PassagePlan:
    """How long passages are and how far apart they begin; a hop may not exceed its window.

    Attributes
    ----------
    windows_sec, hop_sec : float
        For recordings and performances.
    windows_bars, hop_bars : int
        For scores.

    Raises
    ------
    ConfigError
        If a hop is not above 0 or exceeds its window.

    Examples
    --------
    >>> from clamp3.modalities.marks import sound_marks
    >>> plan = PassagePlan(windows_sec=20, hop_sec=10)
    >>> marks = sound_marks(n_vectors=7, vector_sec=5)  # a recording of 35 s between two zero vectors
    >>> [(str(passage), passage.first, passage.last) for passage in divide(9, marks, plan)]
    [('0:00-0:20', 1, 5), ('0:10-0:30', 3, 7), ('0:20-0:35', 5, 8)]
    """

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

    @classmethod
    def of(cls, sizes: Mapping[str, float | None]) -> PassagePlan | None:
        """Return the plan of what is given, its fields by name, None if nothing is; a hop is at most its window.

        Examples
        --------
        >>> PassagePlan.of({"windows_bars": 4})
        PassagePlan(windows_sec=30.0, hop_sec=10.0, windows_bars=4, hop_bars=4)
        """
        given: dict[str, Any] = {name: size for name, size in sizes.items() if size is not None}
        for window, hop in (("windows_sec", "hop_sec"), ("windows_bars", "hop_bars")):
            if window in given and hop not in given:
                given[hop] = min(getattr(cls, hop), given[window])
        return cls(**given) if given else None

    @property
    def identity(self) -> str:
        """What distinguishes plans in the cache."""
        return f"{self.windows_sec:g}/{self.hop_sec:g}s,{self.windows_bars}/{self.hop_bars}bars"


@dataclass(frozen=True)
class Stretch:
    """One part of a piece, in place of all passages of a plan.

    Attributes
    ----------
    unit : {"seconds", "bars"}
        Of ``start`` and ``end``.
    start, end : float
        Seconds from the beginning, ``end`` exclusive; or bars counted from 1, both inclusive. The end may be infinite.

    Raises
    ------
    ConfigError
        If nothing can be between them.

    Examples
    --------
    >>> from clamp3.modalities.marks import sound_marks
    >>> marks = sound_marks(n_vectors=7, vector_sec=5)
    >>> [str(passage) for passage in divide(9, marks, Stretch("seconds", 10, 20))]
    ['0:10-0:20']
    """

    unit: Unit
    start: float
    end: float

    def __post_init__(self) -> None:
        in_bars = self.unit == "bars"
        if not (self.start >= in_bars and (self.start <= self.end if in_bars else self.start < self.end)):
            raise ConfigError(f"from {self.start:g} to {self.end:g} {self.unit} there is nothing.")

    @property
    def identity(self) -> str:
        """What distinguishes stretches in the cache."""
        return f"{self.start!r}-{self.end!r} {self.unit}"

    def range_of(self, places: np.ndarray, marks: Marks) -> tuple[int, int]:
        """Return the (first, last) of the items whose places are in the stretch.

        Parameters
        ----------
        places : float array
        marks : Marks
        """
        if marks.unit != self.unit:
            raise FormatError(f"it is divided into {marks.unit}, not into {self.unit}.")
        start = self.start - (self.unit == "bars")  # where bars are counted from 0
        first, last = np.searchsorted(places, (start - 1e-6, self.end - 1e-6))
        if self.end >= marks.end - 1e-6:  # what ends the piece is at its end
            last = len(places)
        if first >= last:
            raise FormatError(f"it has nothing from {self.start:g} to {self.end:g} {self.unit}.")
        return int(first), int(last)


@dataclass(frozen=True)
class Passage:
    """The position of a passage in its piece.

    Attributes
    ----------
    unit : {"seconds", "bars", "whole"}
        Of ``start`` and ``end``; whole where a piece cannot be divided.
    start, end : float
        Seconds from the beginning, ``end`` exclusive; or bars counted from 1, a pickup included, both inclusive.
    first, last : int
        Its patches or audio vectors in the sequence of the piece, ``last`` exclusive.
    start_tick, end_tick : int or None
        The same in ticks, for performances.
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
        """Return whether two passages of one piece share any item."""
        return self.first < other.last and other.first < self.last


def divide(n_items: int, marks: Marks | None, plan: PassagePlan | Stretch) -> list[Passage]:
    """Return the passages of a sequence; see `PassagePlan` for an example.

    Parameters
    ----------
    n_items : int
        T, the wrapping items included.
    marks : Marks or None
        None, or marks of another length, make the piece one passage.
    plan : PassagePlan or Stretch
        The last passage reaches the end and may be shorter; passages without an item are left out.

    Returns
    -------
    list of Passage
        At least one, in order.

    Raises
    ------
    FormatError
        If the piece has no such stretch.
    """
    if marks is None or len(marks.starts) != n_items - 2 or marks.head >= len(marks.starts):
        if isinstance(plan, Stretch):
            raise FormatError("it cannot be divided.")
        return [Passage("whole", 0.0, 0.0, 0, n_items)]
    in_bars = marks.unit == "bars"
    starts = marks.starts[marks.head :]
    ticks = marks.ticks[marks.head :] if marks.ticks is not None else None
    offset = 1 + marks.head
    found: list[Passage] = []
    for first, last in _ranges(starts + marks.middle, marks, plan):
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


def _ranges(places: np.ndarray, marks: Marks, plan: PassagePlan | Stretch) -> Iterator[tuple[int, int]]:
    """Yield (first, last) items of each window that holds the place of at least one."""
    if isinstance(plan, Stretch):
        yield plan.range_of(places, marks)
        return
    end = marks.end
    window, hop = (plan.windows_bars, plan.hop_bars) if marks.unit == "bars" else (plan.windows_sec, plan.hop_sec)
    number, n_windows = 0, max(1, math.ceil((end - window) / hop - 1e-9) + 1)
    while number < n_windows:
        # A window that begins at a place holds it, however the times are rounded; the last one holds the rest.
        first, last = np.searchsorted(places, (number * hop - 1e-6, number * hop + window - 1e-6))
        if number * hop + window >= end - 1e-6:
            last = len(places)
        if first < last:
            yield int(first), int(last)
        elif first == len(places):
            return
        else:  # silence, however long: skip to the window with the next place
            number = max(number, math.floor((places[first] - window) / hop) - 1)
        number += 1


def cut(values: np.ndarray, marks: Marks | None, passage: Passage) -> np.ndarray:
    """Return a passage's sequence: the first wrapping item, the head, its own items and the last wrapping item.

    Parameters
    ----------
    values : array, shape (T, …)
        The sequence of the piece.
    marks : Marks or None
        Its marks.
    passage : Passage
        One of those that `divide` returned for it.
    """
    if passage.unit == "whole" or marks is None:
        return values
    return np.concatenate([values[: 1 + marks.head], values[passage.first : passage.last], values[-1:]])


def pack(vectors: np.ndarray, passages: Sequence[Passage]) -> np.ndarray:
    """Return vectors with their passages as one array, for the cache; `unpack` is the inverse.

    Parameters
    ----------
    vectors : float array, shape (W, D)
    passages : sequence of Passage
        One per vector.

    Returns
    -------
    float32 array, shape (1 + W * (D + 14),)
    """
    facts = [
        (_UNITS.index(p.unit), p.start, p.end, p.first, p.last, _or_nan(p.start_tick), _or_nan(p.end_tick))
        for p in passages
    ]
    as_floats = np.array(facts, np.float64).view(np.float32)  # the same bits, two numbers for one
    rows = np.concatenate([vectors.astype(np.float32), as_floats], axis=1)
    return np.concatenate([[np.float32(len(rows))], rows.reshape(-1)])


def unpack(packed: np.ndarray) -> tuple[np.ndarray, tuple[Passage, ...]]:
    """Return the vectors, shape (W, D), and passages that `pack` was given."""
    rows = packed[1:].reshape(int(packed[0]), -1)
    facts = np.ascontiguousarray(rows[:, -2 * _N_FACTS :]).view(np.float64)
    passages = tuple(
        Passage(_UNITS[int(unit)], float(start), float(end), int(first), int(last), _or_none(tick), _or_none(end_tick))
        for unit, start, end, first, last, tick, end_tick in facts
    )
    return np.ascontiguousarray(rows[:, : -2 * _N_FACTS]), passages


def _or_nan(value: int | None) -> float:
    return math.nan if value is None else float(value)


def _or_none(value: float) -> int | None:
    return None if math.isnan(value) else int(value)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
