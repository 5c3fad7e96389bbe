"""Updates of the index beside the answers, in a process of their own, whose end never ends anything else."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import secrets
import signal
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from clamp3.errors import describe
from clamp3.index.folder import IndexMeta
from clamp3.index.library import Library
from clamp3.index.place import Where
from clamp3.server.vectors import RecentVectors

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from clamp3.embedding.clamp3 import Clamp3

_KEPT = 50  # jobs whose end can be asked for


@dataclass(frozen=True)
class Progress:
    """How far a job is: files done and to be done, files that failed, and "running", "done" or "failed"."""

    done: int = 0
    total: int = 0
    failed: int = 0
    state: str = "running"
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the fields that say something."""
        return {name: value for name, value in asdict(self).items() if value != "" or name != "error"}


class Jobs:
    """The update that runs, and those that ran.

    Parameters
    ----------
    index : Path or Uri
    open_model : callable
        From the meta of an index and a cache to its model; pickled, so a function of a module, or a partial of one.
    """

    def __init__(self, index: Where, open_model: Callable[[IndexMeta, RecentVectors], Clamp3]) -> None:
        self._index, self._open_model = index, open_model
        self._lock = threading.Lock()
        self._known: dict[str, Progress] = {}
        self._running: tuple[str, BaseProcess] | None = None

    def start(self) -> str:
        """Return the job that updates the index: the one that runs already, or a new one."""
        with self._lock:
            if self._running is not None and self._running[1].is_alive():
                return self._running[0]
            job = secrets.token_urlsafe(8)
            context = multiprocessing.get_context("spawn")
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_update, args=(self._index, self._open_model, theirs), daemon=False)
            process.start()
            theirs.close()
            self._running = job, process
            self._known[job] = Progress()
            while len(self._known) > _KEPT:
                del self._known[next(iter(self._known))]
        threading.Thread(target=self._follow, args=(job, process, ours), daemon=True).start()
        return job

    def progress(self, job: str) -> Progress | None:
        """Return how far a job is, None if there is none of this name."""
        return self._known.get(job)

    def close(self) -> None:
        """End what runs; the index is whole at any moment."""
        with self._lock:
            if self._running is not None and self._running[1].is_alive():
                self._running[1].terminate()
                self._running[1].join(5.0)

    def _follow(self, job: str, process: BaseProcess, messages: Connection) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                self._known[job] = messages.recv()
        process.join()
        messages.close()
        if self._known[job].state == "running":
            self._known[job] = replace(self._known[job], state="failed", error="the update was ended from outside.")


def _update(index: Where, open_model: Callable[[IndexMeta, RecentVectors], Clamp3], messages: Connection) -> None:
    """Bring an index up to date; the body of a process."""
    from clamp3.index.indexing import bring_up_to_date

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server ends it
    with contextlib.suppress(OSError):
        os.nice(10)
    now = Progress()

    def report(done: int, total: int) -> None:
        nonlocal now
        now = replace(now, done=done, total=total)
        messages.send(now)

    try:
        with Library.open(index) as library, library.lock():
            model = open_model(library.meta, RecentVectors(1))
            changes = bring_up_to_date(library, model, prune=True, report=report)
        messages.send(replace(now, failed=len(changes.failed), state="done"))
    except Exception as error:
        messages.send(replace(now, state="failed", error=describe(error)))
