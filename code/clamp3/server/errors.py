"""Errors as clients see them: a status and one sentence, without a path of this computer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from starlette.exceptions import HTTPException

from clamp3.errors import Clamp3Error, ConfigError, DataError, FormatError, WeightsError, sentence_of

_ABSOLUTE = re.compile(r"(?<![\w.:/])(?:/|[A-Za-z]:\\)(?:[^\s/\\'\"]+[/\\])+")
_STATUS = {WeightsError: 503, FormatError: 422, DataError: 503, ConfigError: 400}


class RefusedError(Clamp3Error, HTTPException):
    """A request that is not answered as asked; an error of Starlette's kind, which FastAPI lets through as it is.

    Parameters
    ----------
    status : int
        Of HTTP.
    sentence : str
    headers : mapping, optional
        Of the answer.
    """

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        HTTPException.__init__(self, status, sentence, headers)

    def __str__(self) -> str:
        return sentence_of(self.detail)


def busy(what: str, retry_sec: int = 1) -> RefusedError:
    """Return the refusal of what cannot be done now.

    Parameters
    ----------
    what : str
        One sentence.
    retry_sec : int
        When to ask again.
    """
    return RefusedError(503, what, {"Retry-After": str(retry_sec)})


def status_of(error: Clamp3Error) -> int:
    """Return the status of HTTP that says whose fault an error is."""
    if isinstance(error, RefusedError):
        return error.status_code
    return next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 422)


def without_paths(error: object, known: Sequence[object] = ()) -> str:
    """Return an error as one sentence without the folders of this computer.

    Parameters
    ----------
    error : exception or str
    known : sequence of Path, Uri or str
        Folders whose names may hold spaces, addresses, and hosts.

    Examples
    --------
    >>> from pathlib import Path
    >>> without_paths("/home/ann/my music/a.mid is no MIDI file; see /etc/x/y.", [Path("/home/ann/my music")])
    'a.mid is no MIDI file; see y.'
    """
    text = sentence_of(error, 500)
    for folder in sorted(map(str, known), key=len, reverse=True):
        text = text.replace(folder + "/", "").replace(folder, "the folder")
    return _ABSOLUTE.sub("", text)
