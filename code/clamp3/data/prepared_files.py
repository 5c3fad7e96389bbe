"""Files of any registered modality: prepared once to learn their lengths, and again when a batch needs them.

Slower than a pack of its own; where preparing takes long, let files hold what the tower reads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from clamp3.data.disk_array import DiskArray, save_array
from clamp3.data.patch_pack import each_file
from clamp3.data.shards import Location
from clamp3.errors import DataError, FormatError
from clamp3.formats import kind_of
from clamp3.formats.tables import read_json
from clamp3.jobs.atomic import write_text
from clamp3.modalities import Modality


@dataclass(frozen=True)
class PreparedFiles:
    """Random access to the sequences of many files; see `clamp3.data.music_files.MusicFiles`.

    Attributes
    ----------
    modality : Modality
        Prepares them; it pickles, and so goes to processes that prepare batches.
    locations : sequence of Location
    lengths : int32 array, shape (n files,)
        Items of each file; -1 where it cannot be used.
    blank : array, shape (0, ...)
    problems : mapping of int to str
    """

    modality: Modality
    locations: Sequence[Location]
    lengths: np.ndarray | DiskArray
    blank: np.ndarray
    problems: Mapping[int, str]
    n_variants: int = 1

    def length(self, index: int, variant: int = 0) -> int:
        """Return the number of items of a file; see `MusicFiles`."""
        return int(self.lengths[index])

    def read(self, index: int, part: slice, variant: int = 0) -> np.ndarray:
        """Return a slice of a file's items, with a FormatError where it has changed; see `MusicFiles`."""
        values = prepared(self.modality, self.locations[index])
        if values.shape != (self.length(index), *self.blank.shape[1:]):
            raise FormatError(f"{self.locations[index]}: {values.shape} has changed since the start.")
        return values[part]


def prepared(modality: Modality, location: Location) -> np.ndarray:
    """Return what the tower of a modality reads of a file.

    Parameters
    ----------
    modality : Modality
    location : Location

    Raises
    ------
    FormatError
        If the file cannot be read, is of no kind that is known, or holds nothing or NaN or infinity.
    """
    kind = kind_of(str(location))
    if kind is None:
        raise FormatError(f"{location}: no reader exists for such files.")
    values = modality.prepare((location.read(), kind, str(location))).values
    if not values.size:
        raise FormatError(f"{location}: empty.")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise FormatError(f"{location}: NaN or infinite values.")
    return values


def _shape(location: Location, modality: Modality) -> tuple[tuple[int, ...], str] | str:
    """Return shape and type of a file's sequence, or the reason why there is none."""
    try:
        values = prepared(modality, location)
        return values.shape, values.dtype.str
    except FormatError as error:
        return str(error)


def index_prepared(modality: Modality, locations: Sequence[Location], stem: Path) -> dict[int, str]:
    """Prepare every file once and write what `load_prepared` reads.

    Parameters
    ----------
    modality : Modality
    locations : sequence of Location
    stem : Path
        ``STEM.npy`` and ``STEM.json`` are written.

    Returns
    -------
    dict of int to str
        Why files cannot be used; items of another shape or type than those of the first file are a reason too.
    """
    found = dict(each_file(partial(_shape, modality=modality), locations, None, doing="preparing"))
    good = {index: shape for index, shape in sorted(found.items()) if not isinstance(shape, str)}
    shape, dtype = next(iter(good.values()), ((0,), "<f4"))
    problems = {index: reason for index, reason in found.items() if isinstance(reason, str)}
    lengths = np.full(len(locations), -1, dtype=np.int32)
    for index, (other, kind) in good.items():
        if (other[1:], kind) == (shape[1:], dtype):
            lengths[index] = other[0]
        else:
            problems[index] = f"{locations[index]}: {kind} of shape {other}, others are {dtype} of shape {shape}."
    save_array(stem.with_suffix(".npy"), lengths)
    write_text(stem.with_suffix(".json"), json.dumps({"shape": shape[1:], "dtype": dtype}))
    return problems


@dataclass(frozen=True)
class _Items:
    """What items of all files have in common."""

    shape: tuple[int, ...]
    dtype: str


def load_prepared(modality: Modality, locations: Sequence[Location], stem: Path) -> PreparedFiles:
    """Return what reads the files of an earlier index; arguments as of `index_prepared`."""
    facts = read_json(stem.with_suffix(".json"), _Items, error=DataError)
    blank = np.zeros((0, *facts.shape), facts.dtype)
    return PreparedFiles(modality, locations, DiskArray(stem.with_suffix(".npy")), blank, {})
