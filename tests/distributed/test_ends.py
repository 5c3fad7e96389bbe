"""However one of two ranks ends, the other ends too: within seconds, with one sentence, with nothing half written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/unit"))

from training_music import free_port  # noqa: E402  (a helper of the unit tests)

SECONDS = 60  # as docs/training.md says
SMALL = {"width": 32, "n_layers": 1, "n_heads": 2, "max_patches": 16, "warmup_steps": 0, "log_every": 1, "epochs": 4,
         "learning_rate": 1e-3, "text_length": 16, "hidden_size": 16, "eval_split": 0.2, "save_every": 0,
         "batch_size": 4, "sub_batches": 1}  # fmt: skip
RANK = """
import os, signal, sys, time
sys.path.insert(0, {code!r})
rank = int(os.environ["RANK"])
from clamp3.cli import run
from clamp3.errors import DataError
from clamp3.training import alignment_build, checkpoint, loop, ranks
step = loop.Trainer.step

def at_step_2(what):
    def spoilt(self, batches):
        if self.progress.step == 2 and rank == 1:
            print("now", flush=True)
            what()
        return step(self, batches)
    loop.Trainer.step = spoilt

def fail(error):
    raise error

{spoil}
import train_clamp3_symbolic
raise SystemExit(run(lambda: train_clamp3_symbolic.main(sys.argv[1:])))
"""
FULL_DISK = """
import resource
save = checkpoint.save
def on_full_disk(*given, **named):
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    try:
        save(*given, **named)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
checkpoint.save = on_full_disk
"""
LOST = "because another one has ended"


def run_two(data, outs, spoil, *changes, seconds=SECONDS):
    """Start two ranks as a launcher does; return for each its exit code and stderr, and how long both took to end."""
    flags = [part for name, value in SMALL.items() for part in (f"--{name}", str(value))]
    flags += ["--train_jsonl", str(data / "train.jsonl"), "--text_model", str(data), "--text_from_scratch", *changes]
    common = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "WORLD_SIZE": "2", "PYTHONPATH": "",
              "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}  # fmt: skip
    script = RANK.format(code=str(ROOT / "code"), spoil=spoil)
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, *flags, "--out", str(out)],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank, out in enumerate(outs)
    ]  # fmt: skip
    ended: dict[int, float] = {}
    until = time.monotonic() + 300
    while len(ended) < 2 and time.monotonic() < until:
        ended |= {i: time.monotonic() for i, one in enumerate(running) if i not in ended and one.poll() is not None}
        if len(ended) == 1 and time.monotonic() > next(iter(ended.values())) + seconds:
            break
        time.sleep(0.05)
    for one in running:
        one.kill()
    found = [(one.communicate()[1], one.returncode) for one in running]
    return [(code, text) for text, code in found], ended


def assert_one_sentence(text, words):
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and words in errors[0], text[-2000:]
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("spoil", "codes", "words"),
    [
        ("at_step_2(lambda: os.kill(os.getpid(), signal.SIGKILL))", (1, -signal.SIGKILL), (LOST, "")),
        ("at_step_2(lambda: fail(DataError('a piece is gone.')))", (1, 1), (LOST, "a piece is gone.")),
        (
            "if rank == 0: alignment_build.open_store = lambda *_: fail(DataError('the data are no JSONL.'))",
            (1, 1),
            ("the data are no JSONL.", "process 0 of the run stopped: the data are no JSONL."),
        ),
        (FULL_DISK, (1, 1), ("last.pt", "process 0 of the run stopped: ")),
    ],
    ids=["kill -9", "an error on one rank", "data refused by the first", "full disk"],
)
def test_the_other_rank_ends_within_seconds(data, tmp_path, spoil, codes, words):
    (first, second), ended = run_two(data, [tmp_path / "run"] * 2, spoil)
    assert (first[0], second[0]) == codes, (first, second)
    assert abs(ended[0] - ended[1]) < SECONDS
    for (code, text), said in zip((first, second), words, strict=True):
        if code != -signal.SIGKILL:
            assert_one_sentence(text, said)
    assert not list((tmp_path / "run").glob(".clamp3-*.part"))


def test_a_rank_that_hangs_holds_the_others_for_the_stated_time_only(data, tmp_path):
    spoil = "at_step_2(lambda: time.sleep(1000))"
    begin = time.monotonic()
    (first, _), ended = run_two(data, [tmp_path / "run"] * 2, spoil, "--wait_minutes", "0.2", seconds=2)
    assert 0 in ended and 1 not in ended  # a launcher ends the one that hangs; this test did
    assert ended[0] - begin < SECONDS + 12
    assert first[0] == 1
    assert_one_sentence(first[1], "kept it waiting for 0.2 minutes")


def test_nodes_without_a_common_folder_are_refused(data, tmp_path):
    """One goes on with a run, the other would start afresh."""
    (first, second), _ = run_two(data, [tmp_path / "node0"] * 2, "", "--max_steps", "2", "--resume", "auto")
    assert first[0] == second[0] == 0, first[1]
    assert torch.load(tmp_path / "node0/last.pt", weights_only=True)["progress"]["step"] == 2
    found, ended = run_two(data, [tmp_path / "node0", tmp_path / "node1"], "", "--resume", "auto")
    assert [code for code, _ in found] == [2, 2] and len(ended) == 2
    for _, text in found:
        assert_one_sentence(text, "they have state step 2 of last.pt and step 0")
        assert "--out must be on a disk that all nodes share" in text


def test_a_second_run_into_a_folder_is_refused_on_all_its_ranks(data, tmp_path):
    from clamp3.jobs.locks import FolderLock

    (tmp_path / "run").mkdir()
    with FolderLock(tmp_path / "run"):
        found, _ = run_two(data, [tmp_path / "run"] * 2, "")
    assert [code for code, _ in found] == [2, 1]
    for _, text in found:
        assert_one_sentence(text, "another process trains into")
