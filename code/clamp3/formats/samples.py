"""Samples in memory as libraries give them, to one form: float32, full scale at 1, (N,) or (N, channels)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clamp3.errors import FormatError
from clamp3.formats.audio import MAX_CHANNELS

# Of the integers that readers of recordings give: value of silence, and full scale.
_SCALES = {"uint8": (128, 1 << 7), "int16": (0, 1 << 15), "int32": (0, 1 << 31)}


def samples_of(array: Any) -> NDArray[np.float32]:
    """Return samples of a numpy array or a torch tensor.

    Of two axes the one that is too long for channels (over 64) is time: librosa and torchaudio put the channels first,
    soundfile puts them last. Where both are short, an array has them last and a tensor has them first.

    Parameters
    ----------
    array : array or tensor, shape (N,), (N, channels) or (channels, N)
        Floats with full scale at 1, or 8-bit unsigned, 16-bit or 32-bit integers.

    Raises
    ------
    FormatError
        If the type has no known full scale, or no axis can be the channels.

    Examples
    --------
    >>> samples_of(np.array([[0, -16384]] * 100, np.int16)).shape, samples_of(np.zeros((2, 100))).shape
    ((100, 2), (100, 2))
    >>> samples_of(np.array([0, -16384, 32767], np.int16)).round(3).tolist()
    [0.0, -0.5, 1.0]
    """
    values, channels_last = array, True
    if not isinstance(array, np.ndarray):
        tensor = array.detach().cpu()
        values, channels_last = (tensor.float() if tensor.is_floating_point() else tensor).numpy(), False
    if values.ndim not in (1, 2) or (values.ndim == 2 and 0 in values.shape):
        raise FormatError(f"samples have shape (N,), (N, channels) or (channels, N), not {values.shape}.")
    if values.ndim == 2:
        if min(values.shape) > MAX_CHANNELS:
            raise FormatError(f"samples of shape {values.shape} have too many channels; {MAX_CHANNELS} are the limit.")
        if max(values.shape) > MAX_CHANNELS:
            channels_last = values.shape[0] == max(values.shape)
        values = values if channels_last else values.T
    if values.dtype.kind == "f":
        return values.astype(np.float32, copy=False)
    if values.dtype.name not in _SCALES:
        raise FormatError(
            f"samples are floats, or integers of 8 (unsigned), 16 or 32 bits, not {values.dtype}; "
            "integers of other sizes are divided by full scale first."
        )
    silence, full = _SCALES[values.dtype.name]
    return ((values.astype(np.float64) - silence) / full).astype(np.float32)
