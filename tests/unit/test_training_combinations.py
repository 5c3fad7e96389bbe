"""Options drawn at random, together: a run that was stopped and goes on has the weights of one that was not."""

import importlib
import shutil
from pathlib import Path

import pytest
import torch
from training_music import write_music, write_text_model

ROOT = Path(__file__).resolve().parents[2]
# As a user reported it, and combinations by seed.
REPORTED = {"batch_size": 8, "grad_cache_chunk": 3, "accumulate": 3, "workers": 1, "mixed_precision": "bf16",
            "loss": "sigmoid", "schedule": "cosine", "max_grad_norm": 1.0, "max_steps": 9}  # fmt: skip


@pytest.fixture
def exactness(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("exactness")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_text_model(folder)
    return write_music(folder)


@pytest.fixture
def more(data, exactness, tmp_path):
    """Return a folder of its own, as what it holds is changed."""
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    exactness.write_more(folder)
    return folder


@pytest.mark.parametrize("case", ["reported", 1, 2, 5, 9])
def test_stopped_and_gone_on_is_bit_for_bit_the_same(exactness, more, tmp_path, case):
    options = REPORTED if case == "reported" else exactness.drawn(case)
    exactness.train(more, tmp_path / "whole", **options)
    exactness.train(more, tmp_path / "stopped", stop=4 if case == "reported" else exactness.STOP, **options)
    assert not exactness.differing(tmp_path / "whole", tmp_path / "stopped"), options


def test_a_difference_is_seen(exactness, data, tmp_path):
    for name, seed in (("one", 1), ("other", 2)):
        exactness.train(data, tmp_path / name, seed=seed, max_steps=2)
    assert len(exactness.differing(tmp_path / "one", tmp_path / "other")) > 10
    assert exactness.distance(tmp_path / "one", tmp_path / "other")[1] > 0.01


def test_seeds_draw_every_choice(exactness):
    found = [exactness.drawn(seed) for seed in range(40)]
    for name, values in exactness.CHOICES.items():
        assert {repr(combination[name]) for combination in found} == {repr(value) for value in values}


def test_biases_without_a_gradient_do_not_move(exactness, data, tmp_path):
    """Standardising takes shifts of all vectors away: Adam would walk along the noise of their gradient."""
    exactness.train(data, tmp_path / "run", standardise=True, max_steps=3)
    state = torch.load(tmp_path / "run/last.pt", weights_only=True)["model"]
    start = tmp_path / "start"
    exactness.train(data, start, standardise=True, max_steps=1)
    begin = torch.load(start / "last.pt", weights_only=True)["model"]
    still = ("_proj.bias", "self.key.bias", "layer.0.output.LayerNorm.bias")
    biases = [name for name in state if name.endswith(still)]
    assert len(biases) == 6 and all(torch.equal(state[name], begin[name]) for name in biases)
    assert not torch.equal(state["model.text_proj.weight"], begin["model.text_proj.weight"])
