"""Two gloo ranks of HTCL's stages: loss and gradients are those of one process with the full batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from clamp3.models.config import TowerConfig
from clamp3.models.htcl import HtclModel
from clamp3.models.htcl_config import HtclAudioConfig, HtclConfig
from clamp3.training.htcl_config import MASKS
from clamp3.training.htcl_task import HtclObjective, HtclTrainer
from clamp3.training.song_loss import FalseNegatives

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/unit"))

from training_music import free_port  # noqa: E402  (a helper of the unit tests)
from training_songs import SMALL, flags_of, write_songs  # noqa: E402

WORLD, ROWS = 2, 3
CASES = [(1, False, False), (2, False, False), (1, True, False), (2, True, False), (1, False, True), (2, False, True)]


def trainer(stage, detach, masked):
    """Return it in float64: what ranks add in another order than one process is then far below what is compared."""
    torch.manual_seed(4)
    audio = HtclAudioConfig(width=16, n_layers=1, n_heads=2, feed_forward=24, channels=8, n_bins=6, n_frames=40,
                            position_groups=4, dropout=0.0)  # fmt: skip
    text = TowerConfig(width=16, n_layers=1, n_heads=2, feed_forward=24, max_length=8, vocab_size=30, dropout=0.0)
    model = HtclModel(HtclConfig(text, audio, hidden_size=8, text_length=8, fusion=stage == 2))
    negatives = FalseNegatives(MASKS, np.array([[0, 3], [2, 5]]), [()] * 6 + [("a",)] * 2) if masked else None
    return HtclTrainer(model, HtclObjective(stage, detach_negatives=detach, negatives=negatives)).train().double()


def batch(stage, rank=None):
    """Return the songs of a rank, or of all: of stage 2 the triggers of all, then the others."""
    rng = torch.Generator().manual_seed(1)
    n = WORLD * ROWS * stage
    values = {
        "audio": torch.nn.functional.pad(torch.randn(n, 40, 6, generator=rng).double(), (0, 0, 1, 1)),
        "text": torch.randint(4, 30, (n, 7), generator=rng),
        "text_mask": torch.arange(7)[None] < torch.randint(3, 8, (n, 1), generator=rng),
        "song": torch.randint(0, 8, (n,), generator=rng),
    }
    if rank is None:
        return values
    mine = torch.cat([torch.arange(ROWS) + rank * ROWS + part * WORLD * ROWS for part in range(stage)])
    return {name: value[mine] for name, value in values.items()}


def one_rank(rank, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD)
    found = []
    for stage, detach, masked in CASES:
        made = trainer(stage, detach, masked)
        wrapped = DistributedDataParallel(made, find_unused_parameters=True)
        loss = wrapped(batch(stage, rank))["loss"]
        loss.backward()
        loss = loss.detach().clone()
        torch.distributed.all_reduce(loss)
        found.append((loss / WORLD, {name: p.grad for name, p in made.named_parameters() if p.grad is not None}))
    torch.save(found, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("case", range(len(CASES)))
def test_two_ranks_equal_one_process(ranks, case):
    """With the published gradient of negatives, as a choice, the encoders learn half of it."""
    stage, detach, masked = CASES[case]
    made = trainer(stage, detach, masked)
    loss = made(batch(stage))["loss"]
    if masked:
        assert loss.item() < trainer(stage, detach, False)(batch(stage))["loss"].item() - 0.01
    loss.backward()
    expected = {name: p.grad for name, p in made.named_parameters() if p.grad is not None}
    assert max(gradient.abs().max() for gradient in expected.values()) > 1e-3
    for found, gradients in (ranks[rank][case] for rank in range(WORLD)):
        assert found.item() == pytest.approx(loss.item(), abs=1e-6)
        for name, gradient in expected.items():
            share = 1 / WORLD if detach and ".tau" not in name else 1
            if detach and name.startswith("model.fusion"):
                continue  # reached by both sides of a comparison, of which the ranks hold other halves
            torch.testing.assert_close(
                gradients[name], share * gradient, atol=1e-6, rtol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
            )


def test_the_launcher(tmp_path):
    """Both stages by torch's launcher: the weights of one process with the whole batch."""
    write_songs(tmp_path)
    port = free_port()
    same = {**SMALL, "songs": tmp_path / "songs.jsonl", "text_model": tmp_path, "dropout": 0, "max_steps": 3}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    for stage in (1, 2):
        states = []
        for n_ranks in (1, 2):
            out = tmp_path / f"{stage}-{n_ranks}"
            flags = flags_of({**same, "stage": stage, "batch_size": 8 // n_ranks, "out": out})
            if stage == 1:
                flags.append("--text_from_scratch")
            else:
                flags += flags_of({"init": tmp_path / "1-1/best.safetensors", "pairs": tmp_path / "pairs.jsonl"})
            launcher = ["-m", "torch.distributed.run", f"--nproc_per_node={n_ranks}", f"--master_port={port}"]
            command = [sys.executable, *launcher, "train_htcl.py", *flags]
            done = subprocess.run(command, cwd=ROOT / "code", env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[-3000:]
            states.append(torch.load(out / "last.pt", weights_only=True))
        assert len(states[1]["rng"]) == 2
        for name, tensor in states[0]["model"].items():
            if name.endswith("in_proj_bias"):
                continue  # the keys' bias changes no softmax: its gradient is rounding, which Adam makes steps of
            torch.testing.assert_close(states[1]["model"][name], tensor, atol=5e-5, rtol=0, msg=lambda m, n=name: n + m)
