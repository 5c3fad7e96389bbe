"""A run that is asked to end: it finishes its step, saves, and leaves with exit code 0."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stop_on_signal() -> Iterator[list[int]]:
    """Yield a list that becomes non-empty when the process is asked to end.

    SIGTERM comes from a scheduler, Ctrl-C from a person; a second Ctrl-C ends the process at once.
    """
    asked: list[int] = []

    def remember(number: int, _frame: object) -> None:
        if number == signal.SIGINT and asked:
            raise KeyboardInterrupt
        asked.append(number)

    previous = {}
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            previous[number] = signal.signal(number, remember)
    except ValueError:  # not in the main thread: nothing to catch there
        yield asked
        return
    try:
        yield asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
