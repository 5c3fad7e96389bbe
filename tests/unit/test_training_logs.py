"""What a run logs, and faults of the released scripts that stopped a run or kept it from starting."""

from __future__ import annotations

import json
import shutil
import sys
import types

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from training_music import read_rows, write_music, write_rows, write_text_model

from clamp3.errors import ConfigError, DataError
from clamp3.training import logs
from clamp3.training.alignment import make_alignment_task
from clamp3.training.config import Clamp3Training
from clamp3.training.device import precision
from clamp3.training.flags import add_flags, from_flags
from clamp3.training.loop import make_accelerator, start_run

TINY = {"width": 32, "n_layers": 1, "n_heads": 2, "max_patches": 8, "warmup_steps": 2, "log_every": 1, "epochs": 2,
        "batch_size": 6, "learning_rate": 1e-3, "text_from_scratch": True, "text_length": 16, "hidden_size": 16,
        "eval_split": 0.2}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_text_model(folder)
    return write_music(folder)


def train(data, out, **changes):
    config = Clamp3Training(
        **{**TINY, "train_jsonl": data / "train.jsonl", "text_model": str(data), "out": out, **changes}
    )
    return start_run(config, make_alignment_task)


def rows_of(out, kind):
    return [row for row in read_rows(out / "metrics.jsonl") if row["kind"] == kind]


def test_every_measure_is_logged_and_drawn(data, tmp_path):
    train(data, tmp_path, tensorboard=True)
    first = rows_of(tmp_path, "train")[0]
    assert {"loss", "lr", "grad_norm", "items_per_sec", "tokens_per_sec", "memory_mb", "batch_mrr"} <= first.keys()
    assert first["grad_norm"] > 0
    assert first["memory_mb"] > 50  # torch alone takes more
    assert 2 * first["items_per_sec"] < first["tokens_per_sec"] < (8 + 16) * first["items_per_sec"]
    last = rows_of(tmp_path, "epoch")[-1]
    assert {"eval_loss", "eval_batch_accuracy", "eval_mrr_text_to_symbolic", "eval_mrr_symbolic_to_text"} <= last.keys()
    assert 0 <= last["eval_batch_accuracy"] <= 1
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    (events,) = (tmp_path / "tensorboard").iterdir()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(events.parent)).Reload()
    assert [event.step for event in board.Scalars("train/loss")] == list(range(1, 7))
    assert board.Scalars("epoch/eval_loss")[-1].value == pytest.approx(last["eval_loss"])


def test_losses_among_different_numbers_have_axes_of_their_own(tmp_path, monkeypatch):
    """A contrastive loss grows with the number of items it compares."""
    from matplotlib.axes import Axes

    twins = []
    original = Axes.twinx
    monkeypatch.setattr(Axes, "twinx", lambda self: twins.append(self) or original(self))
    for among, n_axes in ((8, 0), (5, 1)):
        rows = [{"kind": "train", "step": 1, "loss": 2.0, "compared": 8.0},
                {"kind": "epoch", "step": 1, "eval_loss": 1.5, "eval_compared": among}]  # fmt: skip
        logs.plot_losses(write_rows(tmp_path / "metrics.jsonl", rows), tmp_path / "loss.png")
        assert len(twins) == n_axes


def test_without_matplotlib_one_line_says_how_to_get_it(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    (tmp_path / "metrics.jsonl").write_text('{"kind": "train", "step": 1, "loss": 2.0}\n')
    with caplog.at_level("INFO"):
        logs.plot_losses(tmp_path / "metrics.jsonl", tmp_path / "loss.png")
    assert not (tmp_path / "loss.png").exists()
    assert "matplotlib (pip install 'clamp3[logs]')" in caplog.text


def test_wandb_is_off_unless_asked_for_and_its_key_is_never_shown(data, tmp_path, monkeypatch, capsys, caplog):
    monkeypatch.setenv("WANDB_API_KEY", "secret-key")
    monkeypatch.setitem(sys.modules, "wandb", None)  # importing it fails
    train(data, tmp_path / "off")
    with pytest.raises(ConfigError, match=r"--wandb needs the wandb package: pip install 'clamp3\[logs\]'"):
        train(data, tmp_path / "absent", wandb=True)
    seen = []
    run = types.SimpleNamespace(log=lambda row, step: seen.append((step, row)), finish=lambda: seen.append("end"))
    wandb = types.SimpleNamespace(init=lambda **given: seen.append(given) or run)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    with caplog.at_level("DEBUG"):
        train(data, tmp_path / "on", wandb=True, wandb_project="mine")
        train(data, tmp_path / "on", wandb=True, wandb_project="mine", resume="auto", epochs=3)
    started = [given for given in seen if isinstance(given, dict)]
    assert [(given["name"], given["project"], given["resume"]) for given in started] == [("on", "mine", "allow")] * 2
    assert started[0]["id"] == started[1]["id"]  # the same curves go on
    assert seen[-1] == "end"
    assert [row[0] for row in seen if isinstance(row, tuple) and "train/loss" in row[1]] == list(range(1, 10))
    printed = capsys.readouterr()
    everything = printed.out + printed.err + caplog.text + str(seen) + (tmp_path / "on/metrics.jsonl").read_text()
    assert "secret-key" not in everything


def test_an_evaluation_set_smaller_than_a_batch(data, tmp_path):
    """The released scripts make no batch of it and divide by zero after the first epoch."""
    rows = read_rows(data / "train.jsonl")
    write_rows(data / "two.jsonl", rows[:2])
    train(data, tmp_path, eval_jsonl=data / "two.jsonl", batch_size=12)
    assert [row["eval_loss"] > 0 for row in rows_of(tmp_path, "epoch")] == [True, True]


def test_no_evaluation_data_and_a_placeholder(data, tmp_path):
    import argparse

    parser = argparse.ArgumentParser()
    add_flags(parser, Clamp3Training, types.SimpleNamespace(CLAMP3_EVAL_JSONL=""))
    assert from_flags(Clamp3Training, parser.parse_args([])).eval_jsonl is None
    with pytest.raises(DataError, match=r"eval\.jsonl cannot be read"):
        train(data, tmp_path / "a", eval_jsonl=tmp_path / "YOUR_eval.jsonl")
    assert not (tmp_path / "a/last.pt").exists()  # before the first step
    outcome = train(data, tmp_path / "b", eval_split=0.0)
    assert (tmp_path / "b/best.safetensors").exists()
    assert outcome.progress.best_loss == float("inf")


@pytest.mark.parametrize("wanted", ["auto", "bf16"])
def test_mixed_precision_on_a_cpu(data, tmp_path, wanted):
    """The released scripts ask for CUDA's autocast and its GradScaler wherever they run."""
    if torch.cuda.is_available():
        pytest.skip("a CPU is not chosen here")
    AcceleratorState._reset_state(reset_partial_state=True)  # a process keeps the precision it began with
    train(data, tmp_path, mixed_precision=wanted, epochs=1)
    saved = torch.load(tmp_path / "last.pt", weights_only=True)
    assert saved["scaler"] is None
    assert {t.dtype for t in saved["model"].values() if t.is_floating_point()} == {torch.float32}
    assert rows_of(tmp_path, "train")[-1]["loss"] > 0
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize(
    ("cuda", "has_bf16", "expected"), [(False, False, "no"), (True, True, "bf16"), (True, False, "fp16")]
)
def test_precision_follows_the_device(monkeypatch, cuda, has_bf16, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: has_bf16)
    assert precision(Clamp3Training()) == expected
    assert precision(Clamp3Training(mixed_precision="bf16")) == "bf16"


def test_each_piece_once_per_epoch_over_all_ranks(data, tmp_path):
    config = Clamp3Training(
        **{**TINY, "train_jsonl": data / "train.jsonl", "text_model": str(data), "out": tmp_path, "batch_size": 3}
    )
    task = make_alignment_task(config, make_accelerator(config))
    n_pieces = len(task.train_data)
    for epoch in range(3):
        ranks = [task.batches(epoch, rank, 2) for rank in range(2)]
        assert len(ranks[0]) == len(ranks[1]) == n_pieces // 6
        seen = np.concatenate([np.concatenate(batches) for batches in ranks])
        assert len(set(seen.tolist())) == len(seen) == n_pieces - n_pieces % 6


def test_files_lost_during_a_run_are_counted_and_limited(data, tmp_path, monkeypatch, caplog):
    folder = tmp_path / "music"
    shutil.copytree(data, folder)
    changes = {"width": 32, "audio_width": 32, "audio_layers": 1, "audio_heads": 2, "audio_length": 8,
               "pairs": ("text-audio",), "eval_split": 0.0, "epochs": 1}  # fmt: skip
    config = Clamp3Training(
        **{**TINY, **changes, "train_jsonl": folder / "train.jsonl", "text_model": str(data), "out": tmp_path / "run"}
    )
    task = make_alignment_task(config, make_accelerator(config))
    for name in ("p01.npy", "p05.npy"):
        (folder / name).unlink()
    monkeypatch.setattr("clamp3.training.alignment.MIN_COUNTED", 24)

    def losses():
        for batch in task.batches(0, 0, 1):
            yield task.loss(task.module, task.collate([task.train_data[0, int(i)] for i in batch]))[0]

    with pytest.raises(DataError, match=r"2 of \d+ pieces had a file that could not be read any more.*--max_bad 0\.05"):
        list(losses())  # 2 of 24 are more than a twentieth
    assert "p01.npy: no readable" in caplog.text or "p05.npy: no readable" in caplog.text
    monkeypatch.setattr("clamp3.training.alignment.MIN_COUNTED", 1000)
    task.n_seen = task.n_left_out = 0
    assert all(torch.isfinite(loss) for loss in losses())
    assert (task.n_seen, task.n_left_out) == (24, 2)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_layers_compute_the_same(data, tmp_path):
    changes = {"dropout": 0.0, "attention_dropout": 0.0, "epochs": 1}
    train(data, tmp_path / "plain", **changes)
    train(data, tmp_path / "compiled", compile=True, **changes)
    plain, compiled = (torch.load(tmp_path / f"{name}/last.pt", weights_only=True) for name in ("plain", "compiled"))
    assert plain["model"].keys() == compiled["model"].keys()
    for name, tensor in plain["model"].items():
        torch.testing.assert_close(compiled["model"][name], tensor, atol=1e-4, rtol=0)
    assert json.loads((tmp_path / "compiled/metrics.jsonl").read_text().splitlines()[0])["loss"] > 0


def test_rows_of_what_will_be_done_again_are_dropped(tmp_path):
    """A run killed between the row of an epoch and its checkpoint writes that row again."""
    rows = [("train", 2, 1), ("epoch", 3, 1), ("train", 4, 2), ("epoch", 6, 2), ("train", 7, 3)]
    partial = {"kind": "epoch", "step": 6, "epoch": 2, "partial": True}  # of a run that ended within the epoch
    lines = [json.dumps({"kind": kind, "step": step, "epoch": epoch}) for kind, step, epoch in rows]
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join([*lines[:4], json.dumps(partial), lines[4], '{"kind": "tr']))
    logs.truncate(path, step=6, epoch=1)
    assert path.read_text().splitlines() == [*lines[:3], json.dumps(partial)]
