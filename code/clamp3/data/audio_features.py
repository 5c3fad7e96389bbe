"""Audio feature files of a training set: opened by header at the start, read by the slice when a batch needs it."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO

import numpy as np

from clamp3.data.disk_array import DiskArray
from clamp3.data.shards import WHOLE, Location
from clamp3.errors import FormatError
from clamp3.formats.arrays import Header
from clamp3.formats.arrays import read_header as npy_header

THREADS = 16  # headers read at a time: on a network disk each one is a wait
BLOCK = 500  # of which a thread reads one after the other
HEADER = 128  # bytes that numpy writes for an array of up to a dozen dimensions


@dataclass(frozen=True)
class _Stored:
    """An open ``.npy``: vectors (T, D), of which a slice can be read."""

    file: BinaryIO
    dtype: np.dtype
    length: int
    width: int
    start: int
    by_columns: bool

    def rows(self, first: int, last: int) -> np.ndarray:
        """Return vectors ``first`` to ``last`` (not included), (T, D)."""
        if self.by_columns:  # Fortran's order: a vector is spread over the whole file
            self.file.seek(self.start)
            values = np.fromfile(self.file, self.dtype, self.length * self.width)
            return values.reshape(self.width, self.length).T[first:last]
        self.file.seek(self.start + first * self.width * self.dtype.itemsize)
        return np.fromfile(self.file, self.dtype, (last - first) * self.width).reshape(-1, self.width)


@lru_cache(maxsize=10_000)
def _parsed(data: bytes) -> Header:
    """Return the header that an ``.npy`` starts with; those of a data set are few."""
    return npy_header(io.BytesIO(data), "it")


@contextmanager
def _opened(location: Location, width: int) -> Iterator[_Stored]:
    """Open a file by its header; ``width`` 0 accepts any.

    Raises
    ------
    FormatError
        If it is no plain numeric ``.npy`` of shape (…, D), or is empty or cut short.
    """
    try:
        with open(location.path, "rb") as file:
            file.seek(location.offset)
            try:
                header = _parsed(file.read(HEADER))
            except FormatError as error:
                raise FormatError(f"{location}: no readable .npy file: {error}") from None
            shape, by_columns, dtype = header.shape, header.by_columns, header.dtype
            width = width or (shape[-1] if shape else 0)
            if not shape or shape[-1] != width or not math.prod(shape):
                raise FormatError(
                    f"{location}: {dtype} of shape {shape}; the audio tower takes numbers of shape (…, {width})."
                )
            length, start = math.prod(shape[:-1]), location.offset + header.start
            if by_columns and len([n for n in shape[:-1] if n > 1]) > 1:
                raise FormatError(f"{location}: {shape} in Fortran's order; save it with np.ascontiguousarray.")
            there = location.size if location.size != WHOLE else os.fstat(file.fileno()).st_size
            if header.start + header.size > there:
                raise FormatError(f"{location}: cut short: no readable .npy file of shape {shape}.")
            yield _Stored(file, dtype, length, width, start, by_columns and length > 1)
    except (ValueError, OSError) as error:
        reason = str(getattr(error, "strerror", None) or error)
        raise FormatError(f"{location}: no readable .npy file ({reason}).") from None


@dataclass(frozen=True)
class FeatureFiles:
    """Random access to the feature vectors of many recordings, a zero vector on both ends of each.

    Attributes
    ----------
    locations : sequence of Location
    width : int
        D, numbers of a vector.
    lengths : int32 array, shape (n files,)
        Vectors of each file, both zero vectors included; -1 where it cannot be used.
    problems : mapping
        File index → reason.
    """

    locations: Sequence[Location]
    width: int
    lengths: np.ndarray | DiskArray
    problems: Mapping[int, str]

    n_variants: int = 1

    @property
    def blank(self) -> np.ndarray:
        """No vectors, float32 (0, D)."""
        return np.zeros((0, self.width), np.float32)

    def length(self, index: int, variant: int = 0) -> int:
        """Return the number of vectors, both zero vectors included; see `MusicFiles`."""
        return int(self.lengths[index])

    def read(self, index: int, part: slice, variant: int = 0) -> np.ndarray:
        """Return a slice of a file's vectors, float32 (T, D); see `clamp3.data.music_files.MusicFiles.read`.

        Raises
        ------
        FormatError
            If the file has changed since the start, or holds NaN or infinity there.
        """
        location = self.locations[index]
        with _opened(location, self.width) as stored:
            first, last, _ = part.indices(stored.length + 2)
            values = np.zeros((last - first, self.width), np.float32)
            inside = slice(max(first, 1), min(last, stored.length + 1))  # what is not one of the zero vectors
            with np.errstate(over="ignore"):  # what is infinite in single precision is refused below
                values[inside.start - first : inside.stop - first] = stored.rows(inside.start - 1, inside.stop - 1)
        if not np.isfinite(values).all():
            raise FormatError(f"{location}: NaN or infinite values.")
        return values


def read_header(location: Location, width: int = 0) -> tuple[int, int]:
    """Return the shape of a file's vectors.

    Parameters
    ----------
    location : Location
    width : int
        D that they must have; 0 accepts any.

    Returns
    -------
    length, width : int

    Raises
    ------
    FormatError
        If it is no plain numeric ``.npy`` of shape (…, D), or is empty or cut short.
    """
    with _opened(location, width) as stored:
        return stored.length, stored.width


def open_features(locations: Sequence[Location], width: int) -> FeatureFiles:
    """Read the headers of ``.npy`` files; a reason is kept for each that cannot be used.

    Parameters
    ----------
    locations : sequence of Location
    width : int
        D that their vectors must have.
    """
    lengths = np.full(len(locations), -1, dtype=np.int32)
    problems: dict[int, str] = {}

    def measure(start: int) -> None:
        for index in range(start, min(start + BLOCK, len(locations))):
            try:
                lengths[index] = read_header(locations[index], width)[0] + 2
            except FormatError as error:
                problems[index] = str(error)

    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(measure, range(0, len(locations), BLOCK)):
            pass
    return FeatureFiles(locations, width, lengths, problems)
