"""The contract of a modality: which files it takes, and how their bytes become what its tower reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from clamp3.formats import Converted, Kind
from clamp3.modalities.marks import Marks

Payload = tuple[bytes | Path | Converted, Kind, str]
"""Content, kind and name of an input; the content of a recording in a file is its path, of a converted score a text."""


@dataclass(frozen=True)
class Prepared:
    """An input as its tower takes it.

    Attributes
    ----------
    modality : str
        Name of the modality, and of the tower.
    values : array, shape (T, …)
        Token ids, patches or vectors, of any length.
    notes : tuple of str
        Remarks for the user on the conversion.
    marks : Marks or None
        Positions of the values in the music, where they were asked for.
    """

    modality: str
    values: np.ndarray
    notes: tuple[str, ...] = ()
    marks: Marks | None = None

    def __len__(self) -> int:
        return len(self.values)


class Modality(ABC):
    """How inputs of some kinds become sequences; a subclass is registered once, in `clamp3.modalities`.

    An instance holds no state and pickles, so that worker processes can prepare inputs too.

    Attributes
    ----------
    name : str
        Also the name of its tower.
    pad : int
        Value that pads short sequences in a batch.
    views : mapping of str to str
        How training reads the modality: the name of each view, and the suffix of its files in records.
    """

    name: str
    pad: int = 0
    views: Mapping[str, str] = MappingProxyType({})

    @property
    @abstractmethod
    def kinds(self) -> frozenset[Kind]:
        """Kinds of files that this modality takes."""

    @abstractmethod
    def prepare(self, payload: Payload, front_end: Any = None, *, marked: bool = False) -> Prepared:
        """Return what the tower reads of an input.

        Parameters
        ----------
        payload : (bytes or path, Kind, str)
            Content, kind and name.
        front_end : object, optional
            The front end of the checkpoint's tower: a tokenizer, a `clamp3.modalities.audio.FrontEnd`.
        marked : bool
            Whether to add marks and take all of the input, for passages.

        Raises
        ------
        FormatError
            If the content is not of its kind, or holds nothing to encode.
        """

    def seconds(self, content: bytes) -> float:
        """Return how long preparing an input takes, roughly, where this package's own code reads it."""
        return len(content) / 1e6

    def needs_process(self, payload: Payload, front_end: Any = None) -> bool:
        """Return whether preparing an input takes so long, or is so fragile, that another process should do it.

        Parameters
        ----------
        payload, front_end
            As in `prepare`.
        """
        return False

    def conversion(self, payload: Payload, front_end: Any = None) -> Callable[..., Converted] | None:
        """Return what only another process may do, since the bytes can make it take any time; None if nothing.

        Parameters
        ----------
        payload, front_end
            As in `prepare`, which takes the result as content.

        Returns
        -------
        callable or None
            ``conversion(content, kind, name=name)``; it pickles.
        """
        return None

    def version(self, kind: Kind, front_end: Any = None) -> str:
        """Return a version, beyond `preprocessing_version`, of what is done to inputs of a kind; "" for none.

        Where there is one, the identity of vectors also holds that of the front end. It has no plus sign and no colon.

        Parameters
        ----------
        kind : Kind
            Of the inputs.
        front_end : object, optional
            As in `prepare`.
        """
        return ""
