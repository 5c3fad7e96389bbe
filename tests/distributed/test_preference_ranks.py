"""Two gloo ranks of preference training: loss and gradients are those of one process with the full batch."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from clamp3.data.views import parse_pairs
from clamp3.models.clamp3 import Clamp3Model
from clamp3.models.config import Clamp3Config, TowerConfig
from clamp3.training.htcl_config import MASKS
from clamp3.training.pair_encoder import PairEncoder
from clamp3.training.preference_config import PreferenceTraining
from clamp3.training.preference_task import PreferenceTask
from clamp3.training.song_loss import FalseNegatives, HtclObjective

WORLD, ROWS, N_SONGS = 2, 3, 8
PAIRS = parse_pairs(["text-symbolic", "text-audio"])
# Triggers of all, then what they lead to; the last pair has no symbolic music, and one pair lost a file.
THERE = {"text": "111111111111", "symbolic": "110110110110", "audio": "101101101001"}
CASES = [(False, 0.0), (True, 0.0), (True, 0.5)]  # false negatives left out; weight of the distillation


def task(masked, distill):
    """Return it in float64, as of HTCL: what ranks add in another order is then far below what is compared."""
    sizes = {"width": 16, "n_layers": 1, "n_heads": 2, "feed_forward": 32, "dropout": 0.0}
    config = Clamp3Config(
        text=TowerConfig(**sizes, max_length=12, vocab_size=30, type_vocab_size=1, pad_id=1),
        symbolic=TowerConfig(**sizes, max_length=8),
        audio=TowerConfig(**sizes, max_length=8),
        hidden_size=8, text_length=10, symbolic_length=8, audio_length=8,
    )  # fmt: skip
    model = Clamp3Model(config, generator=torch.Generator().manual_seed(5)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5)
    encoder = PairEncoder(model, frozen=("text",)).train().double()
    links = np.array([[0, 3], [2, 5], [4, 6]])
    encoder.objective = HtclObjective(
        2,
        weights=(2.0, 1.0, 0.5),
        negatives=FalseNegatives(MASKS, links, [()] * 6 + [("a",)] * 2) if masked else None,
    ).double()
    data = SimpleNamespace(pairs=PAIRS, views=("text", "symbolic", "audio"), collate=None)
    made = PreferenceTask(PreferenceTraining(distill=distill, max_bad=1.0), encoder, data, None)
    with torch.no_grad():  # not at the start any more, where the distance has no gradient
        rng = torch.Generator().manual_seed(7)
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng).double())
    return made


def batch(rank=None):
    """Return the songs of a rank, or of all: the triggers of all pairs, then the others."""
    rng = torch.Generator().manual_seed(1)
    n = 2 * WORLD * ROWS
    values = {
        "text": torch.randint(4, 30, (n, 6), generator=rng),
        "symbolic": torch.randint(0, 128, (n, 5, 64), generator=rng, dtype=torch.uint8),
        "audio": torch.randn(n, 3, 16, generator=rng).double(),
        "song": torch.randint(0, N_SONGS, (n,), generator=rng),
    }
    for view, rows in THERE.items():
        values[f"{view}_mask"] = torch.tensor([[row == "1"] for row in rows]).expand(-1, values[view].shape[1])
    if rank is None:
        return values
    mine = torch.cat([torch.arange(ROWS) + rank * ROWS + part * WORLD * ROWS for part in range(2)])
    return {name: value[mine] for name, value in values.items()}


def gradients(made):
    return {name: p.grad for name, p in made.module.named_parameters() if p.grad is not None}


def one_rank(rank, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD)
    found = []
    for case in CASES:
        made = task(*case)
        wrapped = DistributedDataParallel(made.module, find_unused_parameters=True)
        loss, _ = made.loss(wrapped, batch(rank))
        loss.backward()
        loss = loss.detach().clone()
        torch.distributed.all_reduce(loss)
        found.append((loss / WORLD, gradients(made)))
    torch.save(found, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("case", range(len(CASES)))
def test_two_ranks_equal_one_process(ranks, case):
    masked, distill = CASES[case]
    made = task(masked, distill)
    loss, measures = made.loss(made.module, batch())
    if masked and not distill:
        assert loss.item() < task(False, 0.0).loss(made.module, batch())[0].item() - 0.01
    assert ("loss_distill" in measures) == bool(distill)
    assert measures.get("loss_distill", torch.tensor(1.0)) > 1e-3
    loss.backward()
    expected = gradients(made)
    assert {name.split("_")[0] for name in expected} >= {"model.symbolic", "model.audio", "objective.tau"}
    assert not any(name.startswith("model.text") for name in expected)
    assert max(gradient.abs().max() for gradient in expected.values()) > 1e-3
    for found, theirs in (ranks[rank][case] for rank in range(WORLD)):
        assert found.item() == pytest.approx(loss.item(), rel=1e-6)
        assert theirs.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(theirs[name], gradient, atol=1e-6, rtol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
