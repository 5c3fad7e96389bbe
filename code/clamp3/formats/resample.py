"""Resampling by a windowed sinc, block by block: the filter that MERT's published features were made with.

Sinc of six zero crossings under a Hann window, cut off at 0.99 of the lower Nyquist frequency (Smith, "Digital Audio
Resampling", with the parameters of torchaudio's default). Output sample n is the sum of x[k] h(k / R - n / R') over the
input, which for rates with common factors repeats after R' / gcd outputs, so that it takes a few matrix products.
"""

from __future__ import annotations

import math

import numpy as np

from clamp3.errors import FormatError

ZERO_CROSSINGS = 6
ROLLOFF = 0.99
MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 768_000

_DENSE = 1 << 20  # largest kernel that is one matrix


class Resampler:
    """Resamples a stream from one rate to another.

    Parameters
    ----------
    rate_hz, new_rate_hz : int
        Samples per second before and after.

    Raises
    ------
    FormatError
        If ``rate_hz`` is not between `MIN_RATE_HZ` and `MAX_RATE_HZ`.
    """

    def __init__(self, rate_hz: int, new_rate_hz: int) -> None:
        if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
            raise FormatError(f"{rate_hz} samples per second are outside {MIN_RATE_HZ} to {MAX_RATE_HZ}.")
        common = math.gcd(rate_hz, new_rate_hz)
        self._old, self._new = rate_hz // common, new_rate_hz // common  # samples of one period
        self._n_in = self._n_out = 0
        if self._old == self._new:
            return
        cutoff = ROLLOFF * min(self._old, self._new)  # zero crossings per period
        self._reach = math.ceil(ZERO_CROSSINGS * self._old / cutoff)  # input samples on either side
        self._span = self._old + 2 * self._reach + 1  # input samples that one period of outputs is made of
        self._groups = self._kernels(cutoff)
        self._rest = np.zeros(self._reach, np.float32)  # silence before the first sample

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Return the float32 output that these further ``samples``, shape (N,), complete."""
        self._n_in += len(samples)
        if self._old == self._new:
            return np.asarray(samples, np.float32)
        self._rest = np.concatenate([self._rest, np.asarray(samples, np.float32)])
        return self._take()

    def finish(self) -> np.ndarray:
        """Return the rest of the output at the end of the input, ceil(N * new / old) samples in all."""
        if self._old == self._new:
            return np.zeros(0, np.float32)
        missing = -(-self._n_in * self._new // self._old) - self._n_out
        self._rest = np.concatenate([self._rest, np.zeros(self._span - self._reach, np.float32)])
        return self._take()[: max(0, missing)]

    def _take(self) -> np.ndarray:
        """Filter every whole period that the stored samples cover."""
        periods = max(0, (len(self._rest) - self._span) // self._old + 1)
        self._n_out += periods * self._new
        if not periods:
            return np.zeros(0, np.float32)
        out = np.empty((periods, self._new), np.float32)
        for place, first, kernel in self._groups:
            view = np.lib.stride_tricks.sliding_window_view(self._rest[first:], len(kernel))[:: self._old]
            np.matmul(view[:periods], kernel, out=out[:, place : place + kernel.shape[1]])
        self._rest = self._rest[periods * self._old :].copy()
        return out.reshape(-1)

    def _kernels(self, cutoff: float) -> list[tuple[int, int, np.ndarray]]:
        """Return (first output of a group, first input, matrix (inputs, outputs)) of each group of a period's outputs.

        One group suffices for the usual rates. Rates without common factors, such as 44,101 Hz, have a period of a
        whole second, whose full matrix would take gigabytes; groups cover only the band where it is not zero.
        """
        size = self._new
        if self._new * self._span > _DENSE:
            size = min(self._new, max(16, 4 * self._reach * self._new // self._old))
        groups = []
        for place in range(0, self._new, size):
            outputs = np.arange(place, min(self._new, place + size))
            first = int(outputs[0] * self._old // self._new)
            last = int(outputs[-1] * self._old // self._new) + 2 * self._reach + 1
            inputs = np.arange(first, last + 1) - self._reach
            distance = cutoff * (inputs[:, None] / self._old - outputs[None] / self._new)  # in zero crossings
            window = np.cos(np.pi / 2 * np.clip(distance / ZERO_CROSSINGS, -1, 1)) ** 2
            kernel = np.sinc(distance) * window * (cutoff / self._old)
            groups.append((place, first, kernel.astype(np.float32)))
        return groups
