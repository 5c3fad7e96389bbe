"""Connections that say nothing: uvicorn waits for them without end, so that a thousand of them would keep it busy."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SEC = 10.0  # for the head of a request, from the connection or the last answer on
MOST_CONNECTIONS = 512
STALLED_SEC = 300.0  # a player that pauses reads no more, and asks again for what it lacks


class PatientProtocol(H11Protocol):
    """uvicorn's protocol, which closes connections whose next request does not come.

    Where too many are open, the one that has waited longest makes room, so that those who ask are answered.
    """

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._deadline: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._wait()
        if len(self.connections) > MOST_CONNECTIONS:
            idle = [each for each in self.connections if isinstance(each, PatientProtocol) and each._is_idle()]
            longest = min(idle, key=lambda each: each._since, default=self)
            longest._close()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        super().on_response_complete()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        for timer in (self._deadline, self._stalled):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Begin to wait for the client to read."""
        super().pause_writing()
        self._stalled = self.loop.call_later(STALLED_SEC, self.transport.abort)

    def resume_writing(self) -> None:
        """Wait no more for the client to read."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    def _wait(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._since = self.loop.time()
        self._deadline = self.loop.call_later(REQUEST_SEC, self._expire)

    def _expire(self) -> None:
        if self._is_idle():
            self._close()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _close(self) -> None:
        self.connections.discard(self)
        self.transport.close()
