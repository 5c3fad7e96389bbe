"""Genre and language probes as of HTCL's paper: extract_clamp3.py and train_cls.py on what an HTCL makes of sounds."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from training_music import write_text_model

from clamp3.models.htcl import HtclModel
from clamp3.models.htcl_config import HtclAudioConfig, HtclConfig
from clamp3.models.sizes import text_tower_of
from clamp3.models.weights import save_safetensors

FRAMES, BINS = 32, 128
GENRES, LANGUAGES, EACH = ("rock", "jazz", "folk"), ("mandarin", "english"), 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with an HTCL of random weights, and mel frames of two tones: one tells genre, one language."""
    folder = tmp_path_factory.mktemp("probes")
    write_text_model(folder)
    torch.manual_seed(0)
    audio = HtclAudioConfig(width=64, n_layers=1, n_heads=2, feed_forward=96, channels=64, n_frames=FRAMES,
                            position_groups=4)  # fmt: skip
    model = HtclModel(HtclConfig(text_tower_of(folder), audio, hidden_size=24, text_length=30))
    save_safetensors(model, model.config, folder / "htcl.safetensors")
    (folder / "mels").mkdir()
    rng, bins = np.random.default_rng(0), np.arange(BINS)
    for genre, low in zip(GENRES, (20, 40, 60), strict=True):
        for language, high in zip(LANGUAGES, (80, 120), strict=True):
            for number in range(EACH):
                tones = sum(np.exp(-(((bins - centre - rng.normal(0, 2)) / 10) ** 2)) for centre in (low, high))
                frames = (0.5 + rng.random((FRAMES, 1))) * tones + 0.1 * rng.standard_normal((FRAMES, BINS))
                frames = (frames - frames.mean()) / frames.std()
                np.save(folder / f"mels/{genre}_{language}_{number}.npy", frames[None].astype(np.float32))
    return folder


@pytest.fixture(scope="module")
def vectors(folder, script):
    arguments = [str(folder / "mels"), str(folder / "vectors"), "--get_global"]
    assert script("code/extract_clamp3.py").main([*arguments, "--model", str(folder / "htcl.safetensors")]) == 0
    return folder / "vectors"


@pytest.mark.parametrize(("place", "classes"), [(0, GENRES), (1, LANGUAGES)], ids=["genre", "language"])
def test_a_probe_tells_genre_and_language(vectors, script, tmp_path, capsys, place, classes):
    """Against the same probe of labels dealt at random, which is at chance."""
    pytest.importorskip("sklearn")
    names = sorted(path.stem for path in vectors.glob("*.npy"))
    assert len(names) == len(GENRES) * len(LANGUAGES) * EACH
    labels = np.array([name.split("_")[place] for name in names])
    found = []
    for dealt in (labels, np.random.default_rng(0).permutation(labels)):
        table = tmp_path / "labels.csv"
        table.write_text("\n".join(["file,label", *map(",".join, zip(names, dealt, strict=True))]) + "\n")
        capsys.readouterr()
        done = script("classification/train_cls.py").main([
            "--train_folder", str(vectors), "--labels", str(table), "--folds", "4", "--num_epochs", "400",
            "--learning_rate", "2", "--batch_size", "12", "--output", str(tmp_path / "probe.pth"), "--json",
        ])  # fmt: skip
        assert done == 0
        said = json.loads(capsys.readouterr().out)
        assert said["classes"] == sorted(classes)
        found.append(said["summary"]["accuracy"]["mean"])
    chance = 1 / len(classes)
    assert found[0] > chance + 0.3 and found[1] < chance + 0.2, found
