"""Training on pairs of songs, killed at any step: going on is the plain run, bit for bit."""

from __future__ import annotations

import importlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_music import write_music, write_rows, write_text_model
from training_songs import SMALL, flags_of, write_songs

ROOT = Path(__file__).resolve().parents[2]
STEPS = 8
KILLED = """
import importlib, os, signal, sys, torch
sys.path.insert(0, {code!r})
from clamp3.training import loop
torch.set_num_threads({threads})
step = loop.Trainer.step

def killed_step(self, batches):
    if self.progress.step == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batches)

loop.Trainer.step = killed_step
importlib.import_module({script!r}).main(sys.argv[1:])
"""


def htcl_stage_2(folder, main):
    """Return the flags of a second stage, after a first one."""
    write_songs(folder)
    same = {**SMALL, "dropout": 0.1, "songs": folder / "songs.jsonl", "text_model": folder}
    first = {**same, "max_steps": 1, "out": folder / "first"}
    assert main([*flags_of(first), "--text_from_scratch"]) == 0
    return flags_of({**same, "stage": 2, "pairs": folder / "pairs.jsonl", "init": folder / "first"})


def preference(folder, main):
    """Return the flags of preference training, after a step of alignment."""
    import train_clamp3_symbolic

    write_text_model(write_music(folder))
    write_rows(folder / "pairs.jsonl", [{"trigger": f"p{i}", "song": f"p{i + 3}"} for i in range(20)])
    same = {"train_jsonl": folder / "train.jsonl", "batch_size": 5, "log_every": 1, "save_every": 0, "max_patches": 16,
            "text_length": 16}  # fmt: skip
    sizes = {"width": 32, "n_layers": 1, "n_heads": 2, "hidden_size": 16, "max_steps": 1, "text_model": folder}
    aligned = flags_of({**same, **sizes, "out": folder / "first"})
    assert train_clamp3_symbolic.main([*aligned, "--text_from_scratch"]) == 0
    pairs = {"song_pairs": folder / "pairs.jsonl", "init": folder / "first", "distill": 0.5, "learning_rate": 1e-3}
    return flags_of({**same, **pairs})


@pytest.mark.parametrize(
    ("script", "flags_from"), [("train_htcl", htcl_stage_2), ("train_preference", preference)], ids=["htcl", "clamp3"]
)
def test_kill_9_then_resume_is_the_plain_run_bit_for_bit(tmp_path, monkeypatch, script, flags_from):
    monkeypatch.syspath_prepend(str(ROOT / "code"))
    main = importlib.import_module(script).main
    flags = [*flags_from(tmp_path, main), "--epochs", "5", "--max_steps", str(STEPS)]
    assert main([*flags, "--out", str(tmp_path / "plain")]) == 0
    at = random.Random().randint(2, STEPS - 1)
    killed = KILLED.format(code=str(ROOT / "code"), threads=torch.get_num_threads(), at=at, script=script)
    flags += ["--out", str(tmp_path / "run"), "--save_minutes", "1e-6"]
    done = subprocess.run(
        [sys.executable, "-c", killed, *flags], capture_output=True, text=True, timeout=500,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert 1 <= torch.load(tmp_path / "run/last.pt", weights_only=True)["progress"]["step"] < STEPS, at
    assert main([*flags, "--resume", "auto"]) == 0
    found, expected = (torch.load(tmp_path / out / "last.pt", weights_only=True) for out in ("run", "plain"))
    assert found["progress"]["step"] == expected["progress"]["step"] == STEPS
    for name, tensor in expected["model"].items():
        assert torch.equal(found["model"][name], tensor), (name, at)
    for number, state in expected["optimizer"]["state"].items():
        for name, tensor in state.items():
            assert torch.equal(found["optimizer"]["state"][number][name], tensor), (name, at)
