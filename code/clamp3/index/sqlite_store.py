"""The store that needs nothing but Python: rows in one SQLite file, vectors compared one and all by numpy.

Exact, and quick enough for some ten thousand pieces: the vectors are read into memory with the first question.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clamp3.errors import DataError, sentence_of
from clamp3.index.ranking import rank
from clamp3.index.store import FIELDS, VECTOR, WORDS, Row, in_parts, listed, with_vector

FILE_NAME = "index.sqlite"
BUSY_SEC = 60.0
_TYPES = {str: "TEXT", int: "INTEGER", float: "REAL"}
_ASKED_AT_ONCE = 500  # SQLite takes at least 999 parameters per statement
_TOKENS = "unicode61 remove_diacritics 0 categories 'L* M* N* Co' tokenchars '_'"  # words are folded before


class SqliteStore:
    """Tables in the SQLite file of a folder.

    Parameters
    ----------
    folder : Path
        Exists.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._connection = sqlite3.connect(
            folder / FILE_NAME, timeout=BUSY_SEC, isolation_level=None, check_same_thread=False
        )
        self._connection.create_function("lower", 1, str.lower, deterministic=True)
        self._connection.create_function("strpos", 2, lambda text, part: text.find(part) + 1, deterministic=True)
        _do(self._connection, "PRAGMA journal_mode=WAL")
        _do(self._connection, "PRAGMA synchronous=FULL")
        self._tables: dict[str, SqliteTable] = {}

    def table(self, name: str, width: int) -> SqliteTable:
        """Return a table; see `clamp3.index.store.Store.table`."""
        if name not in self._tables:
            self._tables[name] = SqliteTable(self._connection, name, width)
        return self._tables[name]

    def tables(self) -> Mapping[str, int]:
        """Return the tables that are there and their number of rows."""
        names = {row[0] for row in _do(self._connection, "SELECT name FROM sqlite_master WHERE type = 'table'")}
        return {name: self.table(name, 0).count() for name in FIELDS if name in names}

    def size(self) -> int | None:
        """Return the size of the file, and of what is not yet in it."""
        return sum(each.stat().st_size for each in self._folder.glob(f"{FILE_NAME}*"))

    def version(self) -> object:
        """Return what changes with every change by this or another process."""
        return _version(self._connection)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


class SqliteTable:
    """A table of a `SqliteStore`, with the methods of `clamp3.index.store.Table`."""

    def __init__(self, connection: sqlite3.Connection, name: str, width: int) -> None:
        self._connection, self._name, self._width = connection, name, width
        self._types, self._fields = FIELDS[name], with_vector(name)
        self._matrix: tuple[object, list[str], np.ndarray] | None = None
        columns = ", ".join(
            f'"{field}" {_TYPES[kind]}{" PRIMARY KEY" if field == "id" else ""}' for field, kind in self._types.items()
        )
        vector = f", {VECTOR} BLOB NOT NULL" if VECTOR in self._fields else ""
        with _Transaction(connection):
            _do(connection, f"CREATE TABLE IF NOT EXISTS {name} ({columns}{vector})")
            if WORDS in self._types:
                _do(
                    connection,
                    f'CREATE VIRTUAL TABLE IF NOT EXISTS {name}_words USING fts5(words, tokenize="{_TOKENS}")',
                )
            if "piece" in self._types:
                _do(connection, f"CREATE INDEX IF NOT EXISTS {name}_piece ON {name} (piece)")

    def upsert(self, rows: Sequence[Row]) -> None:
        """Add rows; those whose ``id`` is there are replaced."""
        names = ", ".join(f'"{field}"' for field in self._fields)
        changes = ", ".join(f'"{field}" = excluded."{field}"' for field in self._fields)
        marks = ", ".join("?" * len(self._fields))
        command = (
            f"INSERT INTO {self._name} ({names}) VALUES ({marks}) "  # noqa: S608 - names of ours
            f"ON CONFLICT (id) DO UPDATE SET {changes} RETURNING rowid"
        )
        with _Transaction(self._connection):
            for row in rows:
                values = [_stored(row[field]) for field in self._fields]
                number = _do(self._connection, command, values).fetchall()[0][0]
                if WORDS in self._types:
                    _do(self._connection, f"DELETE FROM {self._name}_words WHERE rowid = ?", [number])  # noqa: S608
                    text = f"INSERT INTO {self._name}_words (rowid, words) VALUES (?, ?)"  # noqa: S608
                    _do(self._connection, text, [number, row[WORDS]])

    def delete(self, values: Collection[str], field: str = "id") -> None:
        """Remove the rows with one of these values; see `clamp3.index.store.Table.delete`."""
        with _Transaction(self._connection):
            for part in in_parts(values, _ASKED_AT_ONCE):
                chosen = f'FROM {self._name} WHERE "{field}" IN ({", ".join("?" * len(part))})'
                if WORDS in self._types:
                    inner = f"SELECT rowid {chosen}"
                    _do(self._connection, f"DELETE FROM {self._name}_words WHERE rowid IN ({inner})", part)  # noqa: S608
                _do(self._connection, f"DELETE {chosen}", part)

    def count(self, where: str | None = None) -> int:
        """Return how many rows there are, or how many a filter lets through."""
        found = _do(self._connection, f"SELECT count(*) FROM {self._name} WHERE {where or 'TRUE'}")  # noqa: S608
        return int(found.fetchone()[0])

    def rows(
        self, fields: Sequence[str], where: str | None = None, *, ids: Collection[str] | None = None
    ) -> Sequence[Row]:
        """Return fields of rows; see `clamp3.index.store.Table.rows`."""
        command = f"SELECT {listed(fields)} FROM {self._name} WHERE {where or 'TRUE'}"  # noqa: S608
        if ids is None:
            return self._read(fields, _do(self._connection, command))
        found: list[Row] = []
        for part in in_parts(ids, _ASKED_AT_ONCE):
            marks = ", ".join("?" * len(part))
            found += self._read(fields, _do(self._connection, f"{command} AND id IN ({marks})", part))
        return found

    def nearest(self, query: Any, n: int, where: str | None = None) -> Sequence[Row]:
        """Return the rows closest to a vector; see `clamp3.index.store.Table.nearest`."""
        ids, vectors = self._loaded()
        if where is not None:
            allowed = {row["id"] for row in self.rows(["id"], where)}
            chosen = np.array([place for place, each in enumerate(ids) if each in allowed], np.int64)
            ids, vectors = [ids[place] for place in chosen], vectors[chosen]
        if not ids:
            return []
        best = [ids[place] for place, _ in rank(query, vectors, n, ids)]
        found = {row["id"]: row for row in self.rows(self._fields, ids=best)}
        return [found[each] for each in best if each in found]

    def matching(self, words: Sequence[str], n: int, where: str | None = None) -> Sequence[Row]:
        """Return the rows whose words match best; see `clamp3.index.store.Table.matching`."""
        asked = " OR ".join(f'"{word}"' for word in words)
        if not asked:
            return []
        command = (
            f"SELECT {listed(self._fields)} FROM {self._name} "  # noqa: S608
            f"JOIN (SELECT rowid AS number, rank AS worst FROM {self._name}_words WHERE {self._name}_words MATCH ?) "
            f"ON {self._name}.rowid = number WHERE {where or 'TRUE'} ORDER BY worst, id LIMIT ?"
        )
        return self._read(self._fields, _do(self._connection, command, [asked, n]))

    def optimise(self) -> None:
        """Tidy up after many changes."""
        if WORDS in self._types:
            _do(self._connection, f"INSERT INTO {self._name}_words({self._name}_words) VALUES ('optimize')")  # noqa: S608
        _do(self._connection, "PRAGMA optimize")
        _do(self._connection, "PRAGMA wal_checkpoint(TRUNCATE)")

    def _loaded(self) -> tuple[list[str], np.ndarray]:
        """Return all ids and vectors, read again after a change by this or another process."""
        changed = _version(self._connection)
        if self._matrix is None or self._matrix[0] != changed:
            found = self.rows(["id", VECTOR])
            vectors = np.stack([row[VECTOR] for row in found]) if found else np.empty((0, self._width), np.float32)
            self._matrix = changed, [row["id"] for row in found], vectors
        return self._matrix[1:]

    def _read(self, fields: Sequence[str], found: Iterable[tuple[Any, ...]]) -> list[Row]:
        rows = [dict(zip(fields, values, strict=True)) for values in found]
        if VECTOR in fields:
            for row in rows:
                vector = np.frombuffer(row[VECTOR], "<f4")
                if len(vector) != self._width:
                    raise DataError(
                        f"the vector of {row.get('id')} in the index has width {len(vector)}, not {self._width}."
                    )
                row[VECTOR] = vector
        return rows


class _Transaction:
    """All or nothing, also within another transaction's end; SQLite's own commit survives ``kill -9``."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        _do(self._connection, "BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        _do(self._connection, "COMMIT" if kind is None else "ROLLBACK")


def _do(connection: sqlite3.Connection, command: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
    try:
        return connection.execute(command, values)
    except sqlite3.Error as error:
        raise DataError(
            f"the index cannot be read or written ({sentence_of(error)}); `clamp3 index verify` looks at it."
        ) from error


def _version(connection: sqlite3.Connection) -> object:
    return _do(connection, "PRAGMA data_version").fetchone()[0], connection.total_changes


def _stored(value: Any) -> Any:
    return np.ascontiguousarray(value, "<f4").tobytes() if isinstance(value, np.ndarray) else value
