"""Log-mel frames in chunks of about five seconds: the input of checkpoints with a mel front end, in place of MERT.

Frames as in HTCL (Pan et al., arXiv 2505.23298): 128 mel bands, Hann window of 128 ms, hop of 96 ms, the first two
minutes, in dB down to 80 dB below the maximum, standardised per file. A row is one chunk: `CHUNK_FRAMES` concatenated
frames, which `clamp3.models.front_end.MelFrontEnd` turns into one vector.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from clamp3.errors import FormatError

RATE_HZ = 24_000
N_BINS = 128
WINDOW = 3072  # samples: 128 ms
HOP = 2304  # samples: 96 ms
CHUNK_FRAMES = 52  # 4.992 s
CHUNK_SEC = CHUNK_FRAMES * HOP / RATE_HZ
CHUNK_WIDTH = CHUNK_FRAMES * N_BINS
LONGEST_SEC = 120.0
FLOOR_DB = 80.0

_MIN_FRAMES = -(-RATE_HZ // HOP)  # frames of one second
_MIN_POWER = 1e-10


def log_mel(sound: np.ndarray | Iterable[np.ndarray], *, longest_sec: float | None = LONGEST_SEC) -> np.ndarray:
    """Return the log-mel chunks of a recording.

    Parameters
    ----------
    sound : float array, shape (N,), or iterable of such
        Mono, at `RATE_HZ`; in one array, or block by block (`clamp3.formats.audio.Sound.blocks`).
    longest_sec : float or None
        Later samples are ignored; None takes all.

    Returns
    -------
    float32 array, shape (T, 52 * 128)
        One row per chunk of 4.992 s, frame by frame. Frame k begins at sample k * `HOP`; the last frames are padded
        with silence. The last chunk is padded with the floor, and dropped if shorter than one second unless it is the
        only one. A constant sound gives zeros.

    Raises
    ------
    FormatError
        If there are no samples, or some are NaN or infinite.

    See Also
    --------
    clamp3.models.front_end.MelFrontEnd : What makes one vector of a chunk.

    Examples
    --------
    >>> second = np.sin(2 * np.pi * 440 * np.arange(RATE_HZ) / RATE_HZ)
    >>> chunks = log_mel(np.tile(second, 12))  # 12 s: two chunks, and a third of 2 s
    >>> chunks.shape, chunks.dtype.name
    ((3, 6656), 'float32')
    >>> int(chunks[0].reshape(CHUNK_FRAMES, N_BINS)[10].argmax())  # the mel band of 440 Hz
    16
    """
    limit = None if longest_sec is None else max(1, round(longest_sec * RATE_HZ))
    levels = decibels(MelSpectrum().powers([sound] if isinstance(sound, np.ndarray) else sound, limit))
    spread, floor = float(levels.std()), levels.max() - FLOOR_DB  # of (frames, N_BINS)
    frames = ((levels - levels.mean()) / spread) if spread > 1e-6 else np.zeros_like(levels)
    quiet = (floor - levels.mean()) / spread if spread > 1e-6 else 0.0
    n_chunks, rest = divmod(len(frames), CHUNK_FRAMES)
    if rest >= _MIN_FRAMES or (rest and not n_chunks):
        n_chunks += 1
    chunks = np.full((n_chunks * CHUNK_FRAMES, N_BINS), quiet, np.float32)
    kept = min(len(frames), len(chunks))
    chunks[:kept] = frames[:kept]
    return chunks.reshape(n_chunks, CHUNK_WIDTH)


@dataclass(frozen=True)
class MelSpectrum:
    """Powers in mel bands of a stream of samples.

    Attributes
    ----------
    rate_hz : int
        Samples per second.
    window, hop : int
        Samples of a frame (under a Hann window), and from one to the next.
    n_bins : int
        Mel bands, on Slaney's scale, of equal area.
    low_hz, high_hz : float
        Their range; 0 as ``high_hz`` is half the rate.
    centred : bool
        Frame k is centred at sample k * ``hop``, for every such sample and the one after the last, instead of
        beginning there; what is missing before and after the sound is silence.
    """

    rate_hz: int = RATE_HZ
    window: int = WINDOW
    hop: int = HOP
    n_bins: int = N_BINS
    low_hz: float = 0.0
    high_hz: float = 0.0
    centred: bool = False

    def powers(self, blocks: Iterable[np.ndarray], limit: int | None = None) -> np.ndarray:
        """Return the powers, float64, shape (frames, n_bins), of the first ``limit`` samples.

        Parameters
        ----------
        blocks : iterable of float array, shape (N,)
            Mono, at `rate_hz`.
        limit : int or None
            Samples to take; None takes all.

        Raises
        ------
        FormatError
            If there are no samples, or some are NaN or infinite.
        """
        return np.concatenate(list(self._powers(blocks, limit)))

    def _powers(self, blocks: Iterable[np.ndarray], limit: int | None) -> Iterator[np.ndarray]:
        """Yield powers of the frames that each block completes, then of the rest."""
        rest = np.zeros(self.window // 2 if self.centred else 0, np.float32)
        n_samples, n_given = 0, 0
        for block in blocks:
            block = np.asarray(block, np.float32)
            if block.ndim != 1:
                raise FormatError(f"one channel of sound is needed, not an array of shape {block.shape}.")
            if not np.isfinite(block).all():
                raise FormatError("the sound has NaN or infinite samples.")
            block = block if limit is None else block[: limit - n_samples]
            n_samples += len(block)
            rest = np.concatenate([rest, block])
            n_frames = max(0, (len(rest) - self.window) // self.hop + 1)
            yield self._framed(rest, n_frames)
            rest = rest[n_frames * self.hop :]
            n_given += n_frames
        if not n_samples:
            raise FormatError("there is no sound in it.")
        ending = np.concatenate([rest, np.zeros(self.window, np.float32)])
        n_frames = 1 + n_samples // self.hop if self.centred else -(-n_samples // self.hop)
        yield self._framed(ending, n_frames - n_given)

    def _framed(self, samples: np.ndarray, n_frames: int) -> np.ndarray:
        """Return the powers of the first ``n_frames`` frames, float64, shape (n_frames, n_bins)."""
        powers = np.empty((n_frames, self.n_bins))
        if not n_frames:
            return powers
        framed = np.lib.stride_tricks.sliding_window_view(samples, self.window)[:: self.hop]
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.window) / self.window)
        for start in range(0, n_frames, 256):  # bounds the memory of long blocks
            stop = min(n_frames, start + 256)
            spectrum = np.fft.rfft(framed[start:stop] * window)
            powers[start:stop] = (spectrum.real**2 + spectrum.imag**2) @ _filters(self)
        return powers


def decibels(powers: np.ndarray) -> np.ndarray:
    """Return powers in dB, down to `FLOOR_DB` below the highest."""
    values = 10.0 * np.log10(np.maximum(powers, _MIN_POWER))
    return np.maximum(values, values.max() - FLOOR_DB)


@lru_cache(maxsize=4)
def _filters(mel: MelSpectrum) -> np.ndarray:
    """Return triangular filters of equal area, shape (window // 2 + 1, n_bins)."""
    from transformers.audio_utils import mel_filter_bank

    high_hz = mel.high_hz or mel.rate_hz / 2
    size = mel.window // 2 + 1
    return mel_filter_bank(size, mel.n_bins, mel.low_hz, high_hz, mel.rate_hz, norm="slaney", mel_scale="slaney")
