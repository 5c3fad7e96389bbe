"""The store for an engine that shards: Milvus, by pymilvus, always with consistency "Strong".

Every table is a collection. Milvus before 2.4 compares whole fields or their beginnings and knows neither ranked words
nor unknown numbers; so text that filters may ask for is kept in small letters too, a part of it is looked up among the
values first, an unknown number is one that nothing has, and the words of a row are a vector of bits, compared by
the share of common ones (Jaccard). A call is one request per thousand rows, which are done each as a whole.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from clamp3.errors import ConfigError, DataError, sentence_of
from clamp3.index.milvus_filter import UNKNOWN, folded, to_expression
from clamp3.index.place import Uri
from clamp3.index.store import FACTS, FIELDS, PIECES, VECTOR, WORDS, Row, in_parts, with_vector

MIN_ROWS_OF_ANN = 10_000  # fewer are compared one and all, unless Milvus thinks otherwise
_CONNECT_SEC, _ANSWER_SEC = 10, 120
_BUILD_SEC = 600  # then searches go on without the index, and Milvus with the index
_AT_ONCE = 1000
_MOST = 16_384  # results of one search
_MAX_BYTES = 65_535  # of a text
_BITS = 2048
_EVERY = 'id != ""'


class MilvusStore:
    """Collections whose names begin alike.

    Parameters
    ----------
    uri : Uri
        ``http://HOST:19530``, perhaps with user, password and the name of a database.
    name : str
        Of the data.
    """

    def __init__(self, uri: Uri, name: str) -> None:
        self._link = _Link(uri)
        self._prefix = f"{uri.name}_{name}_".replace("-", "_")
        self._tables: dict[str, MilvusTable] = {}

    def table(self, name: str, width: int) -> MilvusTable:
        """Return a table; see `clamp3.index.store.Store.table`."""
        if name not in self._tables:
            self._tables[name] = MilvusTable(self._link, self._prefix, name, width)
        return self._tables[name]

    def tables(self) -> Mapping[str, int]:
        """Return the tables that are there and their number of rows."""
        there = set(self._link.ask("list_collections"))
        names = [name for name in FIELDS if f"{self._prefix}{name}" in there]
        return {name: self._link.count(f"{self._prefix}{name}") for name in names}

    def drop(self) -> None:
        """Remove all tables."""
        self._tables.clear()
        for name in self._link.ask("list_collections"):
            if name.removeprefix(self._prefix) in (*FIELDS, WORDS) and name.startswith(self._prefix):
                self._link.ask("drop_collection", name)

    def size(self) -> int | None:
        """Return None: Milvus does not say."""
        return None

    def version(self) -> object:
        """Return the numbers of rows and the minute: a change that keeps the numbers is seen after a minute."""
        return self.tables(), int(time.time() // 60)

    def close(self) -> None:
        """Let go of the connection."""
        self._link.close()


class MilvusTable:
    """A table of a `MilvusStore`, with the methods of `clamp3.index.store.Table`."""

    def __init__(self, link: _Link, prefix: str, name: str, width: int) -> None:
        self._link, self._name, self._width = link, f"{prefix}{name}", width
        self._types, self._fields = FIELDS[name], with_vector(name)
        self._words = f"{prefix}{WORDS}" if name == PIECES else None
        there = set(link.ask("list_collections"))
        if self._name in there:
            link.ask("load_collection", self._name)
            self._check_width()
        else:
            if self._words is not None:  # first: a table of pieces that is there has one of words
                link.make(self._words, {"id": str}, _BITS, bits=True)
            link.make(self._name, self._types, width if VECTOR in self._fields else 2)

    def upsert(self, rows: Sequence[Row]) -> None:
        """Add rows; those whose ``id`` is there are replaced."""
        rows = list({row["id"]: row for row in rows}.values())
        for start in range(0, len(rows), _AT_ONCE):
            part = rows[start : start + _AT_ONCE]
            if self._words is not None:  # first: whoever is interrupted writes the row again
                bits = [{"id": row["id"], VECTOR: _bits(row[WORDS].split())} for row in part]
                self._link.ask("upsert", self._words, bits)
            self._link.ask("upsert", self._name, [self._stored(row) for row in part])

    def delete(self, values: Collection[str], field: str = "id") -> None:
        """Remove the rows with one of these values; see `clamp3.index.store.Table.delete`."""
        if field != "id":
            for part in in_parts(values, _AT_ONCE):
                self.delete([row["id"] for row in self._each(["id"], f"{field} in {_listed(part)}")])
            return
        for part in in_parts(values, _AT_ONCE):
            for name in filter(None, (self._name, self._words)):
                self._link.ask("delete", name, filter=f"id in {_listed(part)}")

    def count(self, where: str | None = None) -> int:
        """Return how many rows there are, or how many a filter lets through."""
        return self._link.count(self._name, self._expression(where) if where else "")

    def rows(
        self, fields: Sequence[str], where: str | None = None, *, ids: Collection[str] | None = None
    ) -> Sequence[Row]:
        """Return fields of rows; see `clamp3.index.store.Table.rows`."""
        chosen = self._expression(where)
        if ids is None:
            return list(self._each(fields, chosen))
        parts = (f"({chosen}) and id in {_listed(part)}" for part in in_parts(ids, _AT_ONCE))
        return [row for part in parts for row in self._each(fields, part)]

    def nearest(self, query: Any, n: int, where: str | None = None) -> Sequence[Row]:
        """Return the rows closest to a vector; see `clamp3.index.store.Table.nearest`."""
        asked = np.asarray(query, np.float32).reshape(-1)
        return self._found(self._name, asked.tolist(), self._fields, n, self._expression(where) if where else "")

    def matching(self, words: Sequence[str], n: int, where: str | None = None) -> Sequence[Row]:
        """Return the rows that share most words, of the best 16,384 of all; see `clamp3.index.store.Table`."""
        if not words or self._words is None:
            return []
        found = self._found(self._words, _bits(words), ["id"], _MOST if where else n, "")
        best: list[Row] = []
        for part in in_parts([row["id"] for row in found], _AT_ONCE):
            rows = {row["id"]: row for row in self.rows(self._fields, where, ids=part)}
            best += [rows[each] for each in part if each in rows]
            if len(best) >= n:
                break
        return best[:n]

    def optimise(self) -> None:
        """Have large tables searched by their index now, which the server else makes in its own time."""
        if self.count() >= MIN_ROWS_OF_ANN:
            for name in filter(None, (self._name, self._words)):
                self._link.seal(name)

    def _found(self, name: str, asked: object, fields: Sequence[str], n: int, chosen: str) -> list[Row]:
        n = min(n, _MOST)
        how = {"params": {"ef": min(32_768, max(256, 2 * n))}} if name == self._name else {}
        hits = self._link.ask(
            "search", name, data=[asked], filter=chosen, limit=n, output_fields=list(fields), search_params=how
        )
        return [self._read(hit["entity"], fields) for hit in hits[0]]

    def _each(self, fields: Sequence[str], chosen: str) -> Iterator[Row]:
        for found in self._link.each(self._name, chosen, fields):
            yield self._read(found, fields)

    def _expression(self, where: str | None) -> str:
        return to_expression(where, self._types, self._values) if where else _EVERY

    def _values(self, field: str) -> set[str]:
        """Return every value of a field."""
        return {str(found[field]) for found in self._link.each(self._name, _EVERY, [field])}

    def _stored(self, row: Row) -> Row:
        found: Row = {}
        for field, kind in self._types.items():
            value = row[field]
            found[field] = _cut(value) if kind is str else UNKNOWN if value is None else value
            if kind is str and field in FACTS:
                found[folded(field)] = _cut(value.lower())
        found[VECTOR] = np.asarray(row[VECTOR], np.float32).tolist() if VECTOR in self._fields else [0.0, 0.0]
        return found

    def _read(self, found: Mapping[str, Any], fields: Sequence[str]) -> Row:
        row: Row = {}
        for field in fields:
            value = found[field]
            if field == VECTOR:
                row[field] = np.asarray(value, np.float32)
            else:
                row[field] = None if value == UNKNOWN else self._types[field](value)
        return row

    def _check_width(self) -> None:
        fields = self._link.ask("describe_collection", self._name)["fields"]
        if VECTOR in self._fields and {"dim": self._width} not in [each["params"] for each in fields]:
            raise DataError(f"the collection {self._name} has vectors of another width than {self._width}.")


class _Link:
    """A connection, and what is asked of it in more than one call."""

    def __init__(self, uri: Uri) -> None:
        try:
            import pymilvus
            import sqlglot  # noqa: F401 - said now rather than with the first filter
        except ImportError as error:
            raise ConfigError(f"an index in Milvus needs {error.name}: pip install 'clamp3[milvus]'.") from None
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it prints what it raises too, with tracebacks
        self._uri, self._milvus, self._lock = uri, pymilvus, threading.RLock()
        login = {"user": uri.user, "password": uri.password} if uri.user else {"token": uri.password}
        database = urlsplit(uri.whole).path.strip("/")
        self._client: Any = None
        self._client = self._tried(
            lambda: pymilvus.MilvusClient(uri=uri.server, db_name=database, timeout=_CONNECT_SEC, **login)
        )

    def ask(self, what: str, *values: Any, **how: Any) -> Any:
        """Return what a method of the client returns.

        Parameters
        ----------
        what : str
        *values, **how
            What it takes.
        """
        if what in ("search", "query"):
            how["consistency_level"] = "Strong"
        return self._tried(lambda: getattr(self._client, what)(*values, timeout=_ANSWER_SEC, **how))

    def count(self, name: str, chosen: str = "") -> int:
        """Return how many rows an expression lets through.

        Parameters
        ----------
        name : str
            Of a collection.
        chosen : str
        """
        return int(self.ask("query", name, filter=chosen, output_fields=["count(*)"])[0]["count(*)"])

    def each(self, name: str, chosen: str, fields: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """Yield fields of rows.

        Parameters
        ----------
        name : str
            Of a collection.
        chosen : str
            An expression.
        fields : sequence of str
        """
        last: str | None = None
        columns = list(dict.fromkeys(["id", *fields]))
        size = 200 if VECTOR in fields else _AT_ONCE
        while True:
            # Milvus gives the rows of a query in the order of their ids.
            after = chosen if last is None else f"({chosen}) and id > {_text(last)}"
            found = self.ask("query", name, filter=after, output_fields=columns, limit=size)
            yield from found
            if len(found) < size:
                return
            last = max(row["id"] for row in found)

    def make(self, name: str, types: Mapping[str, type], width: int, *, bits: bool = False) -> None:
        """Make a collection with its index.

        Parameters
        ----------
        name : str
        types : mapping from str to type
            Of its fields.
        width : int
            Of its vectors.
        bits : bool
            Whether they are vectors of bits.
        """
        kinds = self._milvus.DataType
        schema = self._milvus.MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        for field, kind in types.items():
            if kind is str:
                schema.add_field(field, kinds.VARCHAR, max_length=_MAX_BYTES, is_primary=field == "id")
                if field in FACTS:
                    schema.add_field(folded(field), kinds.VARCHAR, max_length=_MAX_BYTES)
            else:  # facts as doubles, because a filter may compare a year with 1700.5
                schema.add_field(field, kinds.DOUBLE if kind is float or field in FACTS else kinds.INT64)
        schema.add_field(VECTOR, kinds.BINARY_VECTOR if bits else kinds.FLOAT_VECTOR, dim=width)
        index = self._client.prepare_index_params()
        if bits:
            index.add_index(VECTOR, index_type="BIN_FLAT", metric_type="JACCARD", params={})
        else:
            built = {"M": 16, "efConstruction": 200}
            index.add_index(VECTOR, index_type="HNSW", metric_type="COSINE", params=built)
        self.ask("create_collection", name, schema=schema, index_params=index, consistency_level="Strong")

    def seal(self, name: str) -> None:
        """Close the open part of a collection, and wait until all of it has its index."""
        self.ask("flush", name)
        begun = time.monotonic()
        while time.monotonic() - begun < _BUILD_SEC:
            if not int(self.ask("describe_index", name, VECTOR).get("pending_index_rows", 0)):
                return
            time.sleep(0.5)

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def _tried(self, call: Any) -> Any:
        try:
            with self._lock:
                return call()
        except (self._milvus.MilvusException, OSError, ValueError) as error:
            said = getattr(error, "message", "") or error
            raise DataError(
                f"the index in Milvus cannot be read or written ({sentence_of(self._uri.cleaned(said))})."
            ) from None


def _bits(words: Sequence[str]) -> bytes:
    """Return words as a vector of bits."""
    bits = np.zeros(_BITS, np.uint8)
    bits[[zlib.crc32(word.encode()) % _BITS for word in words]] = 1
    return np.packbits(bits).tobytes()


def _cut(text: str) -> str:
    return text if len(text) < _MAX_BYTES // 4 else text.encode()[:_MAX_BYTES].decode(errors="ignore")


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _listed(values: Sequence[str]) -> str:
    return json.dumps(list(values), ensure_ascii=False)
