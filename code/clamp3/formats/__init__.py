"""What music files become: bytes in, text or arrays out; no model, no walking of folders.

`SUFFIXES` is the one table of file types of the whole project. A further type is one call of `register_kind`, and one
of `clamp3.formats.symbolic.register` where it holds scores or performances.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, ClassVar

SUFFIXES: dict[str, Kind] = {}


class Kind(str):
    """What a file holds, as its suffix says: one of an open set of names, each of which is one object.

    Parameters
    ----------
    name : str
        A built-in kind such as ``"abc"``, or one that `register_kind` made.

    Attributes
    ----------
    carried : tuple of (callable, object)
        Calls that make the kind known in a process that receives it: each function is called with the kind and the
        object, both pickled.

    Raises
    ------
    ValueError
        If there is no such kind.

    Examples
    --------
    >>> Kind("abc") is Kind.ABC, Kind.ABC == "abc", Kind.ABC.value
    (True, True, 'abc')
    """

    known: ClassVar[dict[str, Kind]] = {}
    TEXT: ClassVar[Kind]
    MUSICXML: ClassVar[Kind]
    SCORE: ClassVar[Kind]  # other notations; converted through MusicXML
    ABC: ClassVar[Kind]
    MIDI: ClassVar[Kind]
    MTF: ClassVar[Kind]
    AUDIO: ClassVar[Kind]
    FEATURES: ClassVar[Kind]

    carried: tuple[tuple[Callable[[Kind, Any], object], Any], ...]

    def __new__(cls, name: str) -> Kind:
        """Return the one object of this name."""
        if name not in cls.known:
            raise ValueError(f"{name!r} is no kind of file; there are {', '.join(cls.known)}.")
        return cls.known[name]

    @property
    def value(self) -> str:
        """Return the name as a plain string."""
        return str(self)

    def __repr__(self) -> str:
        return f"Kind({self.value!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return register_kind, (self.value, ()), self.carried or None

    def __setstate__(self, carried: tuple[tuple[Callable[[Kind, Any], object], Any], ...]) -> None:
        if not self.carried:
            for register, what in carried:
                register(self, what)


def register_kind(name: str, suffixes: Iterable[str]) -> Kind:
    """Return the kind of this name, made if it is new, and let it stand for further suffixes.

    Parameters
    ----------
    name : str
        Part of the identity of cached vectors.
    suffixes : iterable of str
        Lower case, with the dot.

    Raises
    ------
    ValueError
        If a suffix belongs to another kind.
    """
    kind = Kind.known.get(name)
    if kind is None:
        kind = Kind.known[name] = str.__new__(Kind, name)
        kind.carried = ()
    for suffix in suffixes:
        if SUFFIXES.setdefault(suffix, kind) != kind:
            raise ValueError(f"{suffix} files are of the kind {SUFFIXES[suffix].value} already.")
    return kind


Kind.TEXT = register_kind("text", [".txt"])
Kind.MUSICXML = register_kind("musicxml", [".xml", ".musicxml", ".mxl"])
Kind.SCORE = register_kind("score", [".krn", ".mei", ".rntxt", ".capx"])
Kind.ABC = register_kind("abc", [".abc"])
Kind.MIDI = register_kind("midi", [".mid", ".midi"])
Kind.MTF = register_kind("mtf", [".mtf"])
Kind.AUDIO = register_kind(
    "audio",
    [".wav", ".mp3", ".flac", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".mp4", ".webm", ".wma", ".aif", ".aiff", ".au"],
)
Kind.FEATURES = register_kind("features", [".npy"])


@dataclass(frozen=True)
class Converted:
    """Text of a converted piece, and what a user should know about how it came to be."""

    text: str
    notes: tuple[str, ...] = ()


_NUMBER = re.compile(r"(?<=.)#\d+(?:-\d+)?$")  # of a piece in a file


def suffix_of(path: PurePath | str) -> str:
    """Return the suffix of a file, or of the file that a numbered piece lies in, in lower case.

    Examples
    --------
    >>> suffix_of("a/Tune.ABC"), suffix_of("jigs.abc#12"), suffix_of("scores.zip#a/b.mxl")
    ('.abc', '.abc', '.mxl')
    """
    return os.path.splitext(_NUMBER.sub("", os.fspath(path)))[1].lower()


def kind_of(path: PurePath | str) -> Kind | None:
    """Return the kind of a file by its suffix, upper or lower case, or None if no reader exists.

    Examples
    --------
    >>> kind_of("a/Tune.ABC").value, kind_of("a/cover.jpg")
    ('abc', None)
    """
    return SUFFIXES.get(suffix_of(path))
