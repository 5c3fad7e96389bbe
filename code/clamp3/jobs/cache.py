"""Vectors by content: what was embedded once, with the same weights, is never embedded again.

One SQLite file in WAL mode, safe for several processes. A cache must never stop or spoil work: a damaged file is moved
aside and begun anew, a damaged row (its checksum covers key and vector) is dropped, and where nothing can be stored,
nothing is, with a warning.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType

import numpy as np

from clamp3.errors import sentence_of

logger = logging.getLogger(__name__)

FILE_NAME = "vectors.sqlite"
BUSY_SEC = 30.0
_ASKED_AT_ONCE = 500  # SQLite takes at least 999 parameters per statement
_TROUBLES = ("locked", "busy", "full", "readonly", "unable to open", "disk I/O", "interrupted", "out of memory")
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS vectors (key TEXT PRIMARY KEY, crc INTEGER NOT NULL, value BLOB NOT NULL);"
    "CREATE TABLE IF NOT EXISTS made (key TEXT PRIMARY KEY, day INTEGER NOT NULL);"  # days since 1970, UTC
)


def default_cache_dir() -> Path:
    """Return ``$CLAMP3_CACHE``, or ``~/.cache/clamp3``."""
    named = os.environ.get("CLAMP3_CACHE")
    return Path(named).expanduser() if named else Path("~/.cache/clamp3").expanduser()


def content_key(data: bytes, kind: str, identity: str, preprocessing: str) -> str:
    """Return the key of a vector: all that it depends on, hashed.

    Parameters
    ----------
    data : bytes
        The input's content; its name and place do not matter.
    kind : str
        How the content is read, e.g. ``Kind.MIDI``.
    identity : str
        Identity of the vector, of `Encoder.identity_of`: weights, arithmetic and what is particular to its kind.
    preprocessing : str
        Version of all conversions, and their options, of `Encoder.preprocessing`.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    name = getattr(kind, "value", kind)  # str() of a ``Kind`` differs between Python versions
    digest = hashlib.sha256()
    for part in (str(name).encode(), identity.encode(), preprocessing.encode(), data):
        digest.update(len(part).to_bytes(8, "little"))  # so that no two lists of parts read the same
        digest.update(part)
    return digest.hexdigest()


class VectorCache:
    """Float32 vectors of any length under text keys, kept in a file.

    Parameters
    ----------
    path : Path, optional
        The file, or an existing folder to keep it in; by default in `default_cache_dir`.

    Notes
    -----
    May be used from several threads, and in a process forked from its user; each process opens the file for itself.
    """

    def __init__(self, path: Path | None = None) -> None:
        path = default_cache_dir() / FILE_NAME if path is None else Path(path)
        self.path = path / FILE_NAME if path.is_dir() else path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._pid = -1
        self._warned = False
        self._inherited: list[sqlite3.Connection] = []

    def get_many(self, keys: Iterable[str]) -> dict[str, np.ndarray]:
        """Return the vectors that are there, by key: float32, shape (length,)."""
        asked = list(dict.fromkeys(keys))
        known = set(asked)  # a damaged index finds rows of other keys
        found: dict[str, np.ndarray] = {}

        damaged: set[str] = set()

        def read(connection: sqlite3.Connection) -> None:
            for start in range(0, len(asked), _ASKED_AT_ONCE):
                part = asked[start : start + _ASKED_AT_ONCE]
                marks = ",".join("?" * len(part))
                query = f"SELECT key, crc, value FROM vectors WHERE key IN ({marks})"  # noqa: S608 - only question marks
                for key, crc, value in connection.execute(query, part):
                    if isinstance(value, bytes) and len(value) % 4 == 0 and _checksum(key, value) == crc:
                        found[key] = np.frombuffer(value, dtype="<f4").astype(np.float32)
                    else:
                        damaged.add(key)

        def drop(connection: sqlite3.Connection) -> None:
            with connection:
                connection.executemany("DELETE FROM vectors WHERE key = ?", [(key,) for key in damaged])
            _check(connection)  # where one row is damaged, others may be out of reach

        if asked:
            self._try(read)
        if damaged:
            self._try(drop)
        return {key: vector for key, vector in found.items() if key in known}

    def put_many(self, vectors: Mapping[str, np.ndarray]) -> None:
        """Store vectors, replacing what is there under the same keys.

        Raises
        ------
        ValueError
            If one is not one-dimensional.
        """
        rows = []
        for key, vector in vectors.items():
            array = np.asarray(vector)
            if array.ndim != 1:
                raise ValueError(f"the vector of {key} has shape {array.shape}; one dimension is stored.")
            value = np.ascontiguousarray(array, dtype="<f4").tobytes()
            rows.append((key, _checksum(key, value), value))

        def write(connection: sqlite3.Connection) -> None:
            with connection:
                connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)
                days = [(key, int(time.time() // 86_400)) for key, _, _ in rows]
                connection.executemany("INSERT OR REPLACE INTO made VALUES (?, ?)", days)

        if rows:
            self._try(write)

    def __len__(self) -> int:
        """Return how many vectors are stored."""
        counts: list[int] = []
        self._try(lambda connection: counts.append(connection.execute("SELECT count(*) FROM vectors").fetchone()[0]))
        return counts[-1] if counts else 0

    def clear(self, before: int | None = None) -> int:
        """Remove the vectors that were stored before a day, counted from 1970, or all; return how many that were."""
        removed: list[int] = []

        def drop(connection: sqlite3.Connection) -> None:
            first = -1 if before is None else before
            with connection:
                old = "DELETE FROM vectors WHERE ? < 0 OR key NOT IN (SELECT key FROM made WHERE day >= ?)"
                done = connection.execute(old, (first, first))
                connection.execute("DELETE FROM made WHERE key NOT IN (SELECT key FROM vectors)")
            removed.append(done.rowcount)
            connection.execute("VACUUM")  # or the file stays as large as it was
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

        self._try(drop)
        return removed[-1] if removed else 0

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
            self._connection = None

    def __enter__(self) -> VectorCache:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[VectorCache], tuple[Path]]:
        return VectorCache, (self.path,)

    def _try(self, act: Callable[[sqlite3.Connection], None]) -> None:
        """Run ``act``; on a damaged file again with a new one, on other trouble without effect."""
        with self._lock:
            for attempt in range(3):
                try:
                    act(self._open())
                    return
                except (sqlite3.DatabaseError, UnicodeDecodeError, OSError, OverflowError) as error:
                    if self._is_trouble(error):
                        self._warn(error)
                        return
                    self.close()
                    if attempt == 2 or not self._move_aside(error, sure=attempt == 1):
                        self._warn(error)
                        return

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            logger.warning("the vector cache %s cannot be used (%s); going on without it.", self.path, error)
        self._warned = True

    def _move_aside(self, error: Exception, *, sure: bool) -> bool:
        """Rename a damaged file, unless another process did so already; return whether to try again.

        SQLite's check passes some damage: a file that fails again is damaged for ``sure``.
        """
        probe = sqlite3.connect(self.path, timeout=BUSY_SEC)
        try:
            _check(probe)
            if not sure and [row[1] for row in probe.execute("PRAGMA table_info(vectors)")] == ["key", "crc", "value"]:
                return True
        except (sqlite3.DatabaseError, UnicodeDecodeError, TypeError) as trouble:
            if self._is_trouble(trouble):
                return False
        finally:
            probe.close()
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
        try:
            os.replace(self.path, aside)
            for suffix in ("-wal", "-shm"):  # they belong to the damaged file; a new one must not read them
                with contextlib.suppress(FileNotFoundError):
                    os.replace(f"{self.path}{suffix}", f"{aside}{suffix}")
        except OSError as trouble:
            self._warn(trouble)
            return False
        logger.warning("the vector cache was damaged (%s): moved to %s and begun anew.", sentence_of(error), aside)
        return True

    def _is_trouble(self, error: Exception) -> bool:
        """Whether an error comes from the disk or another process, and not from what the file holds."""
        if "readonly" in str(error) and os.access(self.path, os.W_OK):  # as the file itself says
            return False
        if isinstance(error, OSError):
            return True
        return isinstance(error, sqlite3.OperationalError) and any(word in str(error) for word in _TROUBLES)

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._pid == os.getpid():
            return self._connection
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self._connection is not None:  # SQLite forbids even closing a connection inherited through a fork
            self._inherited.append(self._connection)
        connection = sqlite3.connect(self.path, timeout=BUSY_SEC, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")  # a power cut may lose the last vectors, never the file
            connection.executescript(_SCHEMA)
            connection.commit()
        except (sqlite3.Error, UnicodeDecodeError):
            connection.close()
            raise
        self._connection, self._pid = connection, os.getpid()
        return connection


def _checksum(key: object, value: bytes) -> int:
    return zlib.crc32(value, zlib.crc32(str(key).encode("utf-8", "replace")))


def _check(connection: sqlite3.Connection) -> None:
    """Raise `sqlite3.DatabaseError` if the file is damaged."""
    said = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if said != "ok":
        raise sqlite3.DatabaseError(said)
