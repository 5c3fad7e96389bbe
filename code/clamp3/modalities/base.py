"""The contract of a modality: what files it takes, and how their bytes become what its tower reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from clamp3.formats import Kind
from clamp3.modalities.marks import Marks

Payload = tuple[bytes | Path, Kind, str]
"""Content, kind and name of an input; the content of a recording in a file is its path."""


@dataclass(frozen=True)
class Prepared:
    """Numbers a tower takes, what a user should know about how they came to be, and where they lie in the music."""

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
    views : mapping of str to str
        How training sees the modality: the name of each view, and the suffix of the files that records name for it.
    """

    name: str
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
            What belongs to a checkpoint and comes before its tower: a tokenizer, a `clamp3.modalities.audio.FrontEnd`.
        marked : bool
            For passages: with marks, and all of the input.

        Raises
        ------
        FormatError
            If the content is not what its kind says, or holds nothing to encode.
        """

    def needs_process(self, payload: Payload, front_end: Any = None) -> bool:
        """Whether preparing takes long enough, or is fragile enough, to be worth another process."""
        return False

    def version(self, kind: Kind) -> str:
        """Return a version that vectors of inputs of a kind have beyond `preprocessing`, "" for none.

        With it the identity of their front end counts. It holds no plus sign and no colon.
        """
        return ""
