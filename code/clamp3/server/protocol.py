"""Connections that say nothing: uvicorn waits for them without end, so that a thousand of them would keep it busy."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SEC = 10.0  # for the head of a request, from the connection or the last answer on
MOST_CONNECTIONS = 512


class PatientProtocol(H11Protocol):
    """uvicorn's protocol, which closes connections whose next request does not come.

    Where too many are open, the one that has waited longest makes room, so that those who ask are answered.
    """

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._deadline: asyncio.TimerHandle | None = None
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
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._since = self.loop.time()
        self._deadline = self.loop.call_later(REQUEST_SEC, self._expire)

    def _expire(self) -> None:
        if self._is_idle():
            self._close()

    def _is_idle(self) -> bool:
        return self.cycle is None or (self.cycle.response_complete and self.conn.their_state is not h11.SEND_BODY)

    def _close(self) -> None:
        self.connections.discard(self)
        self.transport.close()
