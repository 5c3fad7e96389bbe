"""Threads that work one request after the other: bounded, so that a server under load refuses instead of piling up.

Texts, of which one takes a few milliseconds, are encoded by one thread, all that wait together; music and searches have
threads of their own, so that a question by words never waits for a recording.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from clamp3.server.errors import busy

Value = TypeVar("Value")


class Lane:
    """A few threads and a bounded queue.

    Parameters
    ----------
    name : str
    n_threads : int
    n_waiting : int
        Calls that may wait or run.
    """

    def __init__(self, name: str, n_threads: int, n_waiting: int) -> None:
        self.name, self._room = name, n_waiting
        self._threads = ThreadPoolExecutor(n_threads, thread_name_prefix=name)
        self._lock = threading.Lock()
        self.waiting = 0

    def submit(self, call: Callable[[], Value]) -> Future[Value]:
        """Return the future of a call.

        Raises
        ------
        RefusedError
            If too many calls wait already.
        """
        with self._lock:
            if self.waiting >= self._room:
                raise busy(f"too many requests wait ({self.name}); ask again in a second.")
            self.waiting += 1
        try:
            future = self._threads.submit(call)
        except RuntimeError:
            self._done(None)
            raise busy("the server is about to stop.") from None
        future.add_done_callback(self._done)
        return future

    def close(self) -> None:
        """Take no more calls; those that wait are dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _done(self, _future: object) -> None:
        with self._lock:
            self.waiting -= 1


class Batches:
    """Texts of several clients, encoded together by one thread.

    A batch is what has come while the last one was encoded: under no load one text, which never waits for others.

    Parameters
    ----------
    encode : callable
        From texts to a vector, or one sentence, each.
    size : int
        Most texts of a batch; 1 encodes each by itself.
    n_waiting : int
        Texts that may wait.
    """

    def __init__(self, encode: Callable[[Sequence[str]], Sequence[object]], size: int, n_waiting: int) -> None:
        self._encode, self._size = encode, size
        self.lane = Lane("texts", 1, n_waiting)
        self._queue: deque[tuple[str, Future[object]]] = deque()
        self.sizes: Callable[[int], object] = lambda _n: None

    def submit(self, text: str) -> Future[object]:
        """Return the future vector of a text; raises as `Lane.submit`."""
        future: Future[object] = Future()
        self._queue.append((text, future))
        try:
            self.lane.submit(self._take)
        except Exception:
            with suppress(ValueError):
                self._queue.remove((text, future))
            raise
        return future

    def close(self) -> None:
        """Take no more texts."""
        self.lane.close()
        while self._queue:
            self._queue.popleft()[1].cancel()

    def _take(self) -> None:
        batch: list[tuple[str, Future[object]]] = []
        while self._queue and len(batch) < self._size:
            with suppress(IndexError):
                text, future = self._queue.popleft()
                if future.set_running_or_notify_cancel():
                    batch.append((text, future))
        if not batch:
            return
        self.sizes(len(batch))
        try:
            values = self._encode([text for text, _ in batch])
        except Exception as error:  # every one of them is answered
            for _, future in batch:
                future.set_exception(error)
            return
        for (_, future), value in zip(batch, values, strict=True):
            future.set_result(value)
