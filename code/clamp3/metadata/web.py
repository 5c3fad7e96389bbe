"""What holds for every server that is asked: whither requests may go, how much is read, and what is never shown."""

from __future__ import annotations

import base64
import html
import re
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

from clamp3.errors import ConfigError, DataError, sentence_of

MAX_ANSWER_BYTES = 8 << 20
_BLOCK = 1 << 16


def check_url(url: str, what: str) -> str:
    """Return an address that requests can be sent to.

    Parameters
    ----------
    url : str
    what : str
        Flag or variable it comes from.

    Raises
    ------
    ConfigError
        If it is none.
    """
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, brackets without an address
        fits = False
    if not fits or not url.isprintable() or " " in url:
        raise ConfigError(f"{what} {sentence_of(url, 80)!r} is no address such as https://host:8080/v1.")
    return url


def same_server(asked: str, other: str) -> bool:
    """Whether a redirection stays on the server that was asked; from http to https is allowed.

    Parameters
    ----------
    asked, other : str
        Addresses.
    """
    try:
        first, second = urlsplit(asked), urlsplit(other)
        ports = [part.port or {"http": 80, "https": 443}.get(part.scheme) for part in (first, second)]
    except ValueError:
        return False
    upgraded = (first.scheme, second.scheme) == ("http", "https") and ports == [80, 443]
    alike = first.scheme == second.scheme and ports[0] == ports[1]
    return first.hostname == second.hostname and (alike or upgraded)


def get(url: str, timeout_sec: float) -> bytes:
    """Return what a GET is answered with.

    Parameters
    ----------
    url : str
        As `check_url` takes it.
    timeout_sec : float
        For all of it.

    Raises
    ------
    DataError
        If there is no answer, it is too long or takes too long, or it sends on to another server.
    """
    from http.client import HTTPException
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class Stay(HTTPRedirectHandler):
        def redirect_request(self, request: Any, *rest: Any) -> Any:
            if not same_server(request.full_url, rest[-1]):
                raise OSError(f"it sends on to {sentence_of(rest[-1], 80)}, which was not asked for")
            return super().redirect_request(request, *rest)

    deadline, parts = time.monotonic() + timeout_sec, []
    request = Request(url, headers={"Accept": "application/json", "User-Agent": "clamp3"})  # noqa: S310 - http(s)
    try:
        with build_opener(Stay).open(request, timeout=timeout_sec) as answer:
            while block := answer.read1(_BLOCK):
                parts.append(block)
                if sum(map(len, parts)) > MAX_ANSWER_BYTES:
                    raise OSError(f"it answered with more than {MAX_ANSWER_BYTES >> 20} MiB")
                if time.monotonic() > deadline:
                    raise OSError(f"it took longer than {timeout_sec:g} s")
    except (OSError, ValueError, HTTPException) as error:  # what urllib and sockets raise
        raise DataError(f"the search failed: {sentence_of(error)}") from None
    return b"".join(parts)


class RefusedAnswerError(Exception):
    """An answer that is not read."""


async def guard(response: Any) -> None:
    """Check an answer of an HTTP library before its body is read: a hook of the client.

    Parameters
    ----------
    response : httpx.Response or alike

    Raises
    ------
    RefusedAnswerError
        If it sends the request, and the prompts in it, on to another server, or comes packed, so that its size says
        nothing. A body that is too long raises while it is read.
    """
    if response.has_redirect_location:
        asked, place = response.request.url, response.headers["location"]
        try:
            target = str(asked.join(place))
        except Exception:  # the library's InvalidURL
            target = ""
        if not same_server(str(asked), target):
            shown = sentence_of(place, 80)
            raise RefusedAnswerError(f"it sends requests on to {shown}; name that address if it may get them")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise RefusedAnswerError("its answer is packed, though that was not asked for")
    response.stream = _limited(response.stream)


def _limited(stream: Any) -> Any:
    """Return a stream that ends with an error behind `MAX_ANSWER_BYTES`, of the library's own type."""
    base = next(kind for kind in type(stream).__mro__ if kind.__name__ == "AsyncByteStream")

    class Limited(base):  # type: ignore[misc, valid-type]
        def __getattr__(self, name: str) -> Any:
            return getattr(stream, name)

        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async for part in stream:
                size += len(part)
                if size > MAX_ANSWER_BYTES:
                    raise RefusedAnswerError(f"its answer is longer than {MAX_ANSWER_BYTES >> 20} MiB")
                yield part

        async def aclose(self) -> None:
            await stream.aclose()

    return Limited()


def echoes(key: str) -> re.Pattern[str]:
    """Return what finds a key in a text, also percent-encoded, in HTML, hexadecimal or base64, wherever it begins.

    Examples
    --------
    >>> echoes("sk-0123456789").sub("[key]", "c2stMDEyMzQ1Njc4OQ== sk-0123456789 sk%2D0123456789")
    '[key] [key] [key]'
    """
    data = key.encode("utf-8", "replace")
    forms = {key, key[::-1], quote(key, safe=""), quote_plus(key), html.escape(key), data.hex(), repr(key)[1:-1]}
    forms.add("".join(f"%{byte:02x}" for byte in data))
    forms |= {"".join(c if c.isalnum() else f"%{ord(c):02x}" for c in key)}
    forms |= {"".join(f"\\u{ord(c):04x}" for c in key), "".join(f"&#{ord(c)};" for c in key)}
    patterns = [re.escape(form) for form in sorted(forms, key=len, reverse=True)]
    for before in range(3):  # base64 depends on where in a group of three the key begins
        packed = base64.b64encode(b"\0" * before + data).decode()
        core = packed[(0, 2, 3)[before] : (before + len(data)) // 3 * 4]  # behind it, digits depend on what follows
        urls = core.translate(str.maketrans("+/", "-_"))
        patterns += [rf"[\w+/-]{{0,3}}{re.escape(form)}[\w+/=-]*" for form in (core, urls)]
    return re.compile("|".join(patterns), re.IGNORECASE)
