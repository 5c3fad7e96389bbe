"""Numeric ``.npy`` files, read without unpickling."""

from __future__ import annotations

import io

import numpy as np

from clamp3.errors import FormatError


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
        If the bytes are no ``.npy`` file, hold Python objects or text, or contain NaN or infinity.

    Examples
    --------
    >>> stream = io.BytesIO()
    >>> np.save(stream, np.arange(3.0))
    >>> read_array(stream.getvalue(), "a.npy").tolist()
    [0.0, 1.0, 2.0]
    """
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # numpy parses headers as Python literals: any exception may come out of it
        if b"|O" in data[:256] or "pickle" in str(error).lower():
            raise FormatError(
                f"{name} is not a plain numeric .npy file; pickled content is never read because it could run code."
            ) from None
        raise FormatError(f"{name} is not a readable .npy file ({error}).") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise FormatError(f"{name} holds {getattr(array, 'dtype', 'several arrays')}, not numbers.")
    if not np.isfinite(array).all():
        raise FormatError(f"{name} contains NaN or infinite values.")
    return array
