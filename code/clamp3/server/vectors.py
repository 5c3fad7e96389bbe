"""Vectors that a server remembers: of questions asked before, and of what clients have sent; in memory only."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from clamp3.jobs.cache import VectorCache


class RecentVectors(VectorCache):
    """A cache of vectors that leaves nothing on the disk: what people ask for is nobody else's business.

    Parameters
    ----------
    size : int
        Vectors; those used longest ago go first.
    """

    def __init__(self, size: int) -> None:
        self._size, self._guard = size, threading.Lock()
        self._kept: OrderedDict[str, np.ndarray] = OrderedDict()

    def get_many(self, keys: Iterable[str]) -> dict[str, np.ndarray]:
        """Return the vectors that are there; see `VectorCache.get_many`."""
        found = {}
        with self._guard:
            for key in keys:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    found[key] = self._kept[key]
        return found

    def put_many(self, vectors: Mapping[str, np.ndarray]) -> None:
        """Keep vectors."""
        with self._guard:
            self._kept.update(vectors)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)


@dataclass(frozen=True)
class Upload:
    """What is known of something that a client has sent: kind, modality and vector, shape (D,); not its bytes."""

    kind: str
    modality: str
    vector: np.ndarray
    space: str


class Uploads:
    """Uploads by tokens that cannot be guessed.

    Parameters
    ----------
    size : int
        Uploads; those used longest ago go first.
    seconds : float
        How long one is kept after its last use.
    """

    def __init__(self, size: int, seconds: float) -> None:
        self._size, self._seconds, self._lock = size, seconds, threading.Lock()
        self._kept: OrderedDict[str, tuple[float, Upload]] = OrderedDict()

    def put(self, upload: Upload) -> str:
        """Return the token of an upload."""
        token = secrets.token_urlsafe(16)
        with self._lock:
            self._kept[token] = (time.monotonic(), upload)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return token

    def get(self, token: str) -> Upload | None:
        """Return an upload, None if there is none of this token, or no longer."""
        with self._lock:
            used, upload = self._kept.pop(token, (0.0, None))
            if upload is None or time.monotonic() - used > self._seconds:
                return None
            self._kept[token] = (time.monotonic(), upload)
            return upload
