"""A modality and a model family of one's own, in 40 lines: encoded, extracted, searched and trained like ours.

What stands between the two marks is all that it takes; no library file is touched.
"""

import inspect
import io
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from training_music import read_rows, write_music, write_rows

from clamp3 import Clamp3, formats, modalities
from clamp3.embedding.extract import extract_folder
from clamp3.index.search import ask
from clamp3.index.vectors import load_folder
from clamp3.models import families
from clamp3.models.config import ModelConfig
from clamp3.models.towers import TowerModel, masked_mean
from clamp3.models.weights import save_safetensors
from clamp3.training.alignment import make_alignment_task
from clamp3.training.config import Clamp3Training
from clamp3.training.loop import start_run


# ---- begin
class Frames(modalities.Modality):
    name, views = "toyframes", {"toyframes": ".toy"}
    kinds = frozenset({formats.register_kind("toyframes", [".toy"])})

    def prepare(self, payload, front_end=None, *, marked=False):
        return modalities.Prepared(self.name, np.load(io.BytesIO(payload[0])))


@dataclass(frozen=True)
class ToyConfig(ModelConfig):
    towers: tuple[str, ...] = ("symbolic", "toyframes")
    hidden_size: int = 8

    def length(self, name):
        return 6


class Toy(TowerModel):
    def __init__(self, config):
        super().__init__()
        self.config = config
        for name in config.towers:
            self.add_module(f"{name}_model", torch.nn.Linear(3 if name == "toyframes" else 64, config.hidden_size))

    def encode(self, modality, inputs, mask=None):
        return inputs.float() / 64

    def pool(self, modality, hidden, mask=None):
        return self.get_submodule(f"{modality}_model")(masked_mean(hidden, mask))


def use(folder, jsonl):
    save_safetensors(Toy(ToyConfig()), ToyConfig(), folder / "toy.safetensors")
    settings = {"pairs": ("abc-toyframes",), "batch_size": 6, "max_steps": 3, "init": (f"{folder}/toy.safetensors",)}
    run = start_run(Clamp3Training(train_jsonl=jsonl, out=folder / "run", **settings), make_alignment_task)
    clamp3 = Clamp3.from_pretrained(folder / "run")
    encoded = clamp3.encode([folder / "3.toy", folder / "p03.abc"])
    summary = extract_folder(clamp3, folder, folder.parent / "features")
    return run, encoded, summary, ask(clamp3, folder / "p03.abc", folder, top_k=99)


# ---- end


# Other tests list the kinds there are.
KIND = formats.Kind.known.pop("toyframes")
del formats.SUFFIXES[".toy"]


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setitem(formats.Kind.known, KIND.value, KIND)
    monkeypatch.setitem(formats.SUFFIXES, ".toy", KIND)
    modalities.register(Frames())
    families.register(families.Family("toy", "Toy", ToyConfig, Toy))
    yield
    del modalities.MODALITIES["toyframes"], families.FAMILIES["toy"]


def test_it_takes_40_lines():
    source = inspect.getsource(sys.modules[__name__])
    lines = source.split("# ---- begin\n")[1].split("# ---- end\n")[0].splitlines()
    assert sum(bool(line.strip()) for line in lines) + 2 <= 40  # with the two registrations


def test_a_modality_and_a_family_of_ones_own(registered, tmp_path):
    folder = tmp_path / "music"
    folder.mkdir()
    rows = read_rows(write_music(folder) / "train.jsonl")
    for i, row in enumerate(rows):
        with (folder / f"{i}.toy").open("wb") as file:
            np.save(file, np.random.default_rng(i).standard_normal((2 + i, 3), dtype=np.float32))
        row["filepaths"] = [f"p{i:02d}.abc", f"{i}.toy"]
    run, encoded, summary, answer = use(folder, write_rows(folder / "pairs.jsonl", rows))
    assert run.progress.step == 3
    assert not any(encoded.errors) and encoded.vectors.shape == (2, 8) and np.isfinite(encoded.vectors).all()
    assert summary.ok >= 2 * len(rows)
    features = load_folder(tmp_path / "features")
    row = features.vectors[features.names.index("3")]
    np.testing.assert_allclose(row, encoded.vectors[0], atol=1e-5)
    names = [hit.name for hit in answer.hits]  # not the query itself
    assert "p03.abc" not in names and "p04.abc" in names and any(name.endswith(".toy") for name in names)
