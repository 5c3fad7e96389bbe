"""Resampling against the formula, written out sample by sample, and its independence of blocks."""

import math

import numpy as np
import pytest

from clamp3.errors import FormatError
from clamp3.formats.resample import Resampler


def resampled(samples, rate, new_rate=24_000, block=None):
    resampler = Resampler(rate, new_rate)
    block = block or max(1, len(samples))
    parts = [resampler.push(samples[i : i + block]) for i in range(0, len(samples), block)]
    return np.concatenate([*parts, resampler.finish()])


def by_formula(samples, rate, new_rate, places):
    """Windowed sinc, Hann, six zero crossings, roll-off 0.99: each output as a sum over the whole input."""
    cutoff_hz = 0.99 * min(rate, new_rate)
    out = []
    for place in places:
        total = 0.0
        for k, value in enumerate(samples):
            t = (k / rate - place / new_rate) * cutoff_hz
            if abs(t) < 6:
                sinc = 1.0 if t == 0 else math.sin(math.pi * t) / (math.pi * t)
                total += value * sinc * math.cos(math.pi * t / 12) ** 2 * cutoff_hz / rate
        out.append(total)
    return np.array(out)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 44_101, 48_000, 96_000, 192_000, 1_001])
def test_every_sample_is_that_of_the_formula(rate):
    samples = np.random.default_rng(rate).standard_normal(700).astype(np.float32)
    out = resampled(samples, rate)
    assert len(out) == math.ceil(700 * 24_000 / rate) and out.dtype == np.float32
    places = sorted({0, 1, 2, len(out) // 2, len(out) // 3, len(out) - 2, len(out) - 1})
    np.testing.assert_allclose(out[places], by_formula(samples, rate, 24_000, places), atol=2e-6)


@pytest.mark.parametrize("rate", [8_000, 44_100, 44_101, 192_000])
@pytest.mark.parametrize("block", [1_000, 4_097, 50_000])
def test_blocks_do_not_matter(rate, block):
    samples = np.random.default_rng(0).standard_normal(100_003).astype(np.float32)
    np.testing.assert_allclose(resampled(samples, rate, block=block), resampled(samples, rate), atol=2e-6)


def test_an_audible_tone_passes_and_one_above_half_the_new_rate_does_not():
    time = np.arange(44_100) / 44_100
    low, high = (np.sin(2 * np.pi * hz * time).astype(np.float32) for hz in (1_000, 15_000))
    expected = np.sin(2 * np.pi * 1_000 * np.arange(24_000) / 24_000)
    np.testing.assert_allclose(resampled(low, 44_100)[100:-100], expected[100:-100], atol=2e-3)
    assert np.abs(resampled(high, 44_100)[100:-100]).max() < 0.02


def test_the_same_rate_changes_nothing_and_no_sound_stays_none():
    samples = np.random.default_rng(0).standard_normal(1_000).astype(np.float32)
    np.testing.assert_array_equal(resampled(samples, 24_000), samples)
    assert len(resampled(samples[:0], 44_100)) == 0
    assert len(resampled(samples[:1], 44_100)) == 1


@pytest.mark.parametrize("rate", [0, 999, 768_001, 2**31 - 1])
def test_rates_beyond_the_limits_are_refused(rate):
    with pytest.raises(FormatError, match="outside 1000 to 768000"):
        Resampler(rate, 24_000)
