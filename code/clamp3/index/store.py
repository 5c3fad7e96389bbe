"""What an index asks of a store: tables of rows with a vector and words each, changed by one writer.

A row is a dictionary with a value for every field of its table; unknown text is "", unknown numbers are None, so that
filters mean the same in every store. Filters arrive as SQL that `clamp3.index.where.to_sql` has checked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol

Row = dict[str, Any]

VECTOR, WORDS = "vector", "words"  # the fields that are searched; others hold str, int or float
PIECES, PASSAGES, FAILURES = "pieces", "passages", "failures"
NOTES = "notes"  # of a remote index what a folder has in files beside its data

FACTS: dict[str, type] = {
    "name": str,
    "title": str,
    "composer": str,
    "artist": str,
    "album": str,
    "genre": str,
    "year": int,
    "key": str,
    "metre": str,
    "tempo": float,
    "duration": float,
    "modality": str,
    "kind": str,
}
"""What is known of a piece, and may be asked for in a filter."""

_STATE: dict[str, type] = {"content": str, "size": int, "mtime_ns": int, "made_by": str}
_PLACE: dict[str, type] = {
    "piece": str,
    "unit": str,
    "start_at": float,
    "end_at": float,
    "first_item": int,
    "last_item": int,
}
FIELDS: dict[str, dict[str, type]] = {
    PIECES: {"id": str, **FACTS, **_STATE, WORDS: str},
    PASSAGES: {"id": str, **FACTS, **_PLACE},
    FAILURES: {"id": str, "name": str, **_STATE, "reason": str},
    NOTES: {"id": str, "text": str},
}
"""Fields of each table besides the vector, which only those `with_vector` have."""


def with_vector(name: str) -> list[str]:
    """Return the fields of a table, the vector last if it has one."""
    return [*FIELDS[name], *([VECTOR] if name in (PIECES, PASSAGES) else [])]


def listed(fields: Sequence[str]) -> str:
    """Return the names of fields as SQL lists them."""
    return ", ".join(f'"{field}"' for field in fields)


class Table(Protocol):
    """Rows under an ``id`` each; every call is a transaction, done whole or not at all, ``kill -9`` included."""

    def upsert(self, rows: Sequence[Row]) -> None:
        """Add rows; those whose ``id`` is there are replaced."""

    def delete(self, values: Collection[str], field: str = "id") -> None:
        """Remove the rows with one of these values.

        Parameters
        ----------
        values : collection of str
        field : str
            Field that has the value.
        """

    def count(self, where: str | None = None) -> int:
        """Return how many rows there are, or how many a filter lets through."""

    def rows(
        self, fields: Sequence[str], where: str | None = None, *, ids: Collection[str] | None = None
    ) -> Sequence[Row]:
        """Return fields of rows, in no particular order.

        Parameters
        ----------
        fields : sequence of str
            ``vector`` comes as float32 array, shape (D,).
        where : str, optional
            A filter.
        ids : collection of str, optional
            Only these, as many of them as there are.
        """

    def nearest(self, query: Any, n: int, where: str | None = None) -> Sequence[Row]:
        """Return the rows closest to a vector by cosine, all fields and the vector; large tables may miss a few.

        Parameters
        ----------
        query : float array, shape (D,)
        n : int
            How many.
        where : str, optional
            A filter, applied before they are counted.
        """

    def matching(self, words: Sequence[str], n: int, where: str | None = None) -> Sequence[Row]:
        """Return the rows whose ``words`` match best (BM25), all fields and the vector, best first.

        Parameters
        ----------
        words : sequence of str
            Tokens, of which a row needs one.
        n : int
            How many.
        where : str, optional
            A filter, applied before they are counted.
        """

    def optimise(self) -> None:
        """Tidy up after many changes: merge small files, bring search structures up to date."""


class Store(Protocol):
    """The tables of one index."""

    def table(self, name: str, width: int) -> Table:
        """Return a table of `FIELDS`, made empty if it is new.

        Parameters
        ----------
        name : str
        width : int
            D, of its vectors.
        """

    def tables(self) -> Mapping[str, int]:
        """Return the tables that are there and their number of rows."""

    def size(self) -> int | None:
        """Return how many bytes the tables take, None if nobody knows."""

    def version(self) -> object:
        """Return what is another value after every change of a table."""

    def close(self) -> None:
        """Let go of files and connections."""


class RemoteStore(Store, Protocol):
    """A store that several computers share."""

    def drop(self) -> None:
        """Remove all tables."""


def in_parts(values: Collection[str], size: int) -> Iterator[list[str]]:
    """Yield values some at a time, as many as a store takes in one condition.

    Parameters
    ----------
    values : collection of str
    size : int
    """
    every = list(values)
    return (every[start : start + size] for start in range(0, len(every), size))
