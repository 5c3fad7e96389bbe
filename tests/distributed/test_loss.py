"""Two gloo ranks: the gathered loss and its gradients are those of one process with the full batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp

from clamp3.training.loss import contrastive_loss, gather_with_gradient

WORLD, ROWS, WIDTH = 2, 4, 16


def inputs():
    rng = np.random.Generator(np.random.Philox(11))
    return [torch.from_numpy(rng.standard_normal((WORLD * ROWS, WIDTH), dtype=np.float32)) for _ in range(2)]


def one_rank(rank, store, results):
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=WORLD)
    weight = torch.full((WIDTH,), 0.5, requires_grad=True)
    mine = slice(rank * ROWS, (rank + 1) * ROWS)
    text, music = (gather_with_gradient(side[mine] * weight) for side in inputs())
    loss = contrastive_loss(text, music)
    loss.backward()
    torch.distributed.all_reduce(weight.grad)  # DistributedDataParallel averages
    results.put((rank, loss.item(), (weight.grad / WORLD).tolist()))
    torch.distributed.destroy_process_group()


def test_two_ranks_equal_one_process(tmp_path):
    weight = torch.full((WIDTH,), 0.5, requires_grad=True)
    text, music = inputs()
    expected = contrastive_loss(text * weight, music * weight)
    expected.backward()
    assert weight.grad.abs().max() > 0.1

    results = mp.get_context("spawn").SimpleQueue()
    mp.spawn(one_rank, args=(tmp_path / "store", results), nprocs=WORLD)
    found = sorted(results.get() for _ in range(WORLD))
    assert [rank for rank, _, _ in found] == [0, 1]
    for _, loss, gradient in found:
        assert loss == pytest.approx(expected.item(), abs=1e-6)
        assert gradient == pytest.approx(weight.grad.tolist(), abs=1e-6)
