"""Audio feature files of a training set: opened by header at the start, read by the slice when a batch needs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clamp3.errors import FormatError


def _mapped(path: Path, width: int) -> np.ndarray:
    """Return a file's vectors, (T, D), mapped into memory.

    Raises
    ------
    FormatError
        If it is no plain numeric ``.npy`` of shape (…, D), or is empty or cut short.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError, SyntaxError, TypeError) as error:
        raise FormatError(f"{path}: no readable .npy file ({getattr(error, 'strerror', None) or error}).") from None
    if not isinstance(array, np.ndarray):
        raise FormatError(f"{path}: an archive of arrays, not one array.")
    if array.dtype.kind not in "fiu" or array.ndim == 0 or array.shape[-1] != width or array.size == 0:
        raise FormatError(
            f"{path}: {array.dtype} of shape {array.shape}; the audio tower takes numbers of shape (…, {width})."
        )
    return array.reshape(-1, width)  # (T, D)


@dataclass(frozen=True)
class FeatureFiles:
    """Random access to the feature vectors of many recordings, a zero vector on both ends of each.

    Attributes
    ----------
    paths : sequence of Path
    width : int
        D, numbers of a vector.
    lengths : int64 array, shape (n files,)
        Vectors of each file, both zero vectors included; -1 where it cannot be used.
    problems : dict
        File index → reason.
    """

    paths: Sequence[Path]
    width: int
    lengths: np.ndarray
    problems: dict[int, str]

    def length(self, index: int) -> int:
        """Return the number of vectors, both zero vectors included."""
        return int(self.lengths[index])

    def vectors(self, index: int, part: slice) -> np.ndarray:
        """Return a slice of a file's vectors, float32 (T, D).

        Raises
        ------
        FormatError
            If the file has changed since the start, or holds NaN or infinity there.
        """
        stored = _mapped(self.paths[index], self.width)
        first, last, _ = part.indices(len(stored) + 2)
        values = np.zeros((last - first, self.width), np.float32)
        inside = slice(max(first, 1), min(last, len(stored) + 1))  # what is not one of the zero vectors
        values[inside.start - first : inside.stop - first] = stored[inside.start - 1 : inside.stop - 1]
        if not np.isfinite(values).all():
            raise FormatError(f"{self.paths[index]}: NaN or infinite values.")
        return values


def open_features(paths: Sequence[Path], width: int) -> FeatureFiles:
    """Read the headers of ``.npy`` files; a reason is kept for each that cannot be used."""
    lengths = np.full(len(paths), -1, dtype=np.int64)
    problems: dict[int, str] = {}
    for index, path in enumerate(paths):
        try:
            lengths[index] = len(_mapped(path, width)) + 2
        except FormatError as error:
            problems[index] = str(error)
    return FeatureFiles(paths, width, lengths, problems)
