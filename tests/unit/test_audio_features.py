"""Recordings through the whole encoder: mel checkpoints, MERT checkpoints, and those who need neither."""

import io
import subprocess
import sys

import numpy as np
import pytest
import torch
from recordings import by_av, by_soundfile, tune

from clamp3.embedding.clamp3 import Clamp3
from clamp3.formats import Kind
from clamp3.formats.audio import Sound
from clamp3.formats.mel import log_mel
from clamp3.jobs.cache import VectorCache
from clamp3.models.mert import Mert
from clamp3.models.weights import load_model
from clamp3.sources import samples_source

TOLERANCE = 5e-6
RATE = 24_000


def wav(seconds, seed=0):
    return by_soundfile(tune(seconds, rate=RATE, seed=seed), RATE, "WAV", "FLOAT")


@pytest.fixture(scope="module")
def mel(tiny_mel):
    return Clamp3.from_pretrained(tiny_mel)


@pytest.fixture(scope="module")
def mert(tiny_weights, tiny_mert):
    return Clamp3.from_pretrained(tiny_weights, mert_model=tiny_mert)


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue(), Kind.FEATURES


@pytest.mark.kernels
def test_mel_vectors_are_those_of_the_chunks_between_two_zeros(mel, tiny_mel):
    samples = tune(11, rate=RATE)
    chunks = torch.from_numpy(log_mel(samples.mean(axis=1)))
    zero = torch.zeros(1, chunks.shape[1])
    with torch.inference_mode():
        model = load_model(tiny_mel, ("audio",)).model
        expected = model.features("audio", torch.cat([zero, chunks, zero])[None])[0]
    assert len(chunks) == 3
    encoded = mel.encode([(wav(11), Kind.AUDIO)])
    assert encoded.errors == [None]
    np.testing.assert_allclose(encoded.vectors[0], expected, atol=TOLERANCE)


@pytest.mark.kernels
@pytest.mark.parametrize("name", ["mel", "mert"])
def test_paths_bytes_arrays_and_features_give_one_vector(name, request, tmp_path, tiny_mert):
    clamp3, samples = request.getfixturevalue(name), tune(12, rate=RATE)
    path = tmp_path / "a.FLAC"
    path.write_bytes(wav(12))  # its suffix lies
    sound = Sound(path, "a")
    features = log_mel(sound.read())[None] if name == "mel" else Mert(tiny_mert, device="cpu").features(sound)
    items = [path, (path.read_bytes(), Kind.AUDIO), (samples, RATE), (samples.astype(np.float64), RATE), npy(features)]
    encoded = clamp3.encode([*items, (samples.mean(axis=1), RATE)])
    assert encoded.errors == [None] * 6
    for vector in encoded.vectors[1:5]:
        np.testing.assert_allclose(vector, encoded.vectors[0], atol=TOLERANCE)
    np.testing.assert_allclose(encoded.vectors[5], encoded.vectors[0], atol=1e-4)
    half = clamp3.encode([npy(features.astype(np.float16))]).vectors[0]
    assert half @ encoded.vectors[0] / np.linalg.norm(half) / np.linalg.norm(encoded.vectors[0]) > 0.999


@pytest.mark.parametrize("name", ["mel", "mert"])
def test_neither_order_nor_company_nor_workers_matter(name, request):
    clamp3 = request.getfixturevalue(name)
    items = [(wav(seconds, seed), Kind.AUDIO) for seed, seconds in enumerate((2.0, 31.0, 7.5, 12.0))]
    together = clamp3.encode(items, n_workers=2).vectors
    np.testing.assert_allclose(clamp3.encode(items[::-1], n_workers=1).vectors[::-1], together, atol=TOLERANCE)
    for item, vector in zip(items, together, strict=True):
        np.testing.assert_allclose(clamp3.encode([item]).vectors[0], vector, atol=TOLERANCE)
    assert len(np.unique(together.round(4), axis=0)) == 4


@pytest.mark.parametrize("name", ["mel", "mert"])
def test_a_bad_recording_costs_only_itself(name, request, tmp_path):
    clamp3 = request.getfixturevalue(name)
    (tmp_path / "empty.mp3").write_bytes(b"")
    (tmp_path / "text.wav").write_text("no sound at all")
    silent = np.zeros((2 * RATE, 2), np.float32)
    nan = np.full(2 * RATE, np.nan, np.float32)
    loud = 3e38 * np.ones((2 * RATE, 2), np.float32)
    bad = [tmp_path / "empty.mp3", tmp_path / "text.wav", (nan, RATE), (b"", Kind.AUDIO), (np.zeros((99, 99)), RATE)]
    reasons = ["is empty", "no recording", "NaN", "is empty", "too many channels"]
    encoded = clamp3.encode([*bad, (silent, RATE), (loud, RATE), "slow song"])
    for error, reason in zip(encoded.errors, reasons, strict=False):
        assert reason in error
    assert encoded.errors[5] is None and encoded.errors[7] is None
    assert np.isfinite(encoded.vectors[encoded.ok]).all()
    short = clamp3.encode([(tune(0.5, rate=RATE), RATE)]).errors[0]
    assert short is None if name == "mel" else "at least one second" in short


def test_a_damaged_recording_says_so(mel):
    whole = by_av(tune(8), 44_100, "adts", "aac")
    cut = mel.encode([(whole[: len(whole) // 2], Kind.AUDIO)])
    assert cut.errors == [None] and "damaged packets" in cut.notes[0][0]


def test_without_mert_recordings_have_a_reason_and_the_rest_its_vectors(tiny_weights, tiny_mel, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for model in (None, tmp_path):
        clamp3 = Clamp3.from_pretrained(tiny_weights, mert_model=model, cache=tmp_path / "cache")
        encoded = clamp3.encode([(wav(2), Kind.AUDIO), "slow song", (wav(3), Kind.AUDIO)])
        assert encoded.errors[1] is None
        assert "recordings need MERT" in encoded.errors[0] and "huggingface.co/m-a-p/MERT-v1-95M" in encoded.errors[0]
        assert "recordings need MERT" in encoded.errors[2]
    assert Clamp3.from_pretrained(tiny_mel).encode([(wav(2), Kind.AUDIO)]).errors == [None]


def test_a_damaged_mert_is_a_reason(tiny_weights, tmp_path, tiny_mert):
    (tmp_path / "config.json").write_bytes((tiny_mert / "config.json").read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"damaged")
    encoded = Clamp3.from_pretrained(tiny_weights, mert_model=tmp_path).encode([(wav(2), Kind.AUDIO), "slow song"])
    assert "no file of tensors" in encoded.errors[0] and encoded.errors[1] is None


@pytest.mark.kernels
def test_the_cache_knows_what_a_recording_was_heard_through(tiny_weights, tiny_mert, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(wav(3))
    cache = VectorCache(tmp_path / "cache")
    hits = []
    for dtype in ("float32", "float32", "bfloat16"):
        clamp3 = Clamp3.from_pretrained(tiny_weights, mert_model=tiny_mert, cache=cache, dtype=dtype)
        (result,) = clamp3.stream([path])
        hits.append(result.cached)
    assert hits == [False, True, False]
    plain, recording = (clamp3.identity_of(kind) for kind in (Kind.ABC, Kind.AUDIO))
    assert plain == clamp3.identity and "mert-" in recording and recording.startswith(plain)
    path.write_bytes(wav(4))
    assert not next(iter(clamp3.stream([path]))).cached


def test_what_samples_may_be():
    for bad in (np.zeros(9, np.int64), np.zeros((2, 2, 2)), np.zeros((9, 0))):
        with pytest.raises(Exception, match=r"samples are floats|samples have shape"):
            samples_source(bad, RATE)
    with pytest.raises(Exception, match="no sampling rate"):
        samples_source(np.zeros(9), 0.5)


def test_words_and_scores_load_no_audio_code(tiny_weights, music):
    code = f"""
import sys
from clamp3.embedding.clamp3 import Clamp3
encoded = Clamp3.from_pretrained({str(tiny_weights)!r}).encode(["slow song", {str(music / "long.abc")!r}])
assert encoded.errors == [None, None], encoded.errors
heavy = {{"soundfile", "av", "clamp3.formats.audio", "clamp3.models.mert", "transformers.models.hubert"}}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_a_mert_of_another_width_is_a_reason(tiny_mel, tiny_mert, tmp_path):
    from clamp3.models.clamp3 import Clamp3Model
    from clamp3.models.config import Clamp3Config, TowerConfig
    from clamp3.models.weights import save_safetensors

    tower = TowerConfig(width=16, n_layers=1, n_heads=2, feed_forward=16, max_length=6)
    config = Clamp3Config(audio=tower, hidden_size=8, audio_length=6)
    save_safetensors(Clamp3Model(config), config, tmp_path / "narrow.safetensors")
    encoded = Clamp3.from_pretrained(tmp_path / "narrow.safetensors", mert_model=tiny_mert).encode(
        [(wav(2), Kind.AUDIO)]
    )
    assert "have width 32, the audio tower takes 16" in encoded.errors[0]
