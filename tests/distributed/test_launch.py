"""Two processes by the released command and by accelerate's: the weights of one process with the whole batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from clamp3.training.alignment import make_alignment_task
from clamp3.training.config import Clamp3Training
from clamp3.training.loop import start_run

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/unit"))

from training_music import free_port, read_rows  # noqa: E402  (a helper of the unit tests)

STEPS = 4
SAME = {"width": 32, "n_layers": 1, "n_heads": 2, "max_patches": 32, "warmup_steps": 0, "log_every": 1, "epochs": 2,
        "learning_rate": 1e-3, "text_length": 16, "hidden_size": 16, "eval_split": 0.2, "dropout": 0.0,
        "attention_dropout": 0.0, "max_grad_norm": 1.0, "save_every": 0, "max_steps": STEPS}  # fmt: skip


def launch(launcher, data, out, *changes):
    flags = [part for name, value in SAME.items() for part in (f"--{name}", str(value))]
    flags += ["--train_jsonl", str(data / "train.jsonl"), "--text_model", str(data), "--text_from_scratch"]
    command = [sys.executable, "-m", *launcher, "train_clamp3_symbolic.py", *flags, "--out", str(out), *changes]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=ROOT / "code", env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("see ") == 1, "one rank speaks"
    return torch.load(out / "last.pt", weights_only=True)


def alone(data, out, **changes):
    start_run(
        Clamp3Training(train_jsonl=data / "train.jsonl", text_model=str(data), text_from_scratch=True, out=out,
                       **{**SAME, "batch_size": 8, **changes}),
        make_alignment_task,
    )  # fmt: skip
    return torch.load(out / "last.pt", weights_only=True)


def assert_same_run(found, expected, out, other):
    assert found["progress"]["step"] == expected["progress"]["step"] == STEPS
    start = next(iter(expected["model"].values()))
    assert start.abs().max() > 0
    for name, tensor in expected["model"].items():
        torch.testing.assert_close(found["model"][name], tensor, atol=2e-5, rtol=0, msg=lambda m, n=name: f"{n}: {m}")
    for one, two in zip(read_rows(out / "metrics.jsonl"), read_rows(other / "metrics.jsonl"), strict=True):
        assert one["kind"] == two["kind"]
        for name in ("loss", "grad_norm", "batch_mrr", "eval_loss", "eval_mrr_text_to_symbolic"):
            assert (name in one) == (name in two)
            assert one.get(name, 0) == pytest.approx(two.get(name, 0), abs=2e-4), name


def test_the_released_command(data, tmp_path):
    """Rank r's rows against all columns, DistributedDataParallel, an evaluation shared by the ranks."""
    launcher = ("torch.distributed.launch", "--nproc_per_node=2", "--use_env", f"--master_port={free_port()}")
    found = launch(launcher, data, tmp_path / "two", "--batch_size", "4", "--workers", "1")
    assert len(found["rng"]) == 2
    assert_same_run(found, alone(data, tmp_path / "one"), tmp_path / "two", tmp_path / "one")


# Without GPUs, too, --multi_gpu is accelerate's word for several processes; with --cpu it starts but one.
def test_accelerate_with_gradient_caching_and_a_learned_scale(data, tmp_path):
    launcher = ("accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--num_machines=1",
                "--mixed_precision=no", "--dynamo_backend=no", f"--main_process_port={free_port()}")  # fmt: skip
    changes = ("--batch_size", "4", "--loss", "cosine", "--grad_cache_chunk", "3")
    found = launch(launcher, data, tmp_path / "two", *changes)
    expected = alone(data, tmp_path / "one", loss="cosine")
    assert expected["model"]["objective.log_scale"].item() != pytest.approx(2.659, abs=1e-3)  # it was trained
    assert_same_run(found, expected, tmp_path / "two", tmp_path / "one")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("--batch_size", "4", "--no_such"), "error: unrecognized arguments: --no_such"),
        (("--batch_size", "0"), "error: --batch_size must be at least 1, got 0."),
    ],
)
def test_below_a_launcher_our_sentence_is_said_once_and_last(tmp_path, wrong, said):
    """The launcher adds a report of forty lines; it ends with the sentence."""
    launcher = ("torch.distributed.launch", "--nproc_per_node=2", "--use_env", f"--master_port={free_port()}")
    command = [sys.executable, "-m", *launcher, "train_clamp3_symbolic.py", *wrong, "--out", str(tmp_path / "x")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=ROOT / "code", env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    before, _, report = done.stderr.partition("Traceback")
    # Not at all where another process fails first and the launcher ends the first one before it speaks.
    assert before.count(said) <= 1
    lines = [line for line in report.splitlines() if line.strip("= ")]
    assert said in lines[-1]


def test_accumulated_batches_average_their_gradients(data, tmp_path):
    """Two batches whose losses do not know of each other: the step of the mean of both gradients."""
    start_run(
        Clamp3Training(train_jsonl=data / "train.jsonl", text_model=str(data), text_from_scratch=True,
                       out=tmp_path / "a", **{**SAME, "batch_size": 4, "accumulate": 2, "max_steps": 1}),
        make_alignment_task,
    )  # fmt: skip
    from clamp3.training.loop import Trainer, make_accelerator, seed_everything

    config = Clamp3Training(train_jsonl=data / "train.jsonl", text_model=str(data), text_from_scratch=True,
                            out=tmp_path / "b", **{**SAME, "batch_size": 4})  # fmt: skip
    seed_everything(config.seed)
    task = make_alignment_task(config, make_accelerator(config))
    Trainer(task, config, make_accelerator(config))  # seeds and wraps as a run does
    task.train()
    optimizer = torch.optim.AdamW(task.module.parameters(), lr=1e-3, weight_decay=0.01)
    for batch in task.batches(0, 0, 1)[:2]:
        loss, _ = task.loss(task.module, task.collate([task.train_data[0, int(i)] for i in batch]))
        (loss / 2).backward()
    torch.nn.utils.clip_grad_norm_(task.module.parameters(), 1.0)
    optimizer.step()
    found = torch.load(tmp_path / "a/last.pt", weights_only=True)["model"]
    for name, tensor in task.module.state_dict().items():
        torch.testing.assert_close(found[name], tensor, atol=1e-6, rtol=0)
