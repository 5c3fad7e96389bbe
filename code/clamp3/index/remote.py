"""An index on other computers, which many use at once: object storage, PostgreSQL or Milvus, by its URI.

What a folder has in files beside its data is in a table here, and one row of it says who is changing the index: there
is no lock that every such store has and that ends with its holder.
"""

from __future__ import annotations

import json
import os
import platform
import re
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from clamp3.errors import Clamp3Error, ConfigError, DataError, FormatError
from clamp3.formats.tables import json_text, parse_json
from clamp3.index.place import Uri
from clamp3.index.store import NOTES, RemoteStore, Table
from clamp3.index.where import quoted
from clamp3.jobs.atomic import runs

if TYPE_CHECKING:
    from clamp3.index.lance_store import LanceStore
    from clamp3.index.milvus_store import MilvusStore
    from clamp3.index.postgres_store import PostgresStore

_LEASE_SEC, _RENEW_SEC = 120.0, 30.0
_ANSWER_SEC = 10.0
_WRITER = "writer/"


def _s3(uri: Uri, name: str) -> LanceStore:
    from clamp3.index.lance_store import LanceStore

    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    options = {"connect_timeout": "5s", "timeout": "60s", "client_max_retries": "2", "client_retry_timeout": "20"}
    if endpoint:
        _knock(endpoint)
        options |= {"aws_endpoint": endpoint, "allow_http": str(endpoint.startswith("http://")).lower()}
    return LanceStore(f"{uri.whole.rstrip('/')}/{name}", options)


def _knock(endpoint: str) -> None:
    """Raise a `DataError` if a server is silent; LanceDB would ask it again for minutes."""
    try:
        with urlopen(Request(endpoint, method="HEAD"), timeout=_ANSWER_SEC):  # noqa: S310 - named by the user
            pass
    except HTTPError:
        pass  # it answers
    except (OSError, ValueError, HTTPException):
        raise DataError("the object storage of the index does not answer.") from None


def _postgres(uri: Uri, name: str) -> PostgresStore:
    from clamp3.index.postgres_store import PostgresStore

    return PostgresStore(_named(uri), name)


def _milvus(uri: Uri, name: str) -> MilvusStore:
    from clamp3.index.milvus_store import MilvusStore

    return MilvusStore(_named(uri), name)


def _named(uri: Uri) -> Uri:
    """Return an address whose ``#name`` can begin the names of tables."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", uri.name):
        raise ConfigError(f"{uri}: the name after # may have small letters, digits and _, and begins with a letter.")
    return uri


SCHEMES: dict[str, tuple[str, Callable[[Uri, str], RemoteStore]]] = {
    "s3": ("lance", _s3),
    "postgresql": ("postgres", _postgres),
    "postgres": ("postgres", _postgres),
    "http": ("milvus", _milvus),
    "https": ("milvus", _milvus),
}
"""Of every kind of URI the name of the store, and what opens some data at one."""


class RemotePlace:
    """The place that a URI names; see `clamp3.index.place.Place`.

    Parameters
    ----------
    uri : Uri

    Raises
    ------
    ConfigError
        If it is of no known kind.
    """

    folder: Path | None = None

    def __init__(self, uri: Uri) -> None:
        if uri.scheme not in SCHEMES:
            raise ConfigError(f"{uri} begins with none of {', '.join(f'{scheme}://' for scheme in SCHEMES)}.")
        self._uri = uri
        self.store, self._open = SCHEMES[uri.scheme]
        self._notes: RemoteStore | None = None

    def __str__(self) -> str:
        return str(self._uri)

    def read(self, name: str) -> bytes | None:
        """Return a text, None if it is not there."""
        if self._notes is None:
            self._notes = self._open(self._uri, NOTES)
        if NOTES not in self._notes.tables():  # to ask makes nothing
            return None
        rows = self._table().rows(["text"], ids=[name])
        return rows[0]["text"].encode() if rows else None

    def write(self, name: str, text: str) -> None:
        """Write a text; see `clamp3.index.place.Place.write`."""
        self._table().upsert([{"id": name, "text": text}])

    def make(self) -> None:
        """Nothing has to be made: a store makes its tables."""

    def open_store(self, data: str, store: str) -> RemoteStore:
        """Open some data; see `clamp3.index.place.Place.open_store`."""
        if store != self.store:
            raise ConfigError(f"the index needs the store {store!r}; at {self} it is {self.store}.")
        return self._open(self._uri, data)

    def drop(self, data: str) -> None:
        """Remove some data, their texts first."""
        self._table().delete([f"{data}/meta.json"])
        with closing(self._open(self._uri, data)) as store:
            store.drop()

    def lock(self) -> Writer:
        """Become the only writer."""
        store = self._open(self._uri, NOTES)
        try:
            return Writer(store, str(self))
        except BaseException:
            store.close()
            raise

    def close(self) -> None:
        """Let go of connections."""
        if self._notes is not None:
            self._notes.close()
            self._notes = None

    def _table(self) -> Table:
        if self._notes is None:
            self._notes = self._open(self._uri, NOTES)
        return self._notes.table(NOTES, 0)


class Writer:
    """The only one that changes a remote index, as long as it renews the note that says so.

    A note of a process of this computer that is gone does not count; that of another computer counts for two minutes.
    Whoever sees the note of another beside its own withdraws, so that never two hold an index. A writer that sleeps
    longer than its lease may meet another when it wakes: then work is done twice, but rows have one id each.

    Parameters
    ----------
    store : RemoteStore
        A connection of its own.
    place : str
        Named in messages.

    Raises
    ------
    ConfigError
        If another process holds the index.
    """

    def __init__(self, store: RemoteStore, place: str) -> None:
        self._store, self._notes = store, store.table(NOTES, 0)
        self._id = f"{_WRITER}{secrets.token_hex(8)}"
        self._ended = threading.Event()
        self._refuse(place)
        self._claim()
        try:
            self._refuse(place)
        except ConfigError:
            self._notes.delete([self._id])
            raise
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self._thread.start()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        with suppress(Clamp3Error):  # a server that is gone; the note ends by itself
            self._notes.delete([self._id])
            self._notes.optimise()
        self._store.close()

    def _claim(self) -> None:
        note = {"host": _here(), "name": platform.node(), "pid": os.getpid(), "until": time.time() + _LEASE_SEC}
        self._notes.upsert([{"id": self._id, "text": json.dumps(note)}])

    def _renew(self) -> None:
        while not self._ended.wait(_RENEW_SEC):
            with suppress(Clamp3Error):  # the next time; what the work itself needs says what is wrong
                self._claim()

    def _refuse(self, place: str) -> None:
        """Raise a `ConfigError` if another writer is at work; forget those that are gone."""
        for row in self._notes.rows(["id", "text"], f"id <> {quoted(self._id)}"):
            if not row["id"].startswith(_WRITER):
                continue
            who = _at_work(row["text"])
            if who is not None:
                raise ConfigError(f"another process ({who}) is changing the index at {place}; let it end first.")
            self._notes.delete([row["id"]])


def _at_work(text: str) -> str | None:
    """Return who wrote a note, None if that one is gone."""
    try:
        note = parse_json(text.encode())
        until, host, pid = float(note["until"]), note["host"], int(note["pid"])
    except (FormatError, KeyError, TypeError, ValueError):
        return None
    if until < time.time() or (host == _here() and runs(pid) is False):
        return None
    return json_text(f"{note.get('name')}, process {pid}").strip('"')


def _here() -> str:
    """Return what tells this computer from others, and containers with process numbers of their own."""
    found = [platform.node()]
    with suppress(OSError):
        found += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return " ".join(found)
