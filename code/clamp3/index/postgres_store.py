"""The store for a database server: PostgreSQL with pgvector, approximate search by HNSW, full text of its own.

Every set of data is a schema. Vectors are kept as float32 and searched as halves; the words of a row are a ``tsvector``
of the tokens that `clamp3.index.words` makes, so that scripts and misspellings need no dictionary of the server.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import md5
from typing import Any

import numpy as np

from clamp3.errors import ConfigError, DataError, sentence_of
from clamp3.index.place import Uri
from clamp3.index.store import FIELDS, VECTOR, WORDS, Row, listed, with_vector

MIN_ROWS_OF_ANN = 5_000  # fewer are compared one and all; a server reads 10 µs for each
_CONNECT_SEC = 10
_TYPES = {str: "text", int: "int8", float: "float8"}
_COMMON = 0.02  # tokens of more rows than this share order what rarer ones find
# As Python's str.lower, which made the constants of filters; the first that a server has.
_COLLATIONS = ["und-x-icu", "pg_unicode_fast", "pg_c_utf8", "C.utf8", "default"]
_SCAN = "SET hnsw.ef_search = 200; SET hnsw.iterative_scan = relaxed_order"


class PostgresStore:
    """Tables of a schema.

    Parameters
    ----------
    uri : Uri
        As libpq takes it; what follows ``#`` begins the names of its schemas.
    name : str
        Of the data.
    """

    def __init__(self, uri: Uri, name: str) -> None:
        self._schema = f"{uri.name}_{name}".replace("-", "_")
        self._link = _Link(uri)
        self._tables: dict[str, PostgresTable] = {}

    def table(self, name: str, width: int) -> PostgresTable:
        """Return a table; see `clamp3.index.store.Store.table`."""
        if name not in self._tables:
            self._tables[name] = PostgresTable(self._link, self._schema, name, width)
        return self._tables[name]

    def tables(self) -> Mapping[str, int]:
        """Return the tables that are there and their number of rows."""
        found = self._link.ask("SELECT tablename FROM pg_tables WHERE schemaname = %s", [self._schema])
        names = {row[0] for row in found}
        counts = {name: f'SELECT count(*) FROM "{self._schema}"."{name}"' for name in FIELDS if name in names}  # noqa: S608
        return {name: self._link.ask(command)[0][0] for name, command in counts.items()}

    def drop(self) -> None:
        """Remove all tables."""
        self._tables.clear()
        self._link.ask(f'DROP SCHEMA IF EXISTS "{self._schema}" CASCADE')

    def size(self) -> int | None:
        """Return how many bytes the tables take with their indexes."""
        name = "quote_ident(schemaname) || '.' || quote_ident(tablename)"
        command = f"SELECT sum(pg_total_relation_size({name})) FROM pg_tables WHERE schemaname = %s"  # noqa: S608
        return int(self._link.ask(command, [self._schema])[0][0] or 0)

    def version(self) -> object:
        """Return how many changes there were."""
        return self._link.ask(f'SELECT last_value, is_called FROM "{self._schema}".changes')  # noqa: S608

    def close(self) -> None:
        """Let go of the connection."""
        self._link.close()


class PostgresTable:
    """A table of a `PostgresStore`, with the methods of `clamp3.index.store.Table`."""

    def __init__(self, link: _Link, schema: str, name: str, width: int) -> None:
        self._link, self._schema, self._name, self._width = link, schema, name, width
        self._table, self._types, self._fields = f'"{schema}"."{name}"', FIELDS[name], with_vector(name)
        if VECTOR in self._fields:
            link.take_vectors()
        if link.ask("SELECT to_regclass(%s)", [self._table])[0][0] is None:
            self._make()
        elif VECTOR in self._fields:
            self._check_width()

    def upsert(self, rows: Sequence[Row]) -> None:
        """Add rows; those whose ``id`` is there are replaced."""
        if not rows:
            return
        names = listed(self._fields)
        changes = ", ".join(f'"{field}" = excluded."{field}"' for field in self._fields)
        with self._link.transaction() as cursor:
            cursor.execute(f"CREATE TEMPORARY TABLE fresh (LIKE {self._table}) ON COMMIT DROP")
            with cursor.copy(f"COPY fresh ({names}) FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types([*(_TYPES[kind] for kind in self._types.values()), VECTOR][: len(self._fields)])
                for row in {row["id"]: row for row in rows}.values():
                    copy.write_row([_stored(row[field]) for field in self._fields])
            cursor.execute(
                f"INSERT INTO {self._table} ({names}) SELECT {names} FROM fresh "  # noqa: S608 - names of ours
                f"ON CONFLICT (md5(id)) DO UPDATE SET {changes}"
            )
            cursor.execute(f"SELECT nextval('\"{self._schema}\".changes')")

    def delete(self, values: Collection[str], field: str = "id") -> None:
        """Remove the rows with one of these values; see `clamp3.index.store.Table.delete`."""
        if not values:
            return
        chosen, given = ("md5(id)", _keys(values)) if field == "id" else (f'"{field}"', list(values))
        with self._link.transaction() as cursor:
            cursor.execute(f"DELETE FROM {self._table} WHERE {chosen} = ANY(%s)", [given])  # noqa: S608
            cursor.execute(f"SELECT nextval('\"{self._schema}\".changes')")

    def count(self, where: str | None = None) -> int:
        """Return how many rows there are, or how many a filter lets through."""
        return int(self._link.ask(f"SELECT count(*) FROM {self._table} WHERE {_condition(where)}", [])[0][0])  # noqa: S608

    def rows(
        self, fields: Sequence[str], where: str | None = None, *, ids: Collection[str] | None = None
    ) -> Sequence[Row]:
        """Return fields of rows; see `clamp3.index.store.Table.rows`."""
        command = f"SELECT {listed(fields)} FROM {self._table} WHERE {_condition(where)}"  # noqa: S608
        if ids is None:
            return self._read(fields, command)
        return self._read(fields, f"{command} AND md5(id) = ANY(%s)", [_keys(ids)])

    def nearest(self, query: Any, n: int, where: str | None = None) -> Sequence[Row]:
        """Return the rows closest to a vector; see `clamp3.index.store.Table.nearest`."""
        asked = np.asarray(query, np.float32).reshape(-1)
        chosen = f"SELECT {listed(self._fields)} FROM {self._table} WHERE {_condition(where)}"  # noqa: S608
        order = f"ORDER BY {VECTOR} <=> %s, id LIMIT %s"
        if "near" in self._indexes():
            halves = f"{VECTOR}::halfvec({self._width}) <=> %s::halfvec({self._width})"
            several = f"SELECT * FROM ({chosen} ORDER BY {halves} LIMIT %s) AS several {order}"  # noqa: S608
            found = self._read(self._fields, several, [asked, n + min(3 * n, 200), asked, n])
            if len(found) == n:
                return found  # fewer: the index was left before the filter had let enough through
        return self._read(self._fields, f"{chosen} {order}", [asked, n])

    def matching(self, words: Sequence[str], n: int, where: str | None = None) -> Sequence[Row]:
        """Return the rows that share most words, in proportion to their length; see `clamp3.index.store.Table`."""
        if not words:
            return []
        shares = dict(
            self._link.ask(
                "SELECT word, share FROM pg_stats, "
                "unnest(most_common_elems::text::text[], most_common_elem_freqs) AS each (word, share) "
                "WHERE schemaname = %s AND tablename = %s AND attname = 'tokens' AND word = ANY(%s)",
                [self._schema, self._name, list(words)],
            )
        )
        rare = [word for word in words if shares.get(word, 0) <= _COMMON]
        command = (
            f"SELECT {listed(self._fields)} FROM {self._table} "  # noqa: S608
            f"WHERE tokens @@ %s::tsquery AND {_condition(where)} "
            "ORDER BY ts_rank(tokens, %s::tsquery, 1) DESC, id LIMIT %s"
        )
        found: list[Row] = []
        for looked_up in filter(None, (rare, words)):
            if len(found) < n:  # as when no row has the rare ones, which a misspelling makes
                found = self._read(self._fields, command, [_either(looked_up), _either(words), n])
        return found

    def optimise(self) -> None:
        """Make search structures where they are worth it; the server keeps them up to date."""
        n_rows, there = self.count(), self._indexes()
        if WORDS in self._types and n_rows and "words" not in there:
            self._link.ask(f'CREATE INDEX IF NOT EXISTS "{self._name}_words" ON {self._table} USING gin (tokens)')
        if VECTOR in self._fields and n_rows >= MIN_ROWS_OF_ANN and "near" not in there:
            with self._link.transaction() as cursor:
                cursor.execute(f"SET LOCAL maintenance_work_mem = '{self._megabytes(n_rows)}MB'")
                cursor.execute(
                    f'CREATE INDEX IF NOT EXISTS "{self._name}_near" ON {self._table} '
                    f"USING hnsw (({VECTOR}::halfvec({self._width})) halfvec_cosine_ops)"
                )
        self._link.ask(f"ANALYZE {self._table}")

    def _make(self) -> None:
        found = self._link.ask("SELECT collname FROM pg_collation WHERE collname = ANY(%s)", [_COLLATIONS])
        collation = min((row[0] for row in found), key=_COLLATIONS.index)
        kinds = {str: f'text COLLATE "{collation}" NOT NULL', int: "int8", float: "float8"}
        columns = [f'"{field}" {kinds[kind]}' for field, kind in self._types.items()]
        if VECTOR in self._fields:
            columns.append(f"{VECTOR} vector({self._width}) NOT NULL")
        if WORDS in self._types:
            tokens = f"array_to_tsvector(string_to_array({WORDS}, ' '))"
            columns.append(f"tokens tsvector GENERATED ALWAYS AS ({tokens}) STORED")
        with self._link.transaction() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(3)")  # two that make the same at once would both fail
            cursor.execute(f'CREATE SCHEMA IF NOT EXISTS "{self._schema}"')
            cursor.execute(f'CREATE SEQUENCE IF NOT EXISTS "{self._schema}".changes')
            cursor.execute(f"CREATE TABLE IF NOT EXISTS {self._table} ({', '.join(columns)})")
            # Of the hash, because ids may be longer than an index takes.
            unique = f'CREATE UNIQUE INDEX IF NOT EXISTS "{self._name}_id" ON {self._table} (md5(id))'
            cursor.execute(unique)
            if "piece" in self._types:
                hashed = f'CREATE INDEX IF NOT EXISTS "{self._name}_piece" ON {self._table} USING hash (piece)'
                cursor.execute(hashed)

    def _check_width(self) -> None:
        command = "SELECT atttypmod FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s"
        if self._link.ask(command, [self._table, VECTOR]) != [(self._width,)]:
            raise DataError(f"the table {self._name} of the index has vectors of another width than {self._width}.")

    def _indexes(self) -> set[str]:
        command = "SELECT indexname FROM pg_indexes WHERE schemaname = %s AND tablename = %s"
        return {row[0].removeprefix(f"{self._name}_") for row in self._link.ask(command, [self._schema, self._name])}

    def _megabytes(self, n_rows: int) -> int:
        """Return what the graph takes, so that it is made in memory; at most 8 GB."""
        return min(8192, 64 + n_rows * (2 * self._width + 600) // 1_000_000)

    def _read(self, fields: Sequence[str], command: str, values: Sequence[Any] = ()) -> list[Row]:
        rows = [dict(zip(fields, found, strict=True)) for found in self._link.ask(command, values)]
        if VECTOR in fields:
            for row in rows:
                row[VECTOR] = np.asarray(row[VECTOR].to_numpy(), np.float32)
        return rows


class _Link:
    """A connection that is made when it is needed, and again when the server was away."""

    def __init__(self, uri: Uri) -> None:
        try:
            import pgvector.psycopg  # noqa: F401 - said now rather than with the first vector
            import psycopg
        except ImportError as error:
            raise ConfigError(f"an index in PostgreSQL needs {error.name}: pip install 'clamp3[postgres]'.") from None
        self._uri, self._psycopg = uri, psycopg
        self._connection: Any = None
        self._lock, self._vectors = threading.RLock(), False
        self.ask("SELECT 1")

    def ask(self, command: str, values: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """Return the rows that a command gives, none if it gives none.

        Parameters
        ----------
        command : str
        values : sequence, optional
            For its ``%s``; with values a percent sign is written twice.
        """
        with self._trouble(), self._lock:
            known = self._connection
            try:
                found = self._open().execute(command, values, prepare=False, binary=True)
            except self._psycopg.OperationalError:
                if known is None or not known.closed:
                    raise
                found = self._open().execute(command, values, prepare=False, binary=True)  # the server was away
            return found.fetchall() if found.description is not None else []

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """Yield a cursor whose commands are done together or not at all."""
        with self._trouble(), self._lock:
            connection = self._open()
            with connection.transaction(), connection.cursor() as cursor:
                yield cursor

    def take_vectors(self) -> None:
        """Be ready for vectors; a database that has none yet learns of them."""
        if not self.ask("SELECT 1 FROM pg_extension WHERE extname = 'vector'"):
            self.ask("CREATE EXTENSION IF NOT EXISTS vector")
        with self._trouble(), self._lock:
            self._register(self._open())
            self._vectors = True

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()

    def _open(self) -> Any:
        if self._connection is None or self._connection.closed:
            self._connection = self._psycopg.connect(
                self._uri.whole, autocommit=True, connect_timeout=_CONNECT_SEC, application_name="clamp3"
            )
            if self._vectors:
                self._register(self._connection)
        return self._connection

    def _register(self, connection: Any) -> None:
        from pgvector.psycopg import register_vector

        register_vector(connection)
        connection.execute(_SCAN)

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except (self._psycopg.Error, OSError) as error:
            said = self._uri.cleaned(str(error).rpartition("failed: ")[2].partition("\n")[0])
            raise DataError(f"the index in PostgreSQL cannot be read or written ({sentence_of(said)}).") from None


def _condition(where: str | None) -> str:
    """Return a filter as a part of a command with values."""
    return f"({where.replace('%', '%%')})" if where else "TRUE"


def _keys(ids: Collection[str]) -> list[str]:
    return [md5(each.encode(), usedforsecurity=False).hexdigest() for each in ids]


def _either(words: Sequence[str]) -> str:
    return " | ".join("'" + word.replace("\\", "\\\\").replace("'", "''") + "'" for word in words)


def _stored(value: Any) -> Any:
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value
