"""Map a function over items in worker processes so that one bad item costs only itself.

Every worker reports each item when it is done, so the parent always knows which item is in progress: when a worker
dies or exceeds the time limit, exactly that item has failed, and nothing has to be repeated to find out. Items travel
in chunks of some 50 ms of work, and a worker is given the next chunk only when it is idle, so neither side ever
waits for the other with a full pipe.

The parent runs no threads, which keeps ``fork`` (a worker in 2 ms, with everything imported) safe; where the process
already has threads or torch, workers come from ``forkserver`` or ``spawn`` instead.

Why not pebble: measured with 5.2.3, an item that calls ``os._exit(0)`` hangs until its time limit, 20 items of which
10 crash take 17 s in place of 1.5 s, and the adapter around it is as long as this module.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from types import ModuleType
from typing import Any, Generic, TypeVar

from clamp3.errors import Clamp3Error, ConfigError
from clamp3.jobs.progress import progress
from clamp3.jobs.worker import work

Argument = TypeVar("Argument")
Value = TypeVar("Value")

CHUNK_SEC = 0.05
CHUNK_MAX = 64
_STARTING = threading.Lock()  # what `_main_hidden` does is seen by all threads
START_SEC = 120.0  # a spawned worker imports the function's module, torch at worst


@dataclass(frozen=True)
class Outcome(Generic[Value]):
    """What became of ``items[index]``: a value, or an error in one sentence.

    ``seconds`` is the time the item took in its worker.
    """

    index: int
    value: Value | None
    error: str | None
    seconds: float


def process_map(
    fn: Callable[[Argument], Value],
    items: Iterable[Argument],
    *,
    n_workers: int | None = None,
    timeout_sec: float = 120.0,
    memory_limit_mb: int | None = 4096,
    desc: str = "",
) -> Generator[Outcome[Value], None, None]:
    """Call ``fn`` on every item in worker processes and yield the outcomes as they come.

    An exception, a crash of the process, a hang and a lack of memory each become the ``error`` of that one item.
    An item that crashes or runs out of memory in a worker that had done others is tried once more in a fresh one.

    Parameters
    ----------
    fn : callable
        Module-level function or ``functools.partial`` of one; it, the items and the values are pickled. What it prints
        on stdout is dropped.
    items : iterable
        Small things such as paths; read files inside ``fn``.
    n_workers : int, optional
        Processes; by default one per usable core, and never more than items.
    timeout_sec : float
        Longest time for one item; its worker is then killed.
    memory_limit_mb : int, optional
        Address space a worker may add to what it starts with. Enforced on Linux only; None for no limit.
    desc : str
        Label of the progress bar, which is drawn on stderr if that is a terminal and ``desc`` is not empty.

    Yields
    ------
    Outcome
        One per item, in order of completion.

    Raises
    ------
    ConfigError
        If ``n_workers`` or ``timeout_sec`` is not positive.
    Clamp3Error
        If no worker can be started.
    """
    if n_workers is not None and n_workers < 1:
        raise ConfigError(f"n_workers is {n_workers}; give at least 1.")
    if not timeout_sec > 0:
        raise ConfigError(f"timeout_sec is {timeout_sec}; give a number of seconds above 0.")
    listed = list(items)
    if not listed:
        return
    pool = _Pool(fn, listed, min(n_workers or usable_cores(), len(listed)), timeout_sec, memory_limit_mb)
    with contextlib.closing(pool), progress(len(listed), desc, shown=bool(desc)) as advance:
        for outcome in pool.outcomes():
            advance(1)
            yield outcome


class Workers(Generic[Argument, Value]):
    """Worker processes for many calls of `map`, of which one stays ready in between where starting it takes long.

    Parameters
    ----------
    fn, timeout_sec, memory_limit_mb
        See `process_map`.
    """

    def __init__(
        self, fn: Callable[[Argument], Value], *, timeout_sec: float = 120.0, memory_limit_mb: int | None = 4096
    ) -> None:
        self._make = functools.partial(_Pool, fn, timeout_sec=timeout_sec, memory_mb=memory_limit_mb)
        self._kept: _Pool[Argument, Value] | None = None
        self._owner = os.getpid()
        self._lock = threading.Lock()  # of the two above

    def start(self) -> None:
        """Start a worker where that takes long, to be ready when it is needed."""
        with self._lock:
            if self._kept is None and start_method() != "fork":
                pool, self._owner = self._make(items=[], n_workers=1), os.getpid()
                with _no_interrupt():
                    pool.workers.append(pool._start())
                self._kept = pool

    def map(self, items: Iterable[Argument], *, n_workers: int | None = None) -> Generator[Outcome[Value], None, None]:
        """Yield the outcomes of items, as `process_map` does.

        Parameters
        ----------
        items, n_workers
            See `process_map`.
        """
        listed = list(items)
        if not listed:
            return
        pool = self._take()  # whoever calls meanwhile, from another thread, has workers of its own
        n_workers = min(n_workers or usable_cores(), len(listed))
        if pool is None:
            pool = self._make(items=listed, n_workers=n_workers)
        else:
            pool.take(listed, n_workers)
        done = False
        try:
            yield from pool.outcomes()
            done = True
        finally:
            # A forked worker holds what this process had open, locks included, and takes 2 ms to start.
            pool.close(n_kept=1 if done and pool.method != "fork" else 0)
            with self._lock:
                if pool.workers and self._kept is None:
                    pool, self._kept, self._owner = None, pool, os.getpid()
            if pool is not None:  # another thread's worker stays
                pool.close()

    def close(self) -> None:
        """End the worker that stays ready; the next call of `map` starts another."""
        pool = self._take()
        if pool is not None:
            pool.close()

    def _take(self) -> _Pool[Argument, Value] | None:
        with self._lock:
            pool, self._kept = self._kept, None
            return pool if self._owner == os.getpid() else None  # after a fork it is the parent's


def usable_cores() -> int:
    """Return how many cores this process may use, which in a container is often fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass
class _Worker:
    process: Any
    connection: Connection
    since: float
    given: deque[int] = field(default_factory=deque)  # the first is in progress
    n_done: int = 0
    ready: bool = False


class _Pool(Generic[Argument, Value]):
    def __init__(
        self,
        fn: Callable[[Argument], Value],
        items: list[Argument],
        n_workers: int,
        timeout_sec: float,
        memory_mb: int | None,
    ) -> None:
        self.fn, self.timeout_sec, self.memory_mb = fn, timeout_sec, memory_mb
        self.workers: list[_Worker] = []
        self.take(items, n_workers)
        self.item_sec = CHUNK_SEC  # running mean; the first chunks are single items
        self.false_starts = 0

    def take(self, items: list[Argument], n_workers: int) -> None:
        """Begin with other items; the workers that are left go on."""
        self.items, self.n_workers = items, n_workers
        self.method = start_method()
        self.context = multiprocessing.get_context(self.method)
        self.hide_main = self.method != "fork" and not _uses_main(self.fn, items)
        self.waiting = deque(range(len(items)))
        self.retries: deque[int] = deque()  # each in a fresh worker

    def outcomes(self) -> Iterator[Outcome[Value]]:
        while self.waiting or self.retries or any(worker.given for worker in self.workers):
            self._distribute()
            by_handle = {worker.connection: worker for worker in self.workers}
            now = time.monotonic()
            limit = min(worker.since + self._limit_sec(worker) - now for worker in self.workers)
            for handle in wait(list(by_handle), timeout=min(max(0.0, limit), 60.0)):
                yield from self._receive(by_handle[handle])  # type: ignore[index]
            for worker in list(self.workers):
                # The caller may have held this generator for long: messages that came meanwhile count first.
                if time.monotonic() - worker.since > self._limit_sec(worker) and not worker.connection.poll():
                    yield from self._time_out(worker)

    def close(self, n_kept: int = 0) -> None:
        kept = [worker for worker in self.workers if worker.ready and not worker.given][:n_kept]
        self.workers = [worker for worker in self.workers if worker not in kept]
        for worker in self.workers:
            if worker.ready and not worker.given:
                with contextlib.suppress(OSError):
                    worker.connection.send(None)
        deadline = time.monotonic() + 1.0
        for worker in self.workers:
            if worker.ready and not worker.given:
                worker.process.join(max(0.0, deadline - time.monotonic()))
            _end(worker)
        self.workers = kept

    def _limit_sec(self, worker: _Worker) -> float:
        if not worker.ready:
            return START_SEC
        return self.timeout_sec if worker.given else float("inf")

    def _distribute(self) -> None:
        """Start missing workers and give idle ones something to do."""
        busy = sum(bool(worker.given) for worker in self.workers)
        wanted = min(self.n_workers, busy + len(self.waiting) + len(self.retries))
        while len(self.workers) < wanted:
            try:
                with _no_interrupt():  # a worker that nobody knows yet would outlive us
                    self.workers.append(self._start())
            except Clamp3Error:
                if not self.workers:
                    raise
                self.n_workers = wanted = len(self.workers)  # the system allows no more: slower, but it goes on
        for worker in self.workers:
            if not worker.ready or worker.given:
                continue
            if self.retries and worker.n_done == 0:
                chunk = [self.retries.popleft()]
            elif self.waiting:
                share = len(self.waiting) // (2 * self.n_workers) + 1
                size = max(1, min(CHUNK_MAX, share, int(CHUNK_SEC / max(self.item_sec, 1e-6))))
                chunk = [self.waiting.popleft() for _ in range(min(size, len(self.waiting)))]
            elif self.retries:  # only used workers are left: make room for a fresh one
                self._remove(worker)
                return self._distribute()
            else:
                continue
            worker.given.extend(chunk)
            worker.since = time.monotonic()
            with contextlib.suppress(OSError):  # a worker that died meanwhile is noticed by its closed pipe
                worker.connection.send([(index, self.items[index]) for index in chunk])

    def _start(self) -> _Worker:
        ours, theirs = self.context.Pipe()
        parent = os.getpid() if self.method == "fork" else None  # else the fork server
        process = self.context.Process(  # type: ignore[attr-defined]
            target=work, args=(theirs, self.fn, self.timeout_sec, self.memory_mb, parent), daemon=True
        )
        try:
            with _STARTING, _main_hidden() if self.hide_main else contextlib.nullcontext():
                process.start()
        except OSError as error:
            raise Clamp3Error(f"a worker process cannot be started: {error.strerror or error}.") from None
        except (AttributeError, TypeError) as error:  # pickling of ``fn`` under spawn
            raise Clamp3Error(f"the function cannot be handed to a worker process: {error}.") from None
        finally:
            theirs.close()  # so that the worker's end closes with the worker
        return _Worker(process, ours, time.monotonic())

    def _receive(self, worker: _Worker) -> Iterator[Outcome[Value]]:
        while worker in self.workers:
            try:
                message = worker.connection.recv()
            except (EOFError, OSError):
                yield from self._handle_death(worker)
                return
            if message is None:
                worker.ready, self.false_starts = True, 0
            else:
                index, value, error, seconds, spent = message
                worker.given.popleft()
                retry = spent and worker.n_done > 0
                worker.n_done += 1
                worker.since = time.monotonic()
                self.item_sec += 0.2 * (seconds - self.item_sec)
                if spent:  # after a MemoryError the worker leaves: its heap cannot be trusted to have room
                    self.waiting.extendleft(reversed(worker.given))
                    worker.given.clear()
                    self._remove(worker)
                if retry:
                    self.retries.append(index)
                else:
                    yield Outcome(index, value, error, seconds)
            if not worker.given or worker not in self.workers or not worker.connection.poll():
                return

    def _handle_death(self, worker: _Worker) -> Iterator[Outcome[Value]]:
        """Remove a worker that died: the item in progress failed, the others go back to the queue."""
        seconds = time.monotonic() - worker.since
        worker.process.join(5.0)
        code = worker.process.exitcode
        self._remove(worker)
        if not worker.ready:
            self.false_starts += 1
            if self.false_starts > 3:
                raise Clamp3Error(
                    f"worker processes end before they can start ({_death(code)}); if what they should do is defined "
                    "in a script, its main part must stand behind `if __name__ == '__main__':`."
                )
        if worker.given:
            culprit = worker.given.popleft()
            self.waiting.extendleft(reversed(worker.given))
            if worker.n_done > 0 and -(code or 0) != getattr(signal, "SIGVTALRM", None):
                self.retries.append(culprit)
            else:
                yield Outcome(culprit, None, f"the worker process {_death(code)}", seconds)

    def _time_out(self, worker: _Worker) -> Iterator[Outcome[Value]]:
        seconds = time.monotonic() - worker.since
        self._remove(worker)
        if not worker.ready:
            raise Clamp3Error(f"a worker process was not ready after {START_SEC:.0f} s.")
        culprit = worker.given.popleft()
        self.waiting.extendleft(reversed(worker.given))
        yield Outcome(culprit, None, f"stopped after {self.timeout_sec:g} s (the time limit)", seconds)

    def _remove(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        _end(worker)


def start_method() -> str:
    """Return the cheapest way to start a process that is safe in the state this process is in."""
    if sys.platform != "linux":
        return "spawn"
    # A fork copies locks but not the threads that would release them, those of numerical libraries included.
    threads = len(os.listdir("/proc/self/task"))
    return "fork" if threads == 1 and "torch" not in sys.modules else "forkserver"


def _uses_main(fn: Callable[..., Any], items: list[Any]) -> bool:
    """Return whether a worker needs what the started script itself defines."""
    if any(type(item).__module__ == "__main__" for item in items):
        return True
    try:
        return b"__main__" in ForkingPickler.dumps((fn, items[:1])).tobytes()
    except (pickle.PicklingError, AttributeError, TypeError):
        return True


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """Let Ctrl-C wait until the end of the block, where the system can do that."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _main_hidden() -> Iterator[None]:
    """Keep a spawned worker from running the started script again.

    Python does so for functions defined there. Ours are not, and a script of five lines that encodes a folder has no
    reason to guard its main part: run again in every worker, it would start workers of its own.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _end(worker: _Worker) -> None:
    if worker.process.is_alive():
        worker.process.kill()
    worker.process.join(5.0)
    worker.connection.close()


def _death(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended by itself with exit code {code}"
    if -code == getattr(signal, "SIGVTALRM", None):
        return "was stopped: the conversion takes more processor time than the limit for a file of its size"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = "; the system may be short of memory" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"
