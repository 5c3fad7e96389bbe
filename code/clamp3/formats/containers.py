"""What a file that holds several pieces offers: a list of them, and the bytes of each; `pieces` has the table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from clamp3.formats import Kind

Place = tuple[int | str, ...]
"""What a container needs to find a member again."""


@dataclass(frozen=True)
class Member:
    """A piece in a file.

    Attributes
    ----------
    name : str
        Distinct within its file: a number, or the path in an archive.
    kind : Kind or None
        What it holds; None if nothing reads it.
    size : int
        Bytes, roughly.
    place : tuple
        For `Container.read`; JSON values.
    problem : str
        Why it cannot be read, "" if nothing is known against it.
    link : bool
        Whether it is a file by itself, whose path, relative to that of the container, is ``name``.
    """

    name: str
    kind: Kind | None
    size: int = 0
    place: Place = ()
    problem: str = ""
    link: bool = False


class Container(ABC):
    """A type of file that may hold several pieces; an instance holds no state and pickles.

    Attributes
    ----------
    whole : bool
        Whether a file with fewer than two members is one piece by itself, as a tune book with one tune is.
    """

    whole: bool = True

    @abstractmethod
    def members(self, file: BinaryIO) -> Iterator[Member]:
        """Yield the pieces of a file in their order, reading it once from its beginning.

        Raises
        ------
        FormatError
            If it cannot be read.
        """

    @abstractmethod
    def read(self, file: BinaryIO, place: Place) -> bytes:
        """Return the bytes of a piece, as those of a file with this piece alone.

        Parameters
        ----------
        file : binary file
        place : tuple
            Of a member that `members` has given.

        Raises
        ------
        FormatError
            If it cannot be read.
        """


def span(file: BinaryIO, start: int, stop: int) -> bytes:
    """Return the bytes of a file from ``start`` to ``stop``, to its end at most; none for places that no file has.

    Parameters
    ----------
    file : binary file
    start, stop : int
    """
    if not 0 <= start < stop < 1 << 62:  # numbers of a damaged file
        return b""
    file.seek(start)
    return file.read(stop - start)
