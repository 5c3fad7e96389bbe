"""HTCL in the encoder: its mel frames, recordings, passages, feature files and sentences."""

import json

import numpy as np
import pytest
import soundfile
import torch
from recordings import tune
from training_music import write_text_model

from clamp3 import Clamp3
from clamp3.errors import ConfigError
from clamp3.formats import Kind
from clamp3.formats.htcl_mel import HtclMel
from clamp3.formats.mel import MelSpectrum, decibels
from clamp3.models.config import TowerConfig
from clamp3.models.htcl import HtclModel
from clamp3.models.htcl_config import HtclAudioConfig, HtclConfig
from clamp3.models.sizes import text_tower_of
from clamp3.models.weights import load_model, save_safetensors

AUDIO = HtclAudioConfig(width=32, n_layers=1, n_heads=2, feed_forward=48, channels=16, position_groups=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with an HTCL checkpoint, its tokenizer and two recordings."""
    folder = tmp_path_factory.mktemp("htcl")
    write_text_model(folder)
    text = text_tower_of(folder)
    torch.manual_seed(0)
    model = HtclModel(HtclConfig(text, AUDIO, hidden_size=10, text_length=30, fusion=True))
    save_safetensors(model, model.config, folder / "htcl.safetensors")
    for name, seconds in (("long", 130), ("short", 9)):
        soundfile.write(folder / f"{name}.wav", tune(seconds, 24_000, 1, seed=seconds), 24_000, subtype="FLOAT")
    return folder


@pytest.fixture(scope="module")
def htcl(folder):
    return Clamp3.from_pretrained(folder / "htcl.safetensors", device="cpu")


def blocks(seconds, size=100_000):
    sound = tune(seconds, 24_000, 1)[:, 0]
    return [sound[at : at + size] for at in range(0, len(sound), size)]


def test_frames_are_those_of_librosa():
    librosa = pytest.importorskip("librosa")
    sound = tune(10, 16_000, 1)[:, 0]
    power = librosa.feature.melspectrogram(y=sound, sr=16_000, n_fft=2048, hop_length=1536, n_mels=128, fmin=30)
    expected = librosa.power_to_db(power, top_db=80.0).T
    levels = decibels(MelSpectrum(16_000, 2048, 1536, 128, low_hz=30, centred=True).powers([sound[:7], sound[7:]]))
    np.testing.assert_allclose(levels, expected, atol=2e-3)


def test_a_piece_is_two_minutes_filled_up_and_standardised():
    whole = HtclMel().piece(blocks(130))
    assert len(HtclMel().frames(blocks(120))) == 1251 and whole.shape == (1251, 128)
    short, levels = HtclMel().piece(blocks(9)), HtclMel().frames(blocks(9))
    filled = np.full((1251, 128), levels.max() - 80.0)
    filled[: len(levels)] = levels
    np.testing.assert_allclose(short, (filled - filled.mean()) / filled.std(), atol=1e-5)
    assert len(levels) == 1 + 9 * 24_000 // 2304 and (short[len(levels) :] == short.min()).all()
    assert np.isfinite(HtclMel().piece([np.zeros(24_000, np.float32)])).all()
    np.testing.assert_allclose(HtclMel().piece(blocks(9, 1_001)), short, atol=1e-4)


def test_what_is_left_open_is_an_option():
    levels = [HtclMel(**options).frames(blocks(5)) for options in ({}, {"rate_hz": 22_050}, {"low_hz": 50.0})]
    assert [len(part) for part in levels] == [53, 53, 53]
    assert not np.allclose(levels[0], levels[1], atol=1) and not np.allclose(levels[0], levels[2], atol=1)
    for wrong in ({"rate_hz": 10}, {"low_hz": 9_000.0}, {"high_hz": 8_001.0}):
        with pytest.raises(ConfigError):
            HtclMel(**wrong)


def test_recordings_features_and_words(folder, htcl, script, tmp_path):
    main = script("preprocessing/audio/extract_mel.py").main
    flags = ["--input_path", str(folder), "--output_path", str(tmp_path / "out")]
    assert main([*flags, "--form", "htcl"]) == 0
    with pytest.raises(ConfigError, match="cannot be mixed"):
        main([*flags, "--form", "htcl", "--rate_hz", "22050"])
    with pytest.raises(ConfigError, match="--low_hz needs --form htcl"):
        main([*flags, "--low_hz", "20"])
    feature = np.load(tmp_path / "out/short.npy")
    assert feature.shape == (1, 1251, 128) and feature.dtype == np.float16
    items = [folder / "short.wav", tmp_path / "out/short.npy", "Piece key C", folder / "long.wav"]
    encoded = htcl.encode(items)
    assert encoded.errors == [None] * 4 and encoded.vectors.shape == (4, 10)
    np.testing.assert_allclose(encoded.vectors[1], encoded.vectors[0], atol=2e-3)  # half precision in the file
    model = load_model(folder / "htcl.safetensors", ("text", "audio")).model
    frames = torch.from_numpy(
        HtclMel().piece([soundfile.read(folder / "long.wav", dtype="float32")[0][: 120 * 24_000]])
    )
    with torch.no_grad():
        expected = model.audio_mlp(model.audio_model(frames[None]).mean(1))[0]
    np.testing.assert_allclose(encoded.vectors[3], expected.numpy(), atol=1e-5)
    assert "htclmel-16000-0-0" in htcl.identity_of(Kind.AUDIO)


def test_a_passage_is_a_recording_of_its_length(htcl, folder):
    encoded = htcl.encode([folder / "long.wav"], windows_sec=30, hop_sec=30)
    assert len(encoded.passages) == 5 and np.isfinite(encoded.vectors).all()
    sound, rate = soundfile.read(folder / "long.wav", dtype="float32")
    alone = htcl.encode([(sound[30 * rate : 60 * rate], rate)]).vectors[0]
    ours = encoded.vectors[1]
    assert ours @ alone / np.linalg.norm(ours) / np.linalg.norm(alone) > 0.999
    together = htcl.encode([folder / "short.wav", folder / "long.wav"], windows_sec=30, hop_sec=30)
    np.testing.assert_allclose(together.vectors[1:], encoded.vectors, atol=1e-5)


def test_bfloat16_is_close(folder, htcl):
    items = ["Piece key C", folder / "short.wav"]
    exact, coarse = (
        encoder.encode(items).vectors
        for encoder in (htcl, Clamp3.from_pretrained(folder / "htcl.safetensors", dtype="bfloat16", device="cpu"))
    )
    np.testing.assert_allclose(coarse, exact, atol=0.05)


def test_the_vectors_of_an_encoder_without_heads_are_its_means(tmp_path, folder):
    torch.manual_seed(1)
    model = HtclModel(HtclConfig(audio=AUDIO, hidden_size=32, heads=False)).eval()
    save_safetensors(model, model.config, tmp_path / "a.safetensors")
    encoded = Clamp3.from_pretrained(tmp_path / "a.safetensors", device="cpu").encode([folder / "short.wav", "words"])
    assert encoded.vectors.shape == (2, 32) and "needs the text tower" in encoded.errors[1]
    assert np.isfinite(encoded.vectors[0]).all()


@pytest.mark.parametrize(
    "wrong", [{"n_heads": 5}, {"strides": (2, 2)}, {"n_frames": 9}, {"position_kernel": 4}, {"dropout": 1.0}]
)
def test_sizes_that_do_not_fit(wrong):
    with pytest.raises(ConfigError):
        HtclAudioConfig(**wrong)


def test_sizes_travel_as_json():
    config = HtclConfig(TowerConfig(width=32, n_heads=2), AUDIO, fusion=True)
    assert HtclConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config.restrict(["audio"]).towers == ("audio",) and not config.restrict(["audio"]).fusion
    with pytest.raises(ConfigError, match="no symbolic tower"):
        config.length("symbolic")
