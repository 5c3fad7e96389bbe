"""Where an index is kept: a folder, or a store on other computers that a URI names."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from clamp3.errors import ConfigError, describe, printable
from clamp3.index.store import Store
from clamp3.jobs.atomic import write_text
from clamp3.jobs.locks import FolderLock

POINTER, META = "index.json", "meta.json"


class Uri:
    """The address of a remote index; as text it is without the password, so that none gets into a message or file.

    Parameters
    ----------
    text : str

    Examples
    --------
    >>> uri = Uri("postgresql://ann:secret@music.example/library#jazz")
    >>> str(uri), uri.scheme, uri.name, uri.password
    ('postgresql://ann:***@music.example/library#jazz', 'postgresql', 'jazz', 'secret')
    """

    def __init__(self, text: str) -> None:
        self.whole_text = text
        self.whole, _, name = text.partition("#")
        try:
            parts = urlsplit(self.whole)
            user, password = parts.username, parts.password
            parts.port  # noqa: B018 - raises if it is no number
        except ValueError:
            raise ConfigError("the --uri is no address such as s3://bucket/library.") from None
        self.scheme, self.user, self.password = parts.scheme, unquote(user or ""), unquote(password or "")
        self.server = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self.name = name or "clamp3"
        shown = self.whole.split("?")[0].replace(f":{password}@", ":***@") if password else self.whole.split("?")[0]
        self._shown = printable(f"{shown}#{name}" if name else shown)

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return f"Uri({self._shown!r})"

    def cleaned(self, text: object) -> str:
        """Return what a library says without the password."""
        parts = (self.password, urlsplit(self.whole).password, *_secrets(urlsplit(self.whole).query))
        said = str(text)
        for secret in filter(None, parts):
            said = said.replace(secret, "***")
        return said


Where = Path | Uri


def where(text: str) -> Where:
    """Return a path or URI from its text.

    Examples
    --------
    >>> where("s3://bucket/library").scheme, where("~/music").name
    ('s3', 'music')
    """
    return Uri(text) if "://" in text else Path(text)


def add_index_flags(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the flags that name an index; return the parser."""
    folder = "the index, or the folder that has it in it (default: $CLAMP3_INDEX, which may be an address, else here)"
    parser.add_argument("--index", metavar="FOLDER", help=folder)
    kinds = "s3://BUCKET/PREFIX, postgresql://USER@HOST/DATABASE or http://HOST:19530 (Milvus)"
    parser.add_argument("--uri", help=f"an index on other computers: {kinds}; see docs/indexes.md")
    return parser


class Place(Protocol):
    """Where an index is: texts beside its data, the data by their names, and the right to change them."""

    @property
    def folder(self) -> Path | None:
        """The folder, None if it is none."""

    def read(self, name: str) -> bytes | None:
        """Return a text, None if it is not there."""

    def write(self, name: str, text: str) -> None:
        """Write a text, whole or not at all.

        Parameters
        ----------
        name : str
        text : str
        """

    def make(self) -> None:
        """Make the place, or raise a `ConfigError` if something else is there."""

    def open_store(self, data: str, store: str) -> Store:
        """Open the store of some data.

        Parameters
        ----------
        data : str
        store : str
            Of a folder one of `STORES`.
        """

    def drop(self, data: str) -> None:
        """Remove some data and their texts."""

    def lock(self) -> AbstractContextManager[object]:
        """Become the only one that changes the index, or raise a `ConfigError`."""

    def close(self) -> None:
        """Let go of connections."""


def _sqlite(folder: Path) -> Store:
    from clamp3.index.sqlite_store import SqliteStore

    return SqliteStore(folder)


def _lance(folder: Path) -> Store:
    from clamp3.index.lance_store import LanceStore

    return LanceStore(folder)


STORES: dict[str, Callable[[Path], Store]] = {"lance": _lance, "sqlite": _sqlite}


class FolderPlace:
    """A folder; see `Place`.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self.folder: Path = folder.resolve()

    def __str__(self) -> str:
        return printable(self.folder)

    def read(self, name: str) -> bytes | None:
        """Return the content of a file."""
        try:
            return (self.folder / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise ConfigError(f"{printable(self.folder / name)} cannot be read ({describe(error)}).") from None

    def write(self, name: str, text: str) -> None:
        """Write a file; see `Place.write`."""
        write_text(self.folder / name, text)

    def make(self) -> None:
        """Refuse a folder that has something else in it."""
        folder = self.folder
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"{self} is a file; an index is a folder.")
        strange = [each.name for each in folder.iterdir() if not _is_ours(each.name)] if folder.exists() else []
        if strange:
            raise ConfigError(f"{self} is no index and not empty (it has {printable(strange[0])}); name another.")

    def open_store(self, data: str, store: str) -> Store:
        """Open the store in a folder; see `Place.open_store`."""
        if store not in STORES:
            raise ConfigError(f"the index needs the store {store!r}; there are {', '.join(STORES)}.")
        return STORES[store](self.folder / data)

    def drop(self, data: str) -> None:
        """Remove a folder."""
        shutil.rmtree(self.folder / data, ignore_errors=True)

    def lock(self) -> FolderLock:
        """Become the only writer."""
        return FolderLock.only(self.folder, "is changing the index")

    def close(self) -> None:
        """Nothing is kept open."""


def _is_ours(name: str) -> bool:
    return name == POINTER or name.startswith((".", "data-"))


def _secrets(query: str) -> list[str]:
    """Return what a URI's parameters say of passwords."""
    pairs = (part.partition("=") for part in query.split("&"))
    return [form for key, _, value in pairs if "pass" in key.lower() for form in (value, unquote(value)) if form]
