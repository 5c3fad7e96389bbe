"""Two gloo ranks: every loss and every gradient is that of one process with the full batch, cached or not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from clamp3.training.gradcache import average_gradients, cached_backward, chunks
from clamp3.training.loss import Objective, contrastive_loss, gather_with_gradient, own_rows

pytestmark = pytest.mark.kernels

WORLD, ROWS, WIDTH = 2, 6, 16
KINDS = ("infonce", "cosine", "sigmoid")
ABSENT = (1, 7, 8)  # rows that have no music: two thirds of rank 1's pairs and one of rank 0's


class Towers(nn.Module):
    """Two small towers whose vectors a loss compares."""

    def __init__(self, kind, dropout=0.0):
        super().__init__()
        torch.manual_seed(3)
        self.text = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Dropout(dropout), nn.Linear(WIDTH, 8))
        self.music = nn.Sequential(nn.Linear(WIDTH, 8), nn.Dropout(dropout))
        self.objective = Objective(kind)

    def forward(self, batch):
        return {"text": self.text(batch["text"]), "music": self.music(batch["music"])}

    def compare(self, vectors, present):
        present = gather_with_gradient(present.float()).detach() > 0
        text, music = (gather_with_gradient(vectors[side])[present] for side in ("text", "music"))
        return self.objective(text, music, own_rows(present)), {}


def batch():
    rng = np.random.Generator(np.random.Philox(11))
    sides = [torch.from_numpy(rng.standard_normal((WORLD * ROWS, WIDTH), dtype=np.float32)) for _ in range(2)]
    present = torch.ones(WORLD * ROWS)
    present[list(ABSENT)] = 0
    return {"text": sides[0], "music": sides[1], "present": present}


def gradients(kind, *, chunk=0, rank=None, dropout=0.0, graph=True):
    """Return (loss, gradient of every parameter), on the whole batch or on a rank's rows."""
    model, rows = Towers(kind, dropout), batch()
    if rank is not None:
        rows = {name: value[rank * ROWS : (rank + 1) * ROWS] for name, value in rows.items()}
        torch.manual_seed(rank)
    if chunk and not graph:
        loss, _ = cached_backward(
            model, lambda vectors: model.compare(vectors, rows["present"]), chunks(rows, chunk), torch.Tensor.backward
        )
    else:
        parts = [model(part) for part in chunks(rows, chunk or len(rows["text"]))]
        vectors = {side: torch.cat([part[side] for part in parts]) for side in ("text", "music")}
        loss, _ = model.compare(vectors, rows["present"])
        loss.backward()
    if rank is not None:
        average_gradients(model.parameters())
        loss = loss.detach().clone()
        torch.distributed.all_reduce(loss)
        loss /= WORLD
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters()}


def one_rank(rank, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD)
    found = {}
    for kind in KINDS:
        found[kind] = gradients(kind, rank=rank)
        found[f"{kind} cached"] = gradients(kind, rank=rank, chunk=4, graph=False)
        for name, graph in (("graph", True), ("cache", False)):
            found[f"{kind} dropout {name}"] = gradients(kind, rank=rank, chunk=4, graph=graph, dropout=0.4)
    torch.save(found, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def assert_equal(found, expected):
    assert found[0] == pytest.approx(expected[0], abs=1e-6)
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-6, rtol=0, msg=lambda m, n=name: f"{n}: {m}")
        assert gradient.abs().max() > 1e-4, f"{name} has no gradient to compare"


@pytest.mark.parametrize("way", ["", " cached"])
@pytest.mark.parametrize("kind", KINDS)
def test_two_ranks_equal_one_process(ranks, kind, way):
    expected = gradients(kind)
    for rank in range(WORLD):
        assert_equal(ranks[rank][kind + way], expected)


@pytest.mark.parametrize("kind", KINDS)
def test_cached_gradients_equal_plain_ones_with_dropout_on_two_ranks(ranks, kind):
    for rank in range(WORLD):
        assert_equal(ranks[rank][f"{kind} dropout cache"], ranks[rank][f"{kind} dropout graph"])
    assert ranks[0][f"{kind} dropout graph"][0] != pytest.approx(gradients(kind)[0], abs=1e-3)  # dropout acts


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("kind", KINDS)
def test_cached_gradients_equal_plain_ones_in_one_process(kind, dropout):
    torch.manual_seed(9)
    state = torch.get_rng_state()
    plain = gradients(kind, chunk=5, dropout=dropout)
    after = torch.rand(1)
    torch.set_rng_state(state)
    assert_equal(gradients(kind, chunk=5, dropout=dropout, graph=False), plain)
    if dropout == 0:
        assert_equal(gradients(kind), plain)
    assert torch.rand(1) == after  # later draws are those of a plain step


def test_objectives_by_hand():
    text, music = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    # Raw products 2 on the diagonal, 0 beside it; by cosine 1 and 0.
    log = np.log1p
    assert Objective("infonce")(text, music).item() == pytest.approx(log(np.exp(-2)), abs=1e-6)
    assert Objective("infonce", 0.5)(text, music).item() == pytest.approx(log(np.exp(-1)), abs=1e-6)
    assert Objective("cosine")(text, music).item() == pytest.approx(log(np.exp(-1 / 0.07)), abs=1e-6)
    # Scale 10, bias -10: logits 0 for the pair, -10 for the other.
    assert Objective("sigmoid")(text, music).item() == pytest.approx(log(1) + log(np.exp(-10)), abs=1e-6)
    assert contrastive_loss(text, text).item() == pytest.approx((log(np.exp(-1)) + log(np.exp(-4))) / 2, abs=1e-6)


def test_the_learned_scale_is_clamped_and_can_fall_again():
    objective = Objective("cosine")
    with torch.no_grad():
        objective.log_scale.fill_(7.0)
    rng = torch.Generator().manual_seed(0)
    text = torch.randn(8, 4, generator=rng)
    objective(text, torch.randn(8, 4, generator=rng)).backward()
    assert objective.log_scale.item() == pytest.approx(np.log(100), abs=1e-5)
    assert objective.log_scale.grad > 0.1  # vectors at random: a smaller scale is better


def test_the_published_loss_learns_nothing_of_its_own():
    assert list(Objective("infonce").state_dict()) == []
