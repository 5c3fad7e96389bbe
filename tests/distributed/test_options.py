"""What a run may have beyond the published recipe, on two ranks: the weights of one process with the whole batch."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/unit"))

from training_music import free_port  # noqa: E402  (a helper of the unit tests)

NO_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0}
CASES = {
    "many": {"more_jsonl": ("more.jsonl",), "mix": (1, 3), "mask": ("text", "music", "composer"), "near": "composer",
             "near_group": 3, "log_every": 3, "ema": 0.9, "recompute": True, "distill": 0.5,
             "tower_rates": ("text=1e-4",),
             "decay_norms": False},
    "last layers, by the model": {"train_layers": ("text=0", "symbolic=1"), "near": "current", "near_group": 2,
                                  "grad_cache_chunk": 3, "mask": ("composer",), "loss": "sigmoid"},
}  # fmt: skip


def one_rank(rank, world_size, port, folder):
    sys.path.insert(0, str(ROOT / "benchmarks"))
    cases = {name: {"batch_size": 8 // world_size, **NO_DROPOUT, **changes} for name, changes in CASES.items()}
    # In the midst of an epoch; after step 3 quick ranks ask each other whether to stop, slow ones after every step.
    cases["stopped"] = {**cases["many"], "stop": 3}
    importlib.import_module("exactness").one_rank(rank, world_size, port, folder, cases)


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        exactness = importlib.import_module("exactness")
    (folder / "data").symlink_to(data)
    exactness.write_more(data)
    for world_size in (1, 2):
        mp.spawn(one_rank, args=(world_size, int(free_port()), folder), nprocs=world_size)
    return folder, exactness


@pytest.mark.parametrize("name", list(CASES))
def test_two_ranks_train_as_one(runs, name):
    folder, exactness = runs
    loss, weight = exactness.distance(folder / "1" / name, folder / "2" / name)
    assert loss < 2e-5 and weight < 2e-5  # sums come in another order; Adam makes a rounding up to a rate
    averages = [torch.load(folder / n / name / "last.pt", weights_only=True).get("averages", {}) for n in "12"]
    assert bool(averages[0]) == ("ema" in CASES[name])
    for tensor, other in zip(averages[0].values(), averages[1].values(), strict=True):
        torch.testing.assert_close(tensor, other, atol=2e-5, rtol=0)


@pytest.mark.parametrize("n_ranks", ["1", "2"])
def test_a_stop_in_the_midst_of_an_epoch_changes_nothing(runs, n_ranks):
    folder, exactness = runs
    assert not exactness.differing(folder / n_ranks / "many", folder / n_ranks / "stopped")
