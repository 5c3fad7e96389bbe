"""Pieces as clients see them: opaque ids, the facts of the index, and what else can be asked for."""

from __future__ import annotations

import base64
import binascii
import importlib.util
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from clamp3.formats import Kind
from clamp3.index.library import Library
from clamp3.index.selection import kind_groups
from clamp3.index.store import FACTS, Row
from clamp3.server.errors import RefusedError

if TYPE_CHECKING:
    from clamp3.server.service import Opened

Value = TypeVar("Value")
Call = Callable[["Opened"], Value]
SHOWN = tuple(FACTS)
FIELDS = ["id", *SHOWN]


def client_id(piece: str) -> str:
    """Return the id of a piece as clients see it.

    Examples
    --------
    >>> client_id("0/a.mid"), piece_of("MC9hLm1pZA")
    ('MC9hLm1pZA', '0/a.mid')
    """
    return base64.urlsafe_b64encode(piece.encode()).rstrip(b"=").decode()


def piece_of(text: str) -> str:
    """Return the piece that a client's id stands for; whether there is one is for the index to say.

    Raises
    ------
    RefusedError
        If it is no id.
    """
    try:
        piece = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        piece = ""
    if not piece or client_id(piece) != text:
        raise unknown()
    return piece


def unknown() -> RefusedError:
    """Return the refusal of an id that stands for nothing."""
    return RefusedError(404, "there is no piece with this id.")


def row_of(library: Library, text: str, *more: str) -> Row:
    """Return the row of a client's id.

    Parameters
    ----------
    library : Library
    text : str
        The id.
    *more : str
        Fields besides the facts.

    Raises
    ------
    RefusedError
        If there is no such piece.
    """
    rows = library.pieces.rows([*FIELDS, *more], ids=[piece_of(text)])
    if not rows:
        raise unknown()
    return rows[0]


def item(library: Library, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a piece as JSON.

    Parameters
    ----------
    library : Library
    row : mapping
        With `FIELDS`.
    """
    return {"id": client_id(row["id"]), **{name: row[name] for name in SHOWN}, "has": _has(library, row)}


def can_engrave() -> bool:
    """Return whether scores can be engraved here."""
    return importlib.util.find_spec("verovio") is not None


def _has(library: Library, row: Mapping[str, Any]) -> dict[str, bool]:
    kind = Kind.known.get(row["kind"])
    groups = kind_groups()
    score = kind in groups["score"] and can_engrave()
    return {
        "media": kind in (Kind.AUDIO, Kind.MIDI) and library.path_of(row["id"]).is_file(),
        "notes": score or kind in groups["midi"],
        "engraving": score,
    }
