"""What the labelled data sets share: examples, their parts, and how their recordings are found."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal, TypeAlias

import numpy as np

from clamp3.datasets.source import files_by_key
from clamp3.formats import SUFFIXES, Kind, kind_of
from clamp3.modalities import modality_of
from clamp3.sources import Source

Label: TypeAlias = str | tuple[str, ...] | tuple[float, ...]
TaskType: TypeAlias = Literal["multiclass", "multilabel", "regression"]
Part: TypeAlias = Literal["train", "valid", "test", ""]
PARTS: tuple[Part, ...] = ("train", "valid", "test")

_AUDIO_SUFFIXES = tuple(suffix for suffix, kind in SUFFIXES.items() if modality_of(kind) == "audio")


@dataclass(frozen=True)
class Example:
    """One example of a data set.

    Attributes
    ----------
    id : str
        Its path in the data set without suffix, or its number; stored vectors have it as their name.
    source : Source or None
        What is encoded; None if the file is missing.
    label : str, tuple of str or tuple of float
        Class, tags or values.
    part : {"train", "valid", "test", ""}
        Empty where the data set has no official split.
    """

    id: str
    source: Source | None
    label: Label
    part: Part = ""


def recording(folder: Path, relative: str) -> Source | None:
    """Return a recording, or a substitute of the same name in another audio format or as features (``.npy``).

    Parameters
    ----------
    folder : Path
        Of the recordings.
    relative : str
        Path in it, with the suffix of the distribution.
    """
    path = folder / relative
    for candidate in (path, *(path.with_suffix(suffix) for suffix in (".npy", *_AUDIO_SUFFIXES))):
        if candidate.is_file():
            return Source(kind_of(candidate) or Kind.AUDIO, relative, path=candidate)
    return None


def with_files(examples: Sequence[Example], folder: Path, key: Callable[[PurePosixPath], str | None]) -> list[Example]:
    """Return the same examples with their scores of another folder, None for those that it lacks.

    Parameters
    ----------
    examples : sequence of Example
    folder : Path
        Where the other files lie.
    key : callable
        From a path in the folder to the example's id; see `clamp3.datasets.source.files_by_key`.
    """
    files = files_by_key(folder, key, "symbolic")
    return [replace(example, source=files.get(example.id)) for example in examples]


def hashed(text: str) -> int:
    """Return a text's SHA-1 as a number, by which MARBLE splits artists."""
    return int(hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), 16)


def drawn(ids: Sequence[str], seed: int, *shares: tuple[Part, float]) -> dict[str, Part]:
    """Return a random part for every id.

    Parameters
    ----------
    ids : sequence of str
    seed : int
    *shares : (Part, float)
        Parts and their shares: the first of all ids, the next of what remains, and so on; the
        rest is for training.
    """
    left = np.random.default_rng(seed).permutation(sorted(ids)).tolist()
    parts: dict[str, Part] = {}
    for part, share in shares:
        n_taken = round(share * len(left))
        parts |= dict.fromkeys(left[:n_taken], part)
        left = left[n_taken:]
    return parts | dict.fromkeys(left, "train")


def label_from_name(name: str) -> str | None:
    """Return the part of a file's name before the first ``_``, as the released scripts label files, None if empty."""
    label, mark, _ = PurePosixPath(name).name.partition("_")
    return label if mark and label else None
