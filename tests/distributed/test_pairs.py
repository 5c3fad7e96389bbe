"""Two gloo ranks whose pieces have different views: loss and gradients are those of one process with the full batch."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from clamp3.data.views import parse_pairs, towers_of, views_of
from clamp3.models.clamp3 import Clamp3Model
from clamp3.models.config import Clamp3Config, TowerConfig
from clamp3.training.alignment import AlignmentTask
from clamp3.training.device import prepared
from clamp3.training.pair_encoder import PairEncoder

WORLD, ROWS = 2, 4
PAIRS = parse_pairs(["text-symbolic", "text-audio", "abc-mtf"])
CASES = [(False, PAIRS), (True, PAIRS), (False, parse_pairs(["text-abc"]))]
THERE = {"text": "11111111", "abc": "11010111", "mtf": "01110010", "audio": "10110000"}  # rank 1 has no audio


def task(standardise, pairs):
    sizes = {"width": 16, "n_layers": 1, "n_heads": 2, "feed_forward": 32, "dropout": 0.0}
    config = Clamp3Config(
        text=TowerConfig(**sizes, max_length=12, vocab_size=30, type_vocab_size=1, pad_id=1),
        symbolic=TowerConfig(**sizes, max_length=8),
        audio=TowerConfig(**sizes, max_length=8),
        hidden_size=8, text_length=10, symbolic_length=8, audio_length=8,
    )  # fmt: skip
    model = Clamp3Model(config, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5)
    towers = ("text", "symbolic", "audio") if standardise else ()
    frozen = [tower for tower in config.towers if tower == "text" or tower not in towers_of(pairs)]
    encoder = PairEncoder(model, standardise=towers, frozen=frozen).train()
    data = SimpleNamespace(pairs=pairs, views=views_of(pairs), collate=None)
    settings = SimpleNamespace(grad_cache_chunk=0, logit_scale=1.0, max_bad=1.0, distill=0.0, near="")
    return AlignmentTask(settings, encoder, data, None)


def batch(rank=None, pairs=PAIRS):
    rng = torch.Generator().manual_seed(1)
    n = WORLD * ROWS
    values = {
        "text": torch.randint(4, 30, (n, 6), generator=rng),
        "abc": torch.randint(0, 128, (n, 5, 64), generator=rng, dtype=torch.uint8),
        "mtf": torch.randint(0, 128, (n, 4, 64), generator=rng, dtype=torch.uint8),
        "audio": torch.randn(n, 3, 16, generator=rng),
    }
    for view, rows in THERE.items():
        values[f"{view}_mask"] = torch.tensor([[row == "1"] for row in rows]).expand(-1, values[view].shape[1])
    mine = slice(None) if rank is None else slice(rank * ROWS, (rank + 1) * ROWS)
    return {name: value[mine] for name, value in values.items() if name.split("_")[0] in views_of(pairs)}


def one_rank(rank, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD)
    found = []
    accelerator = SimpleNamespace(num_processes=WORLD, ddp_handler=SimpleNamespace(find_unused_parameters=True))
    accelerator.prepare_model = lambda module: DistributedDataParallel(module, **vars(accelerator.ddp_handler))
    for standardise, pairs in CASES:
        made = task(standardise, pairs)
        accelerator.ddp_handler.find_unused_parameters = True
        wrapped = prepared(accelerator, made)
        assert accelerator.ddp_handler.find_unused_parameters == (pairs is PAIRS)
        for _ in range(2):  # what DistributedDataParallel still waits for, it says in the next step
            made.module.zero_grad()
            loss, _ = made.loss(wrapped, batch(rank, pairs))
            loss.backward()
        assert all(parameter.grad is None for parameter in made.module.idle)
        loss = loss.detach().clone()
        torch.distributed.all_reduce(loss)
        found.append((loss / WORLD, {name: p.grad for name, p in made.module.named_parameters() if p.grad is not None}))
    torch.save(found, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("case", range(len(CASES)))
def test_ranks_with_different_sides_equal_one_process(ranks, case):
    made = task(*CASES[case])
    loss, _ = made.loss(made.module, batch(pairs=CASES[case][1]))
    loss.backward()
    expected = {name: p.grad for name, p in made.module.named_parameters() if p.grad is not None}
    music = "audio" if CASES[case][1] is PAIRS else "symbolic"
    assert any(name.startswith(f"model.{music}_model") for name in expected)
    assert not any(name.startswith("model.text") for name in expected)
    for found, gradients in (ranks[rank][case] for rank in range(WORLD)):
        assert found.item() == pytest.approx(loss.item(), abs=1e-6)
        for name, gradient in expected.items():
            torch.testing.assert_close(gradients[name], gradient, atol=2e-6, rtol=0, msg=lambda m, n=name: f"{n}: {m}")
        assert max(gradient.abs().max() for gradient in expected.values()) > 1e-3
