"""A modality and a family that no library file knows, registered and trained with scores."""

from __future__ import annotations

import io
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pytest
import torch
from torch import nn
from training_music import read_rows, write_music, write_rows

from clamp3 import formats, modalities
from clamp3.data.check_data import Check
from clamp3.data.record_store import Wanted, open_store
from clamp3.data.shards import Resolver
from clamp3.data.views import parse_pairs, views
from clamp3.errors import ConfigError, FormatError
from clamp3.modalities import Modality, Prepared
from clamp3.models import families
from clamp3.models.config import ModelConfig
from clamp3.models.families import Family
from clamp3.models.towers import TowerModel, masked_mean
from clamp3.models.weights import load_model, save_safetensors
from clamp3.training.alignment import make_alignment_task
from clamp3.training.config import Clamp3Training
from clamp3.training.loop import make_accelerator, start_run

WIDTH, PAIRS = 3, ("abc-frames",)


class Frames(Modality):
    """Arrays of frames, float32 (T, 3)."""

    name = "frames"
    kinds = frozenset({formats.register_kind("frames", [])})
    views = MappingProxyType({"frames": ".frm"})

    def prepare(self, payload, front_end=None, *, marked=False):
        try:
            return Prepared(self.name, np.load(io.BytesIO(payload[0])))
        except ValueError as error:
            raise FormatError(f"{payload[2]}: {error}") from None


@dataclass(frozen=True)
class ToyConfig(ModelConfig):
    towers: tuple[str, ...] = ("symbolic", "frames")
    hidden_size: int = 8

    def length(self, name):
        return 6

    def projection(self, name):
        return f"{name}_proj"


class ToyModel(TowerModel):
    """A vector of what a patch or a frame holds on average."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        for name in config.towers:
            self.add_module(f"{name}_proj", nn.Linear(WIDTH if name == "frames" else 64, config.hidden_size))

    def encode(self, modality, inputs, mask=None):
        return inputs.float() / 64

    def pool(self, modality, hidden, mask=None):
        return self.get_submodule(f"{modality}_proj")(masked_mean(hidden, mask))


@pytest.fixture
def music(tmp_path, monkeypatch):
    """Return a JSONL of scores and frames; the last three records name frames that cannot be used."""
    monkeypatch.setitem(formats.SUFFIXES, ".frm", formats.Kind("frames"))
    modalities.register(Frames())
    rows = read_rows(write_music(tmp_path) / "train.jsonl")
    for i, row in enumerate(rows):
        frames = np.random.default_rng(i).standard_normal((2 + i, WIDTH + (i == 21)), dtype=np.float32)
        with (tmp_path / f"{i}.frm").open("wb") as file:
            np.save(file, frames * (np.nan if i == 22 else 1))
        row["filepaths"] = [f"p{i:02d}.abc", f"{i}.frm"]
    (tmp_path / "23.frm").write_bytes(b"no frames")
    yield write_rows(tmp_path / "frames.jsonl", rows)
    del modalities.MODALITIES["frames"]


@pytest.fixture
def weights(tmp_path):
    families.register(Family("toy", "Toy", ToyConfig, ToyModel))
    torch.manual_seed(1)
    save_safetensors(ToyModel(ToyConfig()), ToyConfig(), tmp_path / "toy.safetensors")
    yield tmp_path / "toy.safetensors"
    del families.FAMILIES["toy"]


def test_it_is_a_view_like_any_other(music):
    assert list(views()) == ["text", "abc", "mtf", "symbolic", "audio", "frames"]
    assert Wanted(parse_pairs(PAIRS), 0, "clamp3").in_words == "pair of .abc, .frm"
    assert Clamp3Training(pairs=PAIRS).frozen == ("text", "audio")


def test_files_that_cannot_be_used_are_named(music, tmp_path):
    for _ in range(2):  # indexed, and opened again
        store = open_store(music, tmp_path / "pack", Wanted(parse_pairs(PAIRS), 0, "clamp3"))
        assert (len(store), store.n_problems) == (21, 3)
        assert all(word in why for word, why in zip(("shape (23, 4)", "NaN", "23.frm"), store.problems, strict=True))
        frames = store.music["frames"]
        np.testing.assert_array_equal(frames.read(4, slice(1, 3)), np.load(tmp_path / "4.frm")[1:3])
        assert (frames.length(4), frames.blank.shape, frames.blank.dtype) == (6, (0, WIDTH), np.float32)
    with (tmp_path / "4.frm").open("wb") as file:
        np.save(file, np.zeros((2, WIDTH), np.float32))
    with pytest.raises(FormatError, match=r"4\.frm: \(2, 3\) has changed since the start"):
        frames.read(4, slice(1, 3))
    problems = Check(music, Resolver(tmp_path)).run().problems
    assert any("frames vectors of different width: 21 of 3, 1 of 4" in problem for problem in problems)
    assert sum(".frm" in problem for problem in problems) == 2


@pytest.mark.parametrize("changes", [{}, {"standardise": True, "grad_cache_chunk": 4}, {"freeze_symbolic": True}])
def test_it_trains_with_scores(music, weights, tmp_path, changes):
    config = Clamp3Training(train_jsonl=music, out=tmp_path / "run", pairs=PAIRS, batch_size=6, max_steps=3,
                            warmup_steps=0, learning_rate=0.05, log_every=1, max_bad=0.2, eval_split=0.2,
                            init=(str(weights),), **changes)  # fmt: skip
    task = make_alignment_task(config, make_accelerator(config))
    batch = task.collate([task.train_data[0, i] for i in range(6)])
    assert batch["frames"].shape == (6, 6, WIDTH) and batch["frames_mask"].any(1).all()
    assert batch["abc"].shape[1] == 6  # cropped
    assert start_run(config, make_alignment_task).progress.step == 3
    rows = read_rows(tmp_path / "run/metrics.jsonl")
    assert len([row for row in rows if row["kind"] == "train" and np.isfinite(row["loss"])]) == 3
    assert {"eval_mrr_abc_to_frames", "eval_mrr_frames_to_abc", "eval_frames_dimensions"} <= rows[-1].keys()
    before, after = (load_model(path, PAIRS[0].replace("abc", "symbolic").split("-")).model.state_dict()
                     for path in (weights, tmp_path / "run"))  # fmt: skip
    frozen = {name for name in before if torch.equal(before[name], after[name])}
    assert frozen == ({"symbolic_proj.weight", "symbolic_proj.bias"} if "freeze_symbolic" in changes else set())


def test_a_tower_that_no_file_has_is_missed(music, weights, tmp_path):
    for init, pairs, said in (
        ((), PAIRS, "CLaMP 3 has no tower of frames; name weights"),
        ((str(weights),), ("text-frames",), "this model has no text tower"),
        ((str(weights),) * 2, PAIRS, "--init takes one file of a model that is no CLaMP, got 2"),
    ):
        config = Clamp3Training(train_jsonl=music, out=tmp_path / "run", pairs=pairs, init=init)
        with pytest.raises(ConfigError, match=said):
            make_alignment_task(config, make_accelerator(config))
