"""MERT: chunks, batches, long files, and folders that are not MERT's."""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from recordings import by_soundfile

from clamp3.errors import ConfigError, FormatError, WeightsError
from clamp3.formats.audio import Sound
from clamp3.models import mert as module
from clamp3.models.mert import CHUNK, Mert, chunks

pytestmark = pytest.mark.kernels

RATE = 24_000


def recording(seconds, seed=0, level=0.1, offset=0.0):
    n = round(seconds * RATE)
    samples = level * np.random.default_rng(seed).standard_normal((n, 1)).astype(np.float32) + np.float32(offset)
    return Sound(by_soundfile(samples, RATE, "WAV", "FLOAT"), f"{seconds} s")


@pytest.fixture(scope="module")
def mert(tiny_mert):
    return Mert(tiny_mert, device="cpu")


def test_chunks_have_zero_mean_and_unit_variance_over_the_whole_file():
    sound = recording(11.5, offset=0.3)
    parts = list(chunks(sound))
    assert [len(part) for part in parts] == [CHUNK, CHUNK, 1.5 * RATE]
    samples = sound.read().astype(np.float64)
    expected = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("seconds", "lengths"), [(1.0, [1.0]), (4.999, [4.999]), (5.0, [5]), (5.999, [5]), (6.0, [5, 1.0]), (10.5, [5, 5])]
)
def test_a_last_chunk_counts_from_one_second_on(seconds, lengths):
    assert [len(part) for part in chunks(recording(seconds))] == [round(length * RATE) for length in lengths]


def test_a_long_file_is_decoded_twice_instead_of_held(monkeypatch):
    sound = recording(17)
    expected = list(chunks(sound))
    monkeypatch.setattr(module, "_KEPT_SEC", 3)
    for one, other in zip(chunks(sound), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_neither_batches_nor_order_matter(mert):
    sounds = [recording(*s) for s in ((12.2, 1), (5.0, 2), (3.1, 3), (0.5, 4), (26.0, 5))]
    alone = [None if i == 3 else mert.features(sound, mean=False, batch_size=1) for i, sound in enumerate(sounds)]
    assert [None if v is None else v.shape for v in alone] == [(3, 3, 32), (3, 1, 32), (3, 1, 32), None, (3, 6, 32)]
    for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0]):
        for batch_size in (None, 3, 64):
            together = list(mert.stream([sounds[i] for i in order], mean=False, batch_size=batch_size))
            assert [place for place, _ in together] == [0, 1, 2, 3, 4]
            for i, (_, value) in zip(order, together, strict=True):
                if i == 3:
                    assert isinstance(value, FormatError)
                else:
                    np.testing.assert_allclose(value, alone[i], atol=1e-5)
    np.testing.assert_allclose(mert.features(sounds[0]), alone[0].mean(0, keepdims=True), atol=1e-6)


def test_a_file_that_breaks_off_costs_only_itself(mert, monkeypatch):
    good, bad = recording(7, 1), recording(12, 2)
    blocks = bad.blocks

    def broken(longest_sec=None):
        yield from blocks(longest_sec)
        if broken.again:
            raise FormatError("broke off")
        broken.again = True

    broken.again = False
    bad.blocks = broken
    monkeypatch.setattr(module, "_KEPT_SEC", 1)
    (_, first), (_, second), (_, third) = mert.stream([good, bad, good], batch_size=3)
    assert isinstance(second, FormatError)
    np.testing.assert_allclose(first, mert.features(good), atol=1e-5)
    np.testing.assert_allclose(third, first, atol=1e-5)


def test_short_and_silent_recordings(mert):
    with pytest.raises(FormatError, match=r"0\.5 s lasts 0\.50 s; at least one second"):
        mert.features(recording(0.5))
    assert np.isfinite(mert.features(recording(6, level=0.0))).all()
    loud, quiet = (mert.features(recording(2, level=level)) for level in (0.1, 0.05))
    np.testing.assert_allclose(loud, quiet, atol=1e-3)


def test_a_folder_of_safetensors_with_new_names_gives_the_same(tiny_mert, mert, tmp_path):
    from safetensors.torch import save_file

    state = torch.load(tiny_mert / "pytorch_model.bin", weights_only=True)
    positions = "encoder.pos_conv_embed.conv."
    for old, new in (("weight_g", "original0"), ("weight_v", "original1")):
        state[f"{positions}parametrizations.weight.{new}"] = state.pop(positions + old)
    shutil.copy(tiny_mert / "config.json", tmp_path)
    save_file(state, tmp_path / "model.safetensors")
    other = Mert(tmp_path, device="cpu")
    np.testing.assert_array_equal(other.features(recording(2)), mert.features(recording(2)))
    assert other.identity != mert.identity


def changed(tiny_mert, tmp_path, **values):
    config = json.loads((tiny_mert / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **values}))
    shutil.copy(tiny_mert / "pytorch_model.bin", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("values", "error", "match"),
    [
        ({"model_type": "bert"}, ConfigError, "type 'bert'"),
        ({"deepnorm": True}, ConfigError, "deepnorm"),
        ({"feature_extractor_cqt": True}, ConfigError, "feature_extractor_cqt"),
        ({"sample_rate": 16_000}, ConfigError, "16000 samples per second"),
        ({"hidden_size": 64}, WeightsError, "32"),
        ({"num_hidden_layers": 3}, WeightsError, "missing"),
        ({"num_hidden_layers": 1}, WeightsError, "unknown"),
    ],
)
def test_other_networks_are_refused(tiny_mert, tmp_path, values, error, match):
    with pytest.raises(error, match=match):
        Mert(changed(tiny_mert, tmp_path, **values), device="cpu").features(recording(2))


def test_absent_and_unsafe_weights(tiny_mert, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match=r"holds no model.safetensors and no pytorch_model.bin"):
        Mert(tmp_path)
    with pytest.raises(WeightsError, match="neither a folder nor a Hugging Face name"):
        Mert(tmp_path / "absent" / "folder")
    with pytest.raises(WeightsError, match=r"nobody/mert is absent: put config.json and pytorch_model.bin of https"):
        Mert("nobody/mert")

    class Evil:
        def __reduce__(self):
            return print, ("run",)

    shutil.copy(tiny_mert / "config.json", tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps({"a": Evil()}))
    with pytest.raises(WeightsError, match="was not opened"):
        Mert(tmp_path, device="cpu").features(recording(2))
    with pytest.raises(ConfigError, match="batch_size is -1"):
        Mert(tiny_mert, device="cpu").features(recording(2), batch_size=-1)
