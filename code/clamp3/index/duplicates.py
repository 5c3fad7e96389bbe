"""Which pieces of an index are the same: equal files, and pieces whose vectors are nearly equal. Nothing is deleted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from clamp3.errors import ConfigError
from clamp3.index.library import Library
from clamp3.index.ranking import unit_rows
from clamp3.index.store import VECTOR, Row

LEAST = 0.995  # cosine; docs/indexes.md says what it finds
_BLOCK = 512  # rows that are compared with all at once
_FIELDS = ("id", "name", "title", "composer", "artist", "modality", "content")


@dataclass(frozen=True)
class Group:
    """Pieces that are the same.

    Attributes
    ----------
    equal : bool
        Whether their files have the same content; else their vectors are nearly equal.
    pieces : tuple of dict
        Facts of each, by name; the others are like the first.
    cosines : tuple of float
        Of each to the first.
    """

    equal: bool
    pieces: tuple[Row, ...]
    cosines: tuple[float, ...]


def duplicates(library: Library, *, least: float = LEAST, where: str | None = None) -> list[Group]:
    """Return groups of the same pieces: those of equal content, then, of one piece per content, those nearly equal.

    Every vector is compared with every other, so the time grows with the square of their number.

    Parameters
    ----------
    library : Library
    least : float
        Cosine from which on two vectors are nearly equal.
    where : str, optional
        A filter.
    """
    if not 0 < least <= 1:
        raise ConfigError(f"the least cosine of duplicates is {least}; it is above 0, at most 1.")
    rows = sorted(library.pieces.rows([*_FIELDS, VECTOR], library.condition(where)), key=lambda r: (r["name"], r["id"]))
    by_content: dict[str, list[Row]] = {}
    for row in rows:
        by_content.setdefault(row["content"], []).append(row)
    equal = [Group(True, tuple(map(_facts, same)), (1.0,) * len(same)) for same in by_content.values() if len(same) > 1]
    firsts = [same[0] for same in by_content.values()]
    return equal + list(_near(firsts, least))


def _near(rows: list[Row], least: float) -> Iterator[Group]:
    """Yield groups around the first of each by name, so that no chain of likeness makes a group of the unlike."""
    if not rows:
        return
    units = unit_rows(np.stack([row[VECTOR] for row in rows])).astype(np.float32)
    taken = np.zeros(len(rows), bool)
    for start in range(0, len(rows), _BLOCK):
        block = units[start : start + _BLOCK] @ units[start:].T
        for first in range(len(block)):
            if taken[start + first]:
                continue
            alike = first + 1 + np.flatnonzero((block[first, first + 1 :] >= least) & ~taken[start + first + 1 :])
            if len(alike):
                taken[start + alike] = True
                members = [start + first, *(start + alike).tolist()]
                cosines = (1.0, *(round(float(block[first, other]), 6) for other in alike))
                yield Group(False, tuple(_facts(rows[n]) for n in members), cosines)


def _facts(row: Row) -> Row:
    return {name: row[name] for name in _FIELDS if name != "content" and row[name] not in ("", None)}
