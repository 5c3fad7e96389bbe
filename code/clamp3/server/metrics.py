"""What a server counts, for Prometheus, and one line per request in its log."""

from __future__ import annotations

import logging
import time
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clamp3.server.service import Service

logger = logging.getLogger("clamp3.server.requests")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SIZES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """The numbers of one server.

    Parameters
    ----------
    service : Service
    """

    def __init__(self, service: Service) -> None:
        self._all = CollectorRegistry()
        labels = ["method", "route", "status"]
        self._n = Counter("clamp3_requests", "Requests answered.", labels, registry=self._all)
        self._seconds = Histogram(
            "clamp3_request_seconds", "Time of answers.", ["route"], buckets=_SECONDS, registry=self._all
        )
        batch = Histogram("clamp3_text_batch", "Texts encoded together.", buckets=_SIZES, registry=self._all)
        service.texts.sizes = batch.observe
        waiting = Gauge("clamp3_waiting", "Calls that wait or run.", ["lane"], registry=self._all)
        for lane in service.lanes:
            waiting.labels(lane.name).set_function(partial(getattr, lane, "waiting"))

    def text(self) -> bytes:
        """Return all numbers in Prometheus's format."""
        return generate_latest(self._all)

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request.

        Parameters
        ----------
        method, route : str
        status : int
        seconds : float
        """
        self._n.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)


class Measured:
    """An ASGI application around another, which counts and logs what is answered.

    Parameters
    ----------
    app : ASGI application
    metrics : Metrics
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, answer)
        finally:
            seconds = time.perf_counter() - begun
            route = getattr(scope.get("route"), "path", "page" if scope["path"].startswith("/page") else "other")
            method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST") else "other"
            self._metrics.count(method, route, status, seconds)
            client = scope.get("client") or ("", 0)
            line = {"client": client[0], "method": scope["method"], "path": scope["path"], "status": status}
            logger.info("%(method)s %(path)s: %(status)s in %(ms)s ms", {**line, "ms": round(seconds * 1000, 1)})
