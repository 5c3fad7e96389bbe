"""Log-mel frames in chunks of about five seconds: the input of checkpoints with a mel front end, in place of MERT.

Frames as in HTCL (Pan et al., arXiv 2505.23298): 128 mel bands, Hann window of 128 ms, hop of 96 ms, the first two
minutes, in dB down to 80 dB below the maximum, standardised per file. A row is one chunk: `CHUNK_FRAMES` concatenated
frames, which `clamp3.models.front_end.MelFrontEnd` turns into one vector.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
    parts = list(_mel_powers([sound] if isinstance(sound, np.ndarray) else sound, limit))
    decibels = 10.0 * np.log10(np.maximum(np.concatenate(parts), _MIN_POWER))  # (frames, N_BINS)
    floor = decibels.max() - FLOOR_DB
    decibels = np.maximum(decibels, floor)
    spread = float(decibels.std())
    frames = ((decibels - decibels.mean()) / spread) if spread > 1e-6 else np.zeros_like(decibels)
    quiet = (floor - decibels.mean()) / spread if spread > 1e-6 else 0.0
    n_chunks, rest = divmod(len(frames), CHUNK_FRAMES)
    if rest >= _MIN_FRAMES or (rest and not n_chunks):
        n_chunks += 1
    chunks = np.full((n_chunks * CHUNK_FRAMES, N_BINS), quiet, np.float32)
    kept = min(len(frames), len(chunks))
    chunks[:kept] = frames[:kept]
    return chunks.reshape(n_chunks, CHUNK_WIDTH)


def _mel_powers(blocks: Iterable[np.ndarray], limit: int | None) -> Iterator[np.ndarray]:
    """Yield mel-band powers (frames, N_BINS) of the first ``limit`` samples, one frame per hop that begins in them."""
    rest, n_samples, n_given = np.zeros(0, np.float32), 0, 0
    for block in blocks:
        block = np.asarray(block, np.float32)
        if block.ndim != 1:
            raise FormatError(f"one channel of sound is needed, not an array of shape {block.shape}.")
        if not np.isfinite(block).all():
            raise FormatError("the sound has NaN or infinite samples.")
        block = block if limit is None else block[: limit - n_samples]
        n_samples += len(block)
        rest = np.concatenate([rest, block])
        n_frames = max(0, (len(rest) - WINDOW) // HOP + 1)
        yield _framed_powers(rest, n_frames)
        rest = rest[n_frames * HOP :]
        n_given += n_frames
    if not n_samples:
        raise FormatError("there is no sound in it.")
    ending = np.concatenate([rest, np.zeros(WINDOW, np.float32)])
    yield _framed_powers(ending, -(-n_samples // HOP) - n_given)


def _framed_powers(samples: np.ndarray, n_frames: int) -> np.ndarray:
    """Return the powers of the first ``n_frames`` frames, float64, shape (n_frames, N_BINS)."""
    powers = np.empty((n_frames, N_BINS))
    if not n_frames:
        return powers
    framed = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    for start in range(0, n_frames, 256):  # bounds the memory of long blocks
        stop = min(n_frames, start + 256)
        spectrum = np.fft.rfft(framed[start:stop] * window)
        powers[start:stop] = (spectrum.real**2 + spectrum.imag**2) @ _filters()
    return powers


@lru_cache(maxsize=1)
def _filters() -> np.ndarray:
    """Return triangular filters of equal area, shape (WINDOW // 2 + 1, N_BINS), 0 Hz to half the rate."""
    from transformers.audio_utils import mel_filter_bank

    return mel_filter_bank(WINDOW // 2 + 1, N_BINS, 0.0, RATE_HZ / 2, RATE_HZ, norm="slaney", mel_scale="slaney")
