"""Arrays on the disk, read row by row: what a run over millions of items keeps of them takes no memory.

A mapped array would be simpler, but every page that is ever touched counts as resident, and an epoch touches them all.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from clamp3.errors import DataError, FormatError
from clamp3.formats.arrays import read_header
from clamp3.jobs.atomic import replacing


class DiskArray:
    """An array in a file, by index or slice of its first axis; safe to fork and to pickle.

    Parameters
    ----------
    path : Path
        An ``.npy`` in C order, or with ``dtype`` and ``row`` a file of nothing but values.
    dtype : dtype, optional
    row : tuple of int
        Shape of one row of a plain file.

    Raises
    ------
    FormatError
        If it is no such array, or has another length.
    """

    def __init__(self, path: Path, dtype: Any = None, row: tuple[int, ...] = ()) -> None:
        self.path = str(path)
        self.start = 0
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if dtype is None:
                header = read_header(file, self.path)
                if header.by_columns or not header.shape or header.start + header.size != status.st_size:
                    raise FormatError(f"{self.path} is not the array that was written.")
                self.start, dtype, n_rows, row = header.start, header.dtype, header.shape[0], header.shape[1:]
            else:
                n_rows = status.st_size // (np.dtype(dtype).itemsize * math.prod(row))
        self.dtype, self.shape = np.dtype(dtype), (n_rows, *row)
        self.row_bytes = self.dtype.itemsize * math.prod(row)
        self._inode = status.st_ino
        self._file: int | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | slice) -> np.ndarray:
        """Return a copy of a row, or of the rows of a slice without a step.

        Raises
        ------
        DataError
            If the file has become shorter.
        """
        if isinstance(index, slice):
            first, last, _ = index.indices(len(self))
            return self._read(first, max(last - first, 0)).reshape(-1, *self.shape[1:])
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self._read(index % len(self), 1).reshape(self.shape[1:])

    def _read(self, first: int, n_rows: int) -> np.ndarray:
        offset, size = self.start + first * self.row_bytes, n_rows * self.row_bytes
        if hasattr(os, "pread"):
            if self._file is None:
                self._file = os.open(self.path, os.O_RDONLY)
                if os.fstat(self._file).st_ino != self._inode:
                    raise DataError(f"{self.path} has been replaced by another run; start this one anew.")
            data = os.pread(self._file, size, offset)  # at an offset: forked workers share the file's position
        else:
            with open(self.path, "rb", buffering=0) as file:
                file.seek(offset)
                data = file.read(size)
        if len(data) < size:
            raise DataError(f"{self.path} has become shorter; remove its folder, and start the run anew.")
        return np.frombuffer(bytearray(data), self.dtype)

    def all(self) -> np.ndarray:
        """Return the whole array in memory."""
        return self[:]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            os.close(self._file)  # type: ignore[arg-type]


def save_array(path: Path, values: np.ndarray) -> None:
    """Write an ``.npy``, whole or not at all.

    Parameters
    ----------
    path : Path
    values : array
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        # NumPy writes to a file by a way that hides a full disk, and to anything else with ``write`` by that.
        np.save(SimpleNamespace(write=file.write), values, allow_pickle=False)
