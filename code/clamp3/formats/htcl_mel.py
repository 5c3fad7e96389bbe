"""Log-mel frames of a whole piece, the input of HTCL (Pan et al., arXiv 2505.23298).

Stated by the paper: 128 mel bands, a Hann window of 128 ms, a hop of 96 ms, the first two minutes; by its code: dB, up
to 1,251 frames, the missing ones 80 dB below the loudest, then standardised over the piece. 1,251 is the number of
*centred* frames of 120 s (librosa's default), so frames are centred. Left open are the rate and the range of the bands:
see `HtclMel`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from clamp3.errors import ConfigError
from clamp3.formats.audio import RATE_HZ as SOUND_HZ
from clamp3.formats.mel import FLOOR_DB, MelSpectrum, decibels
from clamp3.formats.resample import MAX_RATE_HZ, MIN_RATE_HZ, Resampler

WINDOW_SEC, HOP_SEC = 0.128, 0.096
LONGEST_SEC = 120.0


@dataclass(frozen=True)
class HtclMel:
    """What of the frames no source states, and their number.

    Attributes
    ----------
    rate_hz : int
        The sound is resampled to it. 16 kHz by default: the only usual rate at which 128 ms are a power of two (2,048
        samples, and 96 ms three quarters of it).
    low_hz, high_hz : float
        Range of the mel bands; by default from 0 to half the rate (which 0 stands for), as librosa has it.
    n_bins, n_frames : int
        Mel bands of a frame, and frames of a piece.

    Examples
    --------
    >>> sound = np.sin(2 * np.pi * 440 * np.arange(24_000 * 10) / 24_000)  # 10 s
    >>> frames = HtclMel().piece([sound])
    >>> frames.shape, frames.dtype.name, bool(abs(frames.mean()) < 1e-6)
    ((1251, 128), 'float32', True)
    """

    rate_hz: int = 16_000
    low_hz: float = 0.0
    high_hz: float = 0.0
    n_bins: int = 128
    n_frames: int = 1251

    def __post_init__(self) -> None:
        if not MIN_RATE_HZ <= self.rate_hz <= MAX_RATE_HZ:
            raise ConfigError(f"rate_hz {self.rate_hz} is outside {MIN_RATE_HZ} to {MAX_RATE_HZ}.")
        if not 0 <= self.low_hz < (self.high_hz or self.rate_hz / 2) <= self.rate_hz / 2:
            raise ConfigError(
                f"mel bands from {self.low_hz:g} to {self.high_hz:g} Hz do not fit a rate of {self.rate_hz} Hz."
            )

    @property
    def identity(self) -> str:
        """Names the frames in the identity of vectors."""
        return f"htclmel-{self.rate_hz}-{self.low_hz:g}-{self.high_hz:g}"

    def frames(self, sound: Iterable[np.ndarray]) -> np.ndarray:
        """Return the frames of a recording in dB, float64, shape (T, n_bins).

        Parameters
        ----------
        sound : iterable of float array, shape (N,)
            Blocks of mono sound at 24 kHz, as `clamp3.formats.audio.Sound.blocks` yields them.

        Raises
        ------
        FormatError
            If there are no samples, or some are NaN or infinite.
        """
        window, hop = round(WINDOW_SEC * self.rate_hz), round(HOP_SEC * self.rate_hz)
        mel = MelSpectrum(self.rate_hz, window, hop, self.n_bins, self.low_hz, self.high_hz, centred=True)
        return decibels(mel.powers(self._resampled(sound)))

    def _resampled(self, sound: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        resampler = Resampler(SOUND_HZ, self.rate_hz)
        for block in sound:
            yield resampler.push(block)
        yield resampler.finish()

    def piece(self, sound: Iterable[np.ndarray]) -> np.ndarray:
        """Return the standardised frames of the beginning of a recording, float32, shape (n_frames, n_bins).

        Parameters
        ----------
        sound : iterable of float array, shape (N,)
            As `frames` takes it; of more than two minutes the rest is ignored.

        Raises
        ------
        FormatError
            As `frames` does.
        """
        levels = self.frames(sound)[: self.n_frames]
        filled = np.full((self.n_frames, self.n_bins), levels.max() - FLOOR_DB)
        filled[: len(levels)] = levels
        return standardised(filled)


def standardised(levels: np.ndarray) -> np.ndarray:
    """Return values with mean 0 and deviation 1, float32; zeros where they do not vary."""
    return ((levels - levels.mean()) / (levels.std() + 1e-8)).astype(np.float32)
