"""Hard negatives: batches made of groups of near pieces, in place of pieces at random.

Near is what shares a value of a field, or has near vectors: given ones, or those of the model as an epoch finds it
(Xiong et al., "Approximate nearest neighbor negative contrastive learning", arXiv 2007.00808). Every piece still comes
once an epoch, and the batches of an epoch are a function of its number, the seed and these facts: they are the same on
any number of processes, and after a stop.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

import numpy as np

from clamp3.data.records import Record, file_names
from clamp3.errors import ConfigError, DataError
from clamp3.jobs.atomic import replacing
from clamp3.training.negatives import NOTHING, field_labels
from clamp3.training.options import CURRENT

if TYPE_CHECKING:
    from clamp3.training.config import Clamp3Training


class Pieces(Protocol):
    """A data set that knows its records."""

    def every_record(self) -> Iterator[Record]:
        """Yield the records in order."""


POOL = 4096  # pieces among which near ones are looked for: their products fit any memory, and differ every epoch


@dataclass(frozen=True)
class Near:
    """What groups the pieces of an epoch.

    Attributes
    ----------
    size : int
        Pieces of a group.
    labels : int64 array, shape (N,), optional
        What pieces share; negative numbers are none.
    vectors : float32 array, shape (N, E), optional
        Of length 1, or 0 for what has none. One of both is there.
    """

    size: int
    labels: np.ndarray | None = None
    vectors: np.ndarray | None = None

    def arrange(self, items: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return items in an order in which those of a group follow each other, and groups are at random.

        Parameters
        ----------
        items : int array, shape (M,)
            At random; of pieces that come again, N more each time.
        rng : Generator

        Examples
        --------
        >>> near = Near(2, labels=np.array([7, 7, 7, 9, 9, -1]))
        >>> near.arrange(np.arange(6), np.random.default_rng(0)).tolist()
        [0, 1, 2, 5, 3, 4]
        """
        if self.labels is not None:
            keys = self.labels[items % len(self.labels)]
            order = np.argsort(keys, kind="stable")
            groups = np.empty(len(items), np.int64)
            groups[order] = _runs(keys[order], self.size)
        else:
            assert self.vectors is not None
            groups, found = np.empty(len(items), np.int64), 0
            for at in range(0, len(items), POOL):
                part = items[at : at + POOL] % len(self.vectors)
                groups[at : at + POOL] = found + _nearest(self.vectors[part], self.size)
                found = int(groups[at : at + POOL].max()) + 1
        place = rng.permutation(int(groups.max(initial=-1)) + 1)[groups]
        return items[np.argsort(place, kind="stable")]


def _runs(keys: np.ndarray, size: int) -> np.ndarray:
    """Return group numbers (M,) of sorted keys: equal ones together, at most ``size`` of them; negative ones alone."""
    first = np.ones(len(keys), bool)
    first[1:] = keys[1:] != keys[:-1]
    starts = np.maximum.accumulate(np.where(first, np.arange(len(keys)), 0))
    return np.cumsum(first | ((np.arange(len(keys)) - starts) % size == 0) | (keys < 0)) - 1


def _nearest(vectors: np.ndarray, size: int) -> np.ndarray:
    """Return group numbers (M,): the first piece that is left with the ``size - 1`` nearest of the others left."""
    scores = vectors @ vectors.T
    groups, free = np.full(len(vectors), -1), np.ones(len(vectors), bool)
    number = 0
    for first in range(len(vectors)):
        if not free[first]:
            continue
        free[first] = False
        there = np.flatnonzero(free)
        nearest = there[np.argsort(-scores[first, there], kind="stable")[: size - 1]]
        groups[[first, *nearest]] = number
        free[nearest] = False
        number += 1
    return groups


def by_field(records: Iterable[Record], name: str, size: int) -> Near:
    """Return what groups pieces by the first value of a field.

    Parameters
    ----------
    records : iterable of Record
    name : str
    size : int
        Pieces of a group.

    Raises
    ------
    ConfigError
        If no record has it.
    """
    labels = np.array([(field_labels(record.fields, name) or [NOTHING])[0] for record in records], np.int64)
    if not (labels >= 0).any():
        raise ConfigError(f"--near {name} is no folder, and no record has a field of this name.")
    return Near(size, labels=labels)


def by_folder(records: Iterable[Record], folder: Path, size: int) -> Near:
    """Return what groups pieces by the vectors of a folder, named after their ids or their files.

    Parameters
    ----------
    records : iterable of Record
    folder : Path
    size : int
        Pieces of a group.

    Raises
    ------
    DataError
        If the folder has a vector of none.
    """
    from clamp3.index.vectors import load_folder

    loaded = load_folder(folder)
    rows = {name: row for row, name in enumerate(loaded.names)}
    found = []
    for record in records:
        names = [
            record.item_id,
            *(PurePosixPath(name).with_suffix("").as_posix() for name in file_names(record.fields)),
        ]
        found.append(next((rows[name] for name in names if name in rows), -1))
    chosen = np.array(found, np.int64)
    if not (chosen >= 0).any():
        raise DataError(f"--near {folder}: no vector there has the name of an id or a file of the training data.")
    return Near(size, vectors=unit(np.where(chosen[:, None] >= 0, loaded.vectors[chosen], 0)))


def near_of(config: Clamp3Training, data: Pieces) -> Near | None:
    """Return what groups the pieces of a run; None where nothing does yet.

    Parameters
    ----------
    config : Clamp3Training
        ``near`` and ``near_group`` count.
    data : Pieces
        What is trained on.
    """
    if config.near in ("", CURRENT):
        return None
    if Path(config.near).is_dir():
        return by_folder(data.every_record(), Path(config.near), config.near_group)
    return by_field(data.every_record(), config.near, config.near_group)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors (N, E) of length 1 as float32; zero where they are zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)


def kept(out: Path, epoch: int) -> Path:
    """Return the file of a run that has the vectors its model had at the beginning of an epoch.

    Parameters
    ----------
    out : Path
    epoch : int
    """
    return out / f"near_{epoch:04d}.npy"


def keep(vectors: np.ndarray, out: Path, epoch: int) -> None:
    """Write the vectors of an epoch, in place of those of others.

    Parameters
    ----------
    vectors : array, shape (N, E)
    out : Path
        Folder of the run.
    epoch : int
    """
    path = kept(out, epoch)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, vectors)
    for other in out.glob("near_*.npy"):
        if other != path:
            other.unlink()
