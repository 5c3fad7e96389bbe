"""Processes whose clocks differ: what follows from the time is the same on all, so their weights stay the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import itertools, os, sys, types
from pathlib import Path
sys.path[:0] = [{code!r}]
import torch
from clamp3.training import loop
from clamp3.training.alignment import make_alignment_task
from clamp3.training.config import Clamp3Training

rank = int(os.environ["RANK"])
ticks = itertools.count()
loop.time = types.SimpleNamespace(monotonic=lambda: next(ticks) * (1.0 + rank))  # seconds: one clock is twice as fast
data = Path({data!r})
config = Clamp3Training(
    train_jsonl=data / "train.jsonl", text_model=str(data), text_from_scratch=True, out=data / "run", width=32,
    n_layers=1, n_heads=2, max_patches=32, text_length=16, hidden_size=16, warmup_steps=0, batch_size=4, epochs=50,
    learning_rate=1e-3, eval_split=0.2, schedule="cosine", max_minutes=0.25, save_every=0, save_minutes=0)
accelerator = loop.make_accelerator(config)
loop.seed_everything(config.seed)
trainer = loop.Trainer(make_alignment_task(config, accelerator), config, accelerator)
outcome = trainer.fit()
weights = torch.cat([parameter.detach().flatten() for parameter in trainer.parameters])
found = [torch.empty_like(weights) for _ in range(2)]
torch.distributed.all_gather(found, weights)
line = f"{{outcome.reason}} {{outcome.progress.minutes}} {{float((found[0] - found[1]).abs().max())}}\\n"
os.write(1, line.encode())  # at once: the other process writes to the same pipe
"""


def test_one_clock_sets_rates_and_the_end(data):
    script = data / "two.py"
    script.write_text(SCRIPT.format(code=str(ROOT / "code"), data=str(data)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("time ")]
    assert len(lines) == 2 and lines[0] == lines[1], done.stdout + done.stderr[-3000:]
    assert lines[0][2] == "0.0"
