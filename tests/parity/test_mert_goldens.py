"""MERT's features against those of the published code, on a small network with weights made from their names."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from seeded import GOLDEN, seeded

from clamp3.formats.audio import Sound
from clamp3.models.mert import Mert

pytestmark = pytest.mark.kernels

MERT = GOLDEN.parent / "mert"
SHARED = Path(__file__).resolve().parents[3] / "shared" / "golden" / "mert"
LAYERS, MEAN = np.load(MERT / "tone_mert_layers.npy"), np.load(MERT / "tone_mert.npy")


def released_weight(name, shape):
    """Return a tensor as the golden's maker drew it."""
    values = seeded(name, shape)
    if name.endswith("conv.weight"):
        return 10 * values
    return 0.5 + 10 * values.abs() if name.endswith("weight_g") else values


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder as published: config.json and pytorch_model.bin with the old weight-norm names."""
    path = tmp_path_factory.mktemp("mert")
    shutil.copy(MERT / "config.json", path)
    shapes = json.loads((MERT / "manifest.json").read_text(encoding="utf-8"))
    assert "encoder.pos_conv_embed.conv.weight_g" in shapes
    torch.save({name: released_weight(name, shape) for name, shape in shapes.items()}, path / "pytorch_model.bin")
    return path


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_features_are_those_of_the_published_code(folder, batch_size):
    mert, tone = Mert(folder, device="cpu"), Sound(MERT / "tone.flac", "tone")
    layers = mert.features(tone, mean=False, batch_size=batch_size)
    assert layers.shape == LAYERS.shape == (5, 3, 96)  # two chunks of 5 s and one of 2.6 s
    np.testing.assert_allclose(layers, LAYERS, atol=1e-5)
    np.testing.assert_allclose(mert.features(tone, batch_size=batch_size), MEAN, atol=1e-5)


def test_bfloat16_points_the_same_way(folder):
    features = Mert(folder, device="cpu", dtype="bfloat16").features(Sound(MERT / "tone.flac", "tone"))
    cosines = (features * MEAN).sum(-1) / np.linalg.norm(features, axis=-1) / np.linalg.norm(MEAN, axis=-1)
    assert cosines.min() > 0.999 and not np.array_equal(features, MEAN)


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared")
def test_the_published_file_itself():
    layers = Mert(SHARED, device="cpu").features(Sound(SHARED / "tone.wav", "tone"), mean=False)
    np.testing.assert_allclose(layers, LAYERS, atol=1e-5)
