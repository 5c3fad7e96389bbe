"""The pieces of files that hold several: tune books, collections, archives. Each is an item with a name of its own.

``jigs.abc#12`` is the tune with the number 12, ``scores.zip#a/b.mxl`` a file in an archive, ``all.zip#jigs.abc#12`` a
tune of a book in one. Only the bytes of a piece are read. `CONTAINERS` is open: `register` adds a type of file.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path, PurePath
from typing import BinaryIO

from clamp3.errors import FormatError
from clamp3.formats import Kind, kind_of, suffix_of
from clamp3.formats.abc.book import TuneBook
from clamp3.formats.archives import MAX_MEMBERS, Tar, Zip
from clamp3.formats.containers import Container, Place
from clamp3.formats.guards import MAX_FILE_BYTES, MIB
from clamp3.formats.score_collections import KernPieces, MidiTracks, MusicXMLScores

SIGN = "#"
Stamp = tuple[int, int]
"""Size and time of change of a file."""
Step = tuple[str, Place]
"""Key of a container, and the place of a member in it."""

CONTAINERS: dict[str, Container] = {
    Kind.ABC: TuneBook(),
    Kind.MUSICXML: MusicXMLScores(),
    Kind.SCORE: KernPieces(),
    Kind.MIDI: MidiTracks(),
    ".zip": Zip(),
    ".tar": Tar(),
}
"""By the kind of the file, or its suffix where it is nothing but its members."""


def register(key: Kind | str, container: Container) -> None:
    """Let files hold several pieces; with a kind, in worker processes too.

    Parameters
    ----------
    key : Kind or str
        Kind of the files, or the suffix of archives, lower case, with its dot.
    container : Container
    """
    CONTAINERS[key] = container
    if isinstance(key, Kind):
        key.carried += ((register, container),)


@dataclass(frozen=True)
class Piece:
    """A piece of a file that holds several.

    Attributes
    ----------
    name : str
        What follows the file's name and a ``#``.
    kind : Kind or None
        What it holds; None if nothing reads it.
    size : int
        Bytes, roughly.
    steps : tuple of Step
        How to find it: in the file, then in the member of the file …
    stamp : tuple of int
        Of the file when it was listed.
    problem : str
        Why it cannot be read, "" if nothing is known against it.
    link : bool
        Whether it is a file by itself, whose path, relative to that of the container, is ``name``.
    """

    name: str
    kind: Kind | None
    size: int
    steps: tuple[Step, ...]
    stamp: Stamp
    problem: str = ""
    link: bool = False

    def to_json(self) -> str:
        """Return what `from_json` makes the piece of again."""
        return json.dumps(astuple(self))

    @classmethod
    def from_json(cls, text: str) -> Piece:
        """Return the piece that `to_json` has written."""
        name, kind, size, steps, stamp, *rest = json.loads(text)
        found = tuple((step, tuple(place)) for step, place in steps)
        return cls(name, kind and Kind(kind), size, found, tuple(stamp), *rest)


def key_of(name: PurePath | str) -> str:
    """Return the key of a file's container, by the file's name; "" if it has none."""
    suffix, kind = suffix_of(name), kind_of(name)
    return suffix if suffix in CONTAINERS else kind.value if kind in CONTAINERS else ""


def is_archive(name: PurePath | str) -> bool:
    """Return whether a file is nothing but its members."""
    key = key_of(name)
    return bool(key) and not CONTAINERS[key].whole


def pieces_of(path: Path) -> Iterator[Piece]:
    """Yield the pieces of a file, in their order; none if it is one piece by itself.

    Raises
    ------
    FormatError
        If it cannot be read as what it should hold.
    OSError
        If it cannot be opened.
    """
    key = key_of(path)
    if not key:
        return
    with open(path, "rb") as file:
        for number, piece in enumerate(_expanded(file, key, "", (), _stamp(file))):
            if number == MAX_MEMBERS:
                raise FormatError(f"the file holds more than {MAX_MEMBERS} pieces.")
            yield piece


def _expanded(file: BinaryIO, key: str, before: str, steps: tuple[Step, ...], stamp: Stamp) -> Iterator[Piece]:
    container = CONTAINERS[key]
    members = container.members(file)
    first = list(itertools.islice(members, 2))
    if container.whole and len(first) < 2 and not any(member.link for member in first):
        return
    for member in itertools.chain(first, members):
        there = (*steps, (key, member.place))
        name = before + member.name
        piece = Piece(name, member.kind, member.size, there, stamp, member.problem, member.link)
        if container.whole or member.problem or member.kind is None or member.kind not in CONTAINERS:
            yield piece
            continue
        holds_several = False
        try:
            inside = BytesIO(container.read(file, member.place))
            for part in _expanded(inside, member.kind, f"{name}{SIGN}", there, stamp):
                holds_several = True
                if not part.link:  # it is another member
                    yield part
        except FormatError:
            pass  # whoever reads the member says so
        if not holds_several:
            yield piece


def read_piece(path: Path, piece: Piece) -> bytes:
    """Return the bytes of a piece, as those of a file with this piece alone.

    Parameters
    ----------
    path : Path
        Of the file.
    piece : Piece

    Raises
    ------
    FormatError
        If it cannot be read, is empty or too large, or the file has changed since it was listed.
    OSError
        If the file cannot be opened.
    """
    if piece.problem:
        raise FormatError(f"{piece.problem}.")
    *around, (key, place) = piece.steps
    if around:
        file: BinaryIO = BytesIO(_member(path, piece.stamp, tuple(around)))
        return CONTAINERS[key].read(file, place)
    with open(path, "rb") as file:
        if _stamp(file) != piece.stamp:
            raise FormatError("the file has changed since it was listed.")
        data = CONTAINERS[key].read(file, place)
    if len(data) > MAX_FILE_BYTES:
        raise FormatError(f"it is larger than the limit of {MAX_FILE_BYTES // MIB} MiB.")
    return data


@lru_cache(maxsize=1)
def _member(path: Path, stamp: Stamp, steps: tuple[Step, ...]) -> bytes:
    """Return a member whose pieces are read one after the other."""
    return read_piece(path, Piece("", None, 0, steps, stamp))


def split_name(name: str) -> tuple[str, str] | None:
    """Return the file and the piece that a name stands for, None if it is the name of a file.

    Examples
    --------
    >>> split_name("a/jigs.abc#12"), split_name("Prelude in C#.mid"), split_name("all.zip#C#.abc#2")
    (('a/jigs.abc', '12'), None, ('all.zip', 'C#.abc#2'))
    """
    at = name.find(SIGN)
    while at >= 0:
        if key_of(name[:at]) and name[at + 1 :]:
            return name[:at], name[at + 1 :]
        at = name.find(SIGN, at + 1)
    return None


def as_file(name: str) -> str:
    """Return the name of a piece as that of a file in a folder, which outputs have; that of a file as it is.

    Examples
    --------
    >>> as_file("a/jigs.abc#12"), as_file("all.zip#b/jigs.abc#2"), as_file("a/b.mid")
    ('a/jigs/12', 'all/b/jigs/2', 'a/b.mid')
    """
    inside = ""
    while (parts := split_name(name)) is not None:
        inside, name = f"{inside}{os.path.splitext(parts[0])[0]}/", parts[1]
    return inside + name


def find(path: str) -> tuple[Path, Piece] | None:
    """Return the file and the piece that a path stands for, None if there is no such piece, or a file of that name.

    Raises
    ------
    FormatError
        If the file cannot be read as what it should hold.
    """
    named = split_name(path)
    if named is None or os.path.lexists(path):
        return None
    try:
        with open(named[0], "rb") as file:
            piece = _by_name(named[0], _stamp(file)).get(named[1])
    except (OSError, ValueError):
        return None
    return None if piece is None else (Path(named[0]), piece)


@lru_cache(maxsize=64)
def _by_name(path: str, _stamp: Stamp) -> dict[str, Piece]:
    return {piece.name: piece for piece in pieces_of(Path(path)) if not piece.link}


def _stamp(file: BinaryIO) -> Stamp:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns
