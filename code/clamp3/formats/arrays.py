"""Numeric ``.npy`` files, read without unpickling; sizes that a header states are checked before memory is taken."""

from __future__ import annotations

import io
import math
import warnings
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

from clamp3.errors import FormatError, sentence_of

MAX_AXES = 8


@dataclass(frozen=True)
class Header:
    """What the header of a ``.npy`` file states.

    Attributes
    ----------
    shape : tuple of int
    by_columns : bool
        In Fortran's order.
    dtype : dtype
        Of floats or whole numbers.
    start : int
        Bytes of the header.
    """

    shape: tuple[int, ...]
    by_columns: bool
    dtype: np.dtype
    start: int

    @property
    def size(self) -> int:
        """Bytes of the values."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(stream: BinaryIO, name: str) -> Header:
    """Return the header of a ``.npy`` file that begins where a stream stands.

    Parameters
    ----------
    stream : binary file
        Left behind the header.
    name : str
        Used in messages.

    Raises
    ------
    FormatError
        If there is none, or it states something else than plain numbers.
    """
    first = stream.tell()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about headers of Python 2, and names of types
            version = npy.read_magic(stream)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, by_columns, dtype = read(stream)
    except Exception:  # numpy parses headers as Python literals: any exception may come out of it
        raise FormatError(f"{name} is not a readable .npy file (its header is damaged).") from None
    if dtype.hasobject:
        raise FormatError(
            f"{name} is not a plain numeric .npy file; pickled content is never read because it could run code."
        )
    if dtype.kind not in "fiu":
        raise FormatError(f"{name} holds {sentence_of(dtype, 40)}, not numbers.")
    if len(shape) > MAX_AXES or any(not isinstance(n, int) or isinstance(n, bool) or n < 0 for n in shape):
        raise FormatError(f"{name} states the shape {sentence_of(shape, 60)}, which no array has.")
    return Header(shape, by_columns, dtype, stream.tell() - first)


def read_array(data: bytes, name: str) -> np.ndarray:
    """Return the numeric array of a ``.npy`` file's bytes, without unpickling.

    Parameters
    ----------
    data : bytes
        Content of the file.
    name : str
        Used in messages.

    Raises
    ------
    FormatError
        If the bytes are no ``.npy`` file, hold Python objects or text, fewer values than they state, or values that are
        not finite in single precision, in which everything is computed.

    Examples
    --------
    >>> stream = io.BytesIO()
    >>> np.save(stream, np.arange(3.0))
    >>> read_array(stream.getvalue(), "a.npy").tolist()
    [0.0, 1.0, 2.0]
    """
    if data.startswith(b"PK"):
        raise FormatError(f"{name} holds several arrays (.npz), not numbers.")
    header = read_header(io.BytesIO(data), name)
    if header.start + header.size > len(data):
        raise FormatError(
            f"{name} is not a readable .npy file: it has {len(data) - header.start} of {header.size} bytes."
        )
    values = np.frombuffer(data, header.dtype, math.prod(header.shape), header.start)
    array = values.reshape(header.shape, order="F" if header.by_columns else "C").copy()
    with np.errstate(over="ignore"):
        if not np.isfinite(array.astype(np.float32, copy=False)).all():
            raise FormatError(f"{name} contains NaN or infinite values.")
    return array
