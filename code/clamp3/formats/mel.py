"""Log-mel frames in chunks of about five seconds: what checkpoints with a mel front end hear, in place of MERT.

Frames as in HTCL (Pan et al., arXiv 2505.23298): 128 mel bands, Hann window of 128 ms, hop of 96 ms, the first two
minutes, in dB down to 80 dB below the loudest, standardised per file. A row is one chunk: `CHUNK_FRAMES` frames one
after the other, which `clamp3.models.front_end.MelFrontEnd` turns into one vector.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from clamp3.errors import FormatError

RATE_HZ = 24_000
N_BINS = 128
WINDOW = 3072  # samples: 128 ms
HOP = 2304  # samples: 96 ms
CHUNK_FRAMES = 52  # 4.992 s
CHUNK_WIDTH = CHUNK_FRAMES * N_BINS
LONGEST_SEC = 120.0
FLOOR_DB = 80.0

_MIN_FRAMES = -(-RATE_HZ // HOP)  # frames of one second
_MIN_POWER = 1e-10


def log_mel(samples: np.ndarray, *, longest_sec: float | None = LONGEST_SEC) -> np.ndarray:
    """Return the log-mel chunks of a recording.

    Parameters
    ----------
    samples : float array, shape (N,)
        Mono, at `RATE_HZ`.
    longest_sec : float or None
        What comes later is not heard; None takes all.

    Returns
    -------
    float32 array, shape (T, 52 * 128)
        One row per chunk of 4.992 s, frame by frame. Frame k begins at sample k * `HOP`; what the last ones lack is
        silence. The last chunk is filled with the floor, and left out under one second unless it is the only one. A
        sound without any variation gives zeros.

    Raises
    ------
    FormatError
        If there are no samples, or some are NaN or infinite.
    """
    samples = np.asarray(samples, np.float32)
    if samples.ndim != 1 or samples.size == 0:
        raise FormatError(f"one channel of sound is needed, not an array of shape {samples.shape}.")
    if longest_sec is not None:
        samples = samples[: max(1, round(longest_sec * RATE_HZ))]
    if not np.isfinite(samples).all():
        raise FormatError("the sound has NaN or infinite samples.")
    decibels = 10.0 * np.log10(np.maximum(_mel_power(samples), _MIN_POWER))  # (frames, N_BINS)
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


def _mel_power(samples: np.ndarray) -> np.ndarray:
    """Return mel-band powers, float64, shape (frames, N_BINS); one frame per hop that begins within the sound."""
    n_frames = -(-len(samples) // HOP)
    padded = np.zeros((n_frames - 1) * HOP + WINDOW, np.float64)
    padded[: len(samples)] = samples[: len(padded)]
    framed = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    powers = np.empty((n_frames, N_BINS))
    for start in range(0, n_frames, 1024):  # bounds the memory of long recordings
        spectrum = np.fft.rfft(framed[start : start + 1024] * window)
        powers[start : start + 1024] = (spectrum.real**2 + spectrum.imag**2) @ _filters()
    return powers


@lru_cache(maxsize=1)
def _filters() -> np.ndarray:
    """Return triangular filters of equal area, shape (WINDOW // 2 + 1, N_BINS), 0 Hz to half the rate."""
    from transformers.audio_utils import mel_filter_bank

    return mel_filter_bank(WINDOW // 2 + 1, N_BINS, 0.0, RATE_HZ / 2, RATE_HZ, norm="slaney", mel_scale="slaney")
