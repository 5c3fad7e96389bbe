"""The body of a worker process: take items, report each one when it is done, end with the parent."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from clamp3.errors import describe
from clamp3.jobs.limits import OutOfMemoryError, address_space


def work(
    connection: Connection, fn: Callable[[Any], Any], timeout_sec: float, memory_mb: int | None, parent: int | None
) -> None:
    """Body of a worker: take chunks, report each item, end when asked to or when the parent is gone.

    Parameters
    ----------
    connection : Connection
        To the parent.
    fn : callable
        Applied to each item.
    timeout_sec, memory_mb
        As in `clamp3.jobs.parallel.process_map`.
    parent : int or None
        Process that must live; None for the one that started this.
    """
    parent = parent or os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends its workers
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the life of the process
    os.dup2(sys.stdout.fileno(), 1)  # C libraries print too
    _limit_memory(memory_mb)
    # What is imported stays, and a conversion makes trees of objects that live to its end: looking for garbage among
    # them every 700 objects takes a tenth of its time.
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)
    try:
        connection.send(None)
        while _wait_for_work(connection, parent):
            chunk = connection.recv()
            if chunk is None:
                return
            for index, item in chunk:
                if os.getppid() != parent:
                    return
                _set_alarm(min(timeout_sec + 5.0, 1e8))
                started = time.perf_counter()
                value, error, spent = None, None, False
                try:
                    value = fn(item)
                except OutOfMemoryError as caught:
                    error, spent = str(caught), True
                except MemoryError:
                    error, spent = "out of memory" + (f" (limit {memory_mb} MB)" if memory_mb else ""), True
                except (Exception, SystemExit) as caught:
                    error = describe(caught)
                seconds = time.perf_counter() - started
                _set_alarm(0.0)
                _report(connection, index, value, error, seconds, spent)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _wait_for_work(connection: Connection, parent: int) -> bool:
    # A forked sibling may hold a copy of the parent's end, so the pipe alone does not show that the parent is gone.
    while not connection.poll(1.0):
        if os.getppid() != parent:
            return False
    return True


def _report(connection: Connection, index: int, value: object, error: str | None, seconds: float, spent: bool) -> None:
    try:
        connection.send((index, value, error, seconds, spent))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise
    except Exception as caught:
        connection.send((index, None, f"the result cannot be handed over: {describe(caught)}", seconds, spent))


def _set_alarm(seconds: float) -> None:
    """Let the system end this process later: a hang ends even when the parent was killed and nobody watches."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _limit_memory(limit_mb: int | None) -> None:
    if sys.platform != "linux":
        return  # macOS does not enforce the limit, Windows has none
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if limit_mb is None:
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    wanted = address_space() + limit_mb * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
