"""What every request goes through first: who asks, under which name, how much is sent and how slowly."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clamp3.server.errors import RefusedError
from clamp3.server.settings import MIB, Settings

_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cache-Control": "no-store",
}
_OPEN = ("/", "/healthz")  # answered without a token: the page that asks for it, and whether there is a server
_RAW = ("/uploads", "/embed")


class Guard:
    """An ASGI application around another, which refuses before that one reads anything.

    Parameters
    ----------
    app : ASGI application
    settings : Settings
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._hosts = {name.lower() for name in settings.hosts}
        self._token = settings.token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        body = _Body(scope, receive, self._settings)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if scope["path"].startswith("/page/"):
                    headers["Cache-Control"] = "no-cache"
                if not body.ended:
                    headers["Connection"] = "close"  # what is still to come is not read
            await send(message)

        try:
            self._check(scope)
            body.check_length()
        except RefusedError as error:
            refusal = JSONResponse({"error": str(error)}, error.status_code, error.headers)
            await refusal(scope, receive, answer)
        else:
            await self._app(scope, body.receive, answer)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        if _name(host) not in self._hosts:
            raise RefusedError(400, "this server is not called by that name (--allowed_host adds names).")
        origin = headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc.lower() != host
        if foreign or headers.get("sec-fetch-site") == "cross-site":
            raise RefusedError(400, "pages of other sites are not answered.")
        path = scope["path"]
        if self._token and path not in _OPEN and not path.startswith("/page/"):
            kind, _, shown = headers.get("authorization", "").partition(" ")
            if kind.lower() != "bearer" or not hmac.compare_digest(shown.strip().encode(), self._token):
                raise RefusedError(
                    401,
                    "this server asks for a token: Authorization: Bearer TOKEN.",
                    headers={"WWW-Authenticate": "Bearer"},
                )


class _Body:
    """The body of a request, of limited size and time."""

    def __init__(self, scope: MutableMapping[str, Any], receive: Receive, settings: Settings) -> None:
        self._receive, self._settings = receive, settings
        headers = Headers(scope=scope)
        self._length = headers.get("content-length", "0")
        raw = scope["path"] in _RAW and not headers.get("content-type", "").startswith("application/json")
        self._most = (settings.max_upload_mb if raw else settings.max_json_mb) * MIB
        self._got, self._begun = 0, time.monotonic()
        self.ended = self._length == "0" and "transfer-encoding" not in headers

    def check_length(self) -> None:
        """Refuse a body that says itself that it is too large."""
        if not self._length.isascii() or not self._length.isdigit():
            raise RefusedError(400, "the length of the body is no number.")
        if len(self._length) > 15 or int(self._length) > self._most:
            raise self._large()

    async def receive(self) -> Message:
        """Return the next message of the client."""
        if self.ended:  # what follows is the end of the connection, which may take as long as it likes
            return await self._receive()
        allowed = self._settings.body_sec + self._got / self._settings.body_bytes_per_sec
        left = self._begun + allowed - time.monotonic()
        try:
            message = await asyncio.wait_for(self._receive(), max(left, 0.001))
        except asyncio.TimeoutError:
            raise RefusedError(408, "the body comes too slowly.") from None
        self._got += len(message.get("body", b""))
        self.ended = not message.get("more_body", False)
        if self._got > self._most:
            raise self._large()
        return message

    def _large(self) -> RefusedError:
        return RefusedError(413, f"the body is over {self._most // MIB} MiB, the limit here.")


def _name(host: str) -> str:
    """Return the name in a header, without the port.

    Examples
    --------
    >>> _name("localhost:8321"), _name("[::1]:8321")
    ('localhost', '[::1]')
    """
    return host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
