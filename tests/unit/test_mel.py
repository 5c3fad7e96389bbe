"""Log-mel chunks: frames against librosa, standardisation, chunks, and sounds without variation."""

import numpy as np
import pytest

from clamp3.errors import FormatError
from clamp3.formats.mel import CHUNK_FRAMES, CHUNK_WIDTH, HOP, N_BINS, RATE_HZ, WINDOW, log_mel

pytestmark = pytest.mark.kernels


def noise(seconds, seed=0):
    n = round(seconds * RATE_HZ)
    loudness = 10 ** np.random.default_rng(seed).uniform(-5, 0, n // 4000 + 1).repeat(4000)[:n]
    return (np.random.default_rng(seed + 1).standard_normal(n) * loudness * 0.3).astype(np.float32)


def test_frames_are_those_of_librosa():
    librosa = pytest.importorskip("librosa")
    sound = noise(9.984)  # two chunks
    padded = np.concatenate([sound, np.zeros(WINDOW, np.float32)])
    power = librosa.feature.melspectrogram(
        y=padded, sr=RATE_HZ, n_fft=WINDOW, hop_length=HOP, n_mels=N_BINS, center=False
    )
    decibels = librosa.power_to_db(power, ref=1.0, top_db=80.0)[:, : 2 * CHUNK_FRAMES].T
    expected = (decibels - decibels.mean()) / decibels.std()
    np.testing.assert_allclose(log_mel(sound).reshape(-1, N_BINS), expected, atol=2e-3)
    assert decibels.min() == pytest.approx(decibels.max() - 80.0)  # the floor was reached, so it was tested


def test_two_minutes_are_24_chunks_and_later_sound_is_not_heard():
    sound = noise(130)
    chunks = log_mel(sound)
    assert chunks.shape == (24, CHUNK_WIDTH) and chunks.dtype == np.float32  # 1250 frames = 24 * 52 + 2
    np.testing.assert_array_equal(chunks, log_mel(sound[: 120 * RATE_HZ]))
    assert len(log_mel(sound, longest_sec=None)) == 26


@pytest.mark.parametrize("block", [1_000, HOP, 5_001, 200_000])
def test_blocks_do_not_matter(block):
    sound = noise(8.3)
    blocks = (sound[i : i + block] for i in range(0, len(sound), block))
    np.testing.assert_allclose(log_mel(blocks), log_mel(sound), atol=1e-6)


@pytest.mark.parametrize(
    ("n_frames", "n_chunks"), [(1, 1), (10, 1), (51, 1), (52, 1), (62, 1), (63, 2), (104, 2), (115, 3)]
)
def test_a_last_chunk_counts_from_one_second_on_unless_it_is_the_only_one(n_frames, n_chunks):
    assert log_mel(noise(20)[: n_frames * HOP]).shape == (n_chunks, CHUNK_WIDTH)


def test_the_last_chunk_is_filled_with_the_floor():
    frames = log_mel(noise(7)).reshape(-1, N_BINS)
    n_sounding = -(-7 * RATE_HZ // HOP)
    assert frames[:n_sounding].mean() == pytest.approx(0, abs=1e-5)
    assert frames[:n_sounding].std() == pytest.approx(1, abs=1e-5)
    assert (frames[n_sounding:] == frames.min()).all() and len(frames) > n_sounding


def test_loudness_does_not_matter():
    sound = noise(6)
    np.testing.assert_allclose(log_mel(sound), log_mel(0.5 * sound), atol=1e-4)


def test_a_sound_without_variation_gives_zeros():
    for level in (0.0, 1e-7):
        assert not log_mel(np.full(RATE_HZ, level, np.float32)).any()


@pytest.mark.parametrize("bad", [[], [[0.1, 0.2]], [0.0, np.nan], [np.inf]])
def test_what_is_no_sound_is_refused(bad):
    with pytest.raises(FormatError, match="sound"):
        log_mel(np.array(bad, np.float32))
