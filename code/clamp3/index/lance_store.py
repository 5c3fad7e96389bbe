"""The store for libraries of any size: LanceDB in a folder or in object storage, with approximate search and full text.

A change is a new version of a table, which readers see whole; `LanceTable.optimise` merges small files, and brings the
search structures up to date.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from clamp3.errors import ConfigError, DataError, sentence_of
from clamp3.index.store import FIELDS, VECTOR, WORDS, Row, in_parts, with_vector
from clamp3.index.where import quoted

MIN_ROWS_OF_ANN = 50_000  # fewer are compared one and all
_KEPT = timedelta(minutes=5)  # old versions, for those who read them just now
_ASKED_AT_ONCE = 2000


class LanceStore:
    """Tables of a LanceDB database.

    Parameters
    ----------
    place : Path or str
        A folder that exists, or a URI of object storage.
    options : dict, optional
        How to reach it, as LanceDB's ``storage_options``.
    """

    def __init__(self, place: Path | str, options: dict[str, str] | None = None) -> None:
        try:
            import lancedb
        except ImportError:
            raise ConfigError(
                "the index was made with LanceDB, which is not installed here; pip install 'clamp3[index]'."
            ) from None
        warnings.filterwarnings("ignore", message="lancedb fork support")  # the workers never touch the store
        with _trouble():
            self._database = lancedb.connect(place, storage_options=options)
        self._place = place
        self._tables: dict[str, LanceTable] = {}

    def table(self, name: str, width: int) -> LanceTable:
        """Return a table; see `clamp3.index.store.Store.table`."""
        if name not in self._tables:
            self._tables[name] = LanceTable(self._database, name, width)
        return self._tables[name]

    def tables(self) -> Mapping[str, int]:
        """Return the tables that are there and their number of rows."""
        with _trouble():
            return {name: self._database.open_table(name).count_rows() for name in self._names()}

    def close(self) -> None:
        """Let go of files."""
        self._tables.clear()

    def drop(self) -> None:
        """Remove all tables."""
        self._tables.clear()
        with _trouble():
            for name in self._names():
                self._database.drop_table(name)

    def size(self) -> int | None:
        """Return the size of all files, in object storage that of the rows alone."""
        if isinstance(self._place, Path):
            return sum(each.stat().st_size for each in self._place.rglob("*") if each.is_file())
        with _trouble():
            found: list[Any] = [self._database.open_table(name).stats() for name in self._names()]
            return sum(each["total_bytes"] for each in found)

    def version(self) -> object:
        """Return the versions of the tables that are open."""
        return [table.version() for table in self._tables.values()]

    def _names(self) -> list[str]:
        there = set(self._database.list_tables(limit=100).tables)
        return [name for name in FIELDS if name in there]


class LanceTable:
    """A table of a `LanceStore`, with the methods of `clamp3.index.store.Table`."""

    def __init__(self, database: Any, name: str, width: int) -> None:
        import pyarrow

        types = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}
        schema = [pyarrow.field(field, types[kind]) for field, kind in FIELDS[name].items()]
        self._fields, self._has_words = with_vector(name), WORDS in FIELDS[name]
        if VECTOR in self._fields:
            schema.append(pyarrow.field(VECTOR, pyarrow.list_(pyarrow.float32(), width)))
        self._schema = pyarrow.schema(schema)
        self._table: Any = None
        try:  # to open is enough for those who may only read
            self._table = database.open_table(name)
        except (RuntimeError, ValueError, OSError):
            self._table = self._do(lambda _: database.create_table(name, schema=self._schema, exist_ok=True))
        if self._do(lambda table: table.schema.names != self._schema.names or table.schema.types != self._schema.types):
            raise DataError(
                f"the table {name} of the index has other fields, or vectors of another width than {width}."
            )

    def upsert(self, rows: Sequence[Row]) -> None:
        """Add rows; those whose ``id`` is there are replaced."""
        import pyarrow

        if not rows:
            return
        new = pyarrow.Table.from_pylist(list(rows), schema=self._schema)

        def merge(table: Any) -> Any:
            return table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(new)

        self._do(merge)

    def delete(self, values: Collection[str], field: str = "id") -> None:
        """Remove the rows with one of these values; see `clamp3.index.store.Table.delete`."""
        for part in in_parts(values, _ASKED_AT_ONCE):
            chosen = _among(field, part)
            self._do(lambda table, chosen=chosen: table.delete(chosen))

    def count(self, where: str | None = None) -> int:
        """Return how many rows there are, or how many a filter lets through."""
        return int(self._do(lambda table: table.count_rows(where)))

    def rows(
        self, fields: Sequence[str], where: str | None = None, *, ids: Collection[str] | None = None
    ) -> Sequence[Row]:
        """Return fields of rows; see `clamp3.index.store.Table.rows`."""
        if ids is None:
            return self._read(lambda table: table.search(), fields, where)
        found: list[Row] = []
        for part in in_parts(ids, _ASKED_AT_ONCE):
            among = _among("id", part)
            found += self._read(lambda table: table.search(), fields, f"({where}) AND {among}" if where else among)
        return found

    def nearest(self, query: Any, n: int, where: str | None = None) -> Sequence[Row]:
        """Return the rows closest to a vector; see `clamp3.index.store.Table.nearest`."""
        asked = np.asarray(query, np.float32).reshape(-1)

        def ask(table: Any) -> Any:
            # LanceDB's own 20 cells are too few of a thousand, above all where a filter leaves little in each.
            cells = max(20, _n_cells(table.count_rows()) // (8 if where is None else 3))
            return table.search(asked).distance_type("cosine").nprobes(cells)

        return self._best(ask, "_distance", where, n)

    def matching(self, words: Sequence[str], n: int, where: str | None = None) -> Sequence[Row]:
        """Return the rows whose words match best; see `clamp3.index.store.Table.matching`."""
        if not words or not any(index.index_type == "FTS" for index in self._table.list_indices()):
            return []
        return self._best(lambda table: table.search(" ".join(words), query_type="fts"), "_score", where, n)

    def optimise(self) -> None:
        """Merge small files, bring search structures up to date and remove old versions."""
        from lancedb.index import FTS, BTree, IvfFlat

        there = {column: index for index in self._table.list_indices() for column in index.columns}
        n_rows = self.count()
        wanted: dict[str, Any] = {}
        if self._has_words and n_rows:
            wanted[WORDS] = FTS(
                with_position=False,
                base_tokenizer="whitespace",  # words are folded and cut before
                lower_case=False,
                stem=False,
                remove_stop_words=False,
                ascii_folding=False,
            )
        if n_rows >= MIN_ROWS_OF_ANN:
            wanted["id"] = BTree()
            if VECTOR in self._fields:
                wanted[VECTOR] = IvfFlat(distance_type="cosine", num_partitions=_n_cells(n_rows))
        for column, config in wanted.items():
            if column not in there:
                self._do(lambda table, column=column, config=config: table.create_index(column, config=config))
        self._do(lambda table: table.optimize(cleanup_older_than=_KEPT, delete_unverified=True))

    def version(self) -> int:
        """Return the number of the newest version."""
        return int(self._do(lambda table: table.version))

    def _best(self, ask: Any, score: str, where: str | None, n: int) -> list[Row]:
        def query(table: Any) -> Any:
            return (ask(table).where(where, prefilter=True) if where is not None else ask(table)).limit(n)

        rows = self._read(query, [*self._fields, score])
        for row in rows:
            del row[score]
        return rows

    def _read(self, ask: Any, fields: Sequence[str], where: str | None = None) -> list[Row]:
        def read(table: Any) -> Any:
            query = ask(table).select(list(fields))
            return (query.where(where) if where is not None else query).to_arrow()

        found = self._do(read)
        rows: list[Row] = [{} for _ in range(len(found))]
        for field in fields:
            if field == VECTOR:
                flat = found[VECTOR].combine_chunks().flatten().to_numpy(zero_copy_only=False)
                values = list(flat.reshape(len(found), -1)) if len(found) else []
            else:
                values = found[field].to_pylist()
            for row, value in zip(rows, values, strict=True):
                row[field] = value
        return rows

    def _do(self, action: Any) -> Any:
        with _trouble():
            if self._table is not None:
                self._table.checkout_latest()  # another process may have written
            return action(self._table)


@contextmanager
def _trouble() -> Iterator[None]:
    """Turn what LanceDB says into one sentence; object storage's own is within pages of others."""
    try:
        yield
    except (RuntimeError, ValueError, OSError) as error:
        said = re.search(r"<Message>(.*?)</Message>", str(error))
        if said is None and re.search(r"kind: (Connect|Timeout)\b|dns error", str(error)):
            raise DataError("the object storage of the index does not answer.") from error
        raise DataError(f"the index cannot be read or written ({sentence_of(said[1] if said else error)}).") from error


def _n_cells(n_rows: int) -> int:
    return max(64, round(n_rows**0.5))


def _among(field: str, values: Iterable[str]) -> str:
    return f"{field} IN ({', '.join(map(quoted, values))})"
