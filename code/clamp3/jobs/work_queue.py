"""Several processes that share one list of work: each takes the next piece when it is free, so none idles.

Under ``accelerate launch`` or ``torchrun`` every process runs the whole script; a counter in torch's key-value store
hands out ranges of the list, large ones first and smaller ones towards the end. Nothing about the sharing is kept on
disk, so a killed run leaves no claims behind: what is done is what the ledger says.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Protocol

_SINGLE_PIECE = 512  # a single process needs no fairness, only bounded memory
_SHARED_PIECE = 256
_WAIT = timedelta(hours=24)  # rank 0 may list a large folder meanwhile; launchers end us if it fails
_MEET = timedelta(minutes=10)  # processes of one launch start together
_PREFIX = "clamp3_queue"
_PART = 2**22  # bytes of a value; torch's server hangs up on messages above 8 MiB


class WorkQueue(Protocol):
    """A list of work that the processes of a launch share; ``rank`` is the number of this one, ``size`` of all."""

    rank: int
    size: int

    def agree(self, value: Any) -> Any:
        """Return rank 0's ``value`` on every rank; JSON types only."""

    def claim(self, total: int) -> Iterator[range]:
        """Yield ranges of ``range(total)``; over all ranks each number comes once."""

    def gather(self, value: Any) -> list[Any]:
        """Return every rank's ``value`` in order of rank, once all have given theirs; JSON types only."""


class SingleProcess:
    """The work queue of a process that shares with no other."""

    rank, size = 0, 1

    def agree(self, value: Any) -> Any:
        """Return ``value``."""
        return value

    def claim(self, total: int) -> Iterator[range]:
        """Yield all of ``range(total)``, piece by piece."""
        for start in range(0, total, _SINGLE_PIECE):
            yield range(start, min(total, start + _SINGLE_PIECE))

    def gather(self, value: Any) -> list[Any]:
        """Return ``[value]``."""
        return [value]


class StoreWorkQueue:
    """A work queue in a torch key-value store.

    Parameters
    ----------
    store : torch.distributed.Store
        Shared by all ranks.
    rank, size : int
        Number of this process and of all.
    """

    def __init__(self, store: Any, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self._store = store
        self._n_calls = 0

    def agree(self, value: Any) -> Any:
        """Return rank 0's ``value`` on every rank."""
        key = self._key("agree")
        if self.rank == 0:
            self._write(key, value)
            return value
        return self._read(key)

    def claim(self, total: int) -> Iterator[range]:
        """Yield ranges of ``range(total)``; over all ranks each number comes once."""
        key = self._key("claim")
        while (taken := self._store.add(key, 0)) < total:
            wanted = max(1, min(_SHARED_PIECE, (total - taken) // (4 * self.size)))
            stop = self._store.add(key, wanted)  # others may have come in between: what counts is what this says
            if stop - wanted < total:
                yield range(stop - wanted, min(stop, total))

    def gather(self, value: Any) -> list[Any]:
        """Return every rank's ``value``; rank 0 leaves last, since it may be the one that holds the store."""
        key = self._key("gather")
        self._write(f"{key}/{self.rank}", value)
        values = [self._read(f"{key}/{rank}") for rank in range(self.size)]
        self._store.set(f"{key}/left/{self.rank}", "1")
        if self.rank == 0:
            with contextlib.suppress(RuntimeError):  # a rank that has left already needs nothing more
                self._store.wait([f"{key}/left/{rank}" for rank in range(self.size)], timedelta(seconds=60))
        return values

    def _key(self, what: str) -> str:
        self._n_calls += 1
        return f"{_PREFIX}/{self._n_calls}/{what}"

    def _write(self, key: str, value: Any) -> None:
        text = json.dumps(value)  # ASCII
        parts = [text[start : start + _PART] for start in range(0, len(text), _PART)]
        for number, part in enumerate(parts):
            self._store.set(f"{key}/part/{number}", part)
        self._store.set(key, str(len(parts)))  # last: who sees it may read the parts

    def _read(self, key: str) -> Any:
        self._store.wait([key], _WAIT)
        return json.loads(b"".join(self._store.get(f"{key}/part/{n}") for n in range(int(self._store.get(key)))))


def work_queue_from_environment() -> WorkQueue:
    """Return the work queue that the launcher's variables (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT) describe."""
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
        return SingleProcess()
    from torch.distributed import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    store, rank, size = next(iter(rendezvous("env://", timeout=_MEET)))
    # A restarted group of workers meets in the same store; what the last one left there must not count.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return StoreWorkQueue(PrefixStore(f"{_PREFIX}/{attempt}", store), rank, size)
