"""Any end of a run: killed, asked to stop, during an evaluation; what is left is whole, and going on is exact."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_music import read_rows, write_music, write_text_model

from clamp3.errors import ConfigError, WeightsError
from clamp3.models.clamp3 import Clamp3Model
from clamp3.models.config import Clamp3Config, TowerConfig
from clamp3.models.weights import load_model
from clamp3.training import checkpoint
from clamp3.training.alignment import make_alignment_task
from clamp3.training.config import Clamp3Training
from clamp3.training.loop import Trainer, make_accelerator, start_run

ROOT = Path(__file__).resolve().parents[2]
TINY = {"width": 32, "n_layers": 1, "n_heads": 2, "max_patches": 8, "warmup_steps": 2, "log_every": 1, "epochs": 4,
        "batch_size": 6, "learning_rate": 1e-3, "text_from_scratch": True, "text_length": 16, "hidden_size": 16,
        "eval_split": 0.2, "max_grad_norm": 1.0, "dropout": 0.2}  # fmt: skip
STEPS = 12

KILLED = """
import io, os, signal, sys, torch
sys.path[:0] = [{code!r}]
from clamp3.training import checkpoint, loop
from clamp3.training.alignment import make_alignment_task
from clamp3.training.config import Clamp3Training
torch.set_num_threads({threads})
step, save, saved = loop.Trainer.step, torch.save, []

def killed_step(self, batches):
    if self.progress.step == {at_step}:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batches)

def torn_save(state, path):
    saved.append(path)
    if len(saved) == {at_save}:
        whole = io.BytesIO()
        save(state, whole)
        path.write(whole.getvalue()[: len(whole.getvalue()) // 2])
        path.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    save(state, path)

loop.Trainer.step, torch.save = killed_step, torn_save
loop.start_run(Clamp3Training(**eval({settings!r}, {{"Path": __import__("pathlib").PosixPath}})), make_alignment_task)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_text_model(folder)
    return write_music(folder)


def settings(data, out, **changes):
    return {**TINY, "train_jsonl": data / "train.jsonl", "text_model": str(data), "out": out, **changes}


def train(data, out, **changes):
    return start_run(Clamp3Training(**settings(data, out, **changes)), make_alignment_task)


@pytest.fixture(scope="module")
def plain(data, tmp_path_factory):
    """Return the folder of a run that nothing disturbed."""
    out = tmp_path_factory.mktemp("runs") / "plain"
    outcome = train(data, out)
    assert outcome.progress.step == STEPS
    return out


def assert_same(out, plain):
    found, expected = (torch.load(folder / "last.pt", weights_only=True) for folder in (out, plain))
    assert found["progress"]["step"] == STEPS
    for name, tensor in expected["model"].items():
        assert torch.equal(found["model"][name], tensor), name
    for name, tensor in expected["optimizer"]["state"][0].items():
        assert torch.equal(found["optimizer"]["state"][0][name], tensor), name
    kept = ("kind", "step", "epoch", "loss", "lr", "grad_norm", "eval_loss", "train_loss")
    rows = [[{k: row[k] for k in kept if k in row} for row in read_rows(f / "metrics.jsonl")] for f in (out, plain)]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("where", ["step", "save"])
def test_kill_9_then_resume_is_the_plain_run_bit_for_bit(data, plain, tmp_path, where):
    """At a random step, or with half of a checkpoint written; checkpoints are written after every second step or so."""
    at = random.Random().randint(2, STEPS - 1)
    out = tmp_path / "run"
    script = KILLED.format(
        code=str(ROOT / "code"), threads=torch.get_num_threads(), at_step=at if where == "step" else -1,
        at_save=at if where == "save" else -1,
        settings=repr(settings(data, out, save_minutes=1e-6)).replace("PosixPath", "Path"),
    )  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    step = torch.load(out / "last.pt", weights_only=True)["progress"]["step"]
    assert 1 <= step < STEPS, at
    train(data, out, resume="auto")
    assert_same(out, plain)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("where", ["step", "_poll"])
def test_asked_to_end_it_saves_and_goes_on_exactly(data, plain, tmp_path, monkeypatch, number, where):
    """In the middle of an epoch, and in the middle of an evaluation."""
    original = getattr(Trainer, where)

    def asked_here(self, *given):
        if self.progress.step == (5 if where == "step" else 6):
            os.kill(os.getpid(), number)
        return original(self, *given)

    monkeypatch.setattr(Trainer, where, asked_here)
    outcome = train(data, tmp_path / "run")
    assert (outcome.reason, outcome.progress.step) == ("stopped", 6)
    assert len([row for row in read_rows(tmp_path / "run/metrics.jsonl") if row["kind"] == "epoch"]) == 1
    monkeypatch.undo()
    train(data, tmp_path / "run", resume="auto")
    assert_same(tmp_path / "run", plain)


def test_a_second_ctrl_c_ends_at_once(data, tmp_path, monkeypatch):
    original = Trainer.step

    def impatient(self, batches):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return original(self, batches)

    monkeypatch.setattr(Trainer, "step", impatient)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "run")


def test_the_newest_checkpoints_stay(data, plain, tmp_path):
    out = tmp_path / "run"
    train(data, out, save_minutes=1e-6, keep_last=3)
    kept = sorted(out.glob("step_*.pt"))
    assert [path.name for path in kept] == [f"step_{n:09d}.pt" for n in (10, 11, 12)]
    assert kept[-1].samefile(out / "last.pt")
    train(data, out, resume=str(kept[0]))  # an older one: the same steps again
    assert_same(out, plain)
    (out / "last.pt").write_bytes(b"torn")
    with pytest.raises(ConfigError, match=r"cannot be read as a checkpoint.*Try --resume .*step_000000012\.pt"):
        train(data, out, resume="auto")


def test_a_run_that_ends_between_the_names_of_a_checkpoint_keeps_as_many(data, plain, tmp_path, monkeypatch):
    out, write = tmp_path / "run", checkpoint.write_pickled

    def last(path, state):
        write(path, state)
        if state["progress"]["step"] == 10:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(checkpoint, "write_pickled", last)
        train(data, out, save_minutes=1e-6, keep_last=3)
    train(data, out, save_minutes=1e-6, keep_last=3, resume="auto")
    assert sorted(path.name for path in out.glob("step_*.pt")) == [f"step_{n:09d}.pt" for n in (10, 11, 12)]
    assert_same(out, plain)


@pytest.mark.parametrize(("slow", "said"), [("status", "abc+changes?"), ("rev-parse", None), ("", "abc")])
def test_a_git_that_takes_too_long_does_not_stop_a_run(monkeypatch, slow, said):
    def answer(line, timeout, **_):
        if slow in line:
            raise subprocess.TimeoutExpired(line, timeout)
        return subprocess.CompletedProcess(line, 0, "abc\n" if "rev-parse" in line else "")

    monkeypatch.setattr(checkpoint.shutil, "which", lambda _: "git")
    monkeypatch.setattr(checkpoint.subprocess, "run", answer)
    assert checkpoint.git_revision() == said


def test_later_steps_of_an_abandoned_course_go_first(tmp_path):
    """A run that goes on from an older checkpoint writes smaller steps than those that are there."""

    def save(step):
        for path in tmp_path.glob("*.pt"):
            os.utime(path, (time := path.stat().st_mtime - 10, time))
        checkpoint.save(tmp_path / "last.pt", model={}, optimizer={}, scaler=None, rng=[], config={}, revision=None,
                        progress=checkpoint.Progress(step=step), keep_last=3)  # fmt: skip
        return sorted(int(path.stem[5:]) for path in tmp_path.glob("step_*.pt"))

    kept = [save(step) for step in (10, 20, 30, 40, 15, 16, 17)]
    assert kept[2:] == [[10, 20, 30], [20, 30, 40], [15, 30, 40], [15, 16, 40], [15, 16, 17]]
    save(40)
    save(18)
    (tmp_path / "last.pt").write_bytes(b"torn")
    with pytest.raises(ConfigError, match=r"Try --resume .*step_000000018\.pt"):
        checkpoint.load(tmp_path / "last.pt")


@pytest.fixture(scope="module")
def wide(data, tmp_path_factory):
    """Return settings of towers whose heads a released file need not state: 64 wide."""
    folder = write_text_model(tmp_path_factory.mktemp("wide"))
    sizes = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**sizes, "hidden_size": 64, "num_attention_heads": 1}))
    return {"text_model": str(folder), "width": 64, "n_heads": 1}


def released(path, config, n_steps=3, frozen=()):
    """Write a checkpoint as the released scripts do, of a model after some steps; return its optimizer.

    They give it the parameters that train, and no others.
    """
    task = make_alignment_task(config, make_accelerator(config))
    model = task.module.model
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(tuple(f"{tower}_" for tower in frozen)))
    optimizer = torch.optim.AdamW(filter(lambda p: p.requires_grad, model.parameters()), lr=1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    for _ in range(n_steps):
        loss, _ = task.loss(task.module, task.collate([task.train_data[0, i] for i in range(6)]))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "lr_sched": schedule.state_dict(),
                "epoch": 2, "best_epoch": 1, "min_eval_loss": 0.01, "modality": "symbolic"}, path)  # fmt: skip
    return model, optimizer


def test_a_released_checkpoint_goes_on(data, wide, tmp_path, monkeypatch):
    """Weights, Adam's moments by parameter and the epoch; the text tower is frozen from here on."""
    model, optimizer = released(tmp_path / "old.pth", Clamp3Training(**settings(data, tmp_path / "old", **wide)))
    found = {}

    def spy(self, batches, step=Trainer.step):
        if not found:
            found["weights"] = {n: t.clone() for n, t in self.task.module.model.state_dict().items()}
            found["epoch"], found["step"] = self.progress.epoch, self.progress.step
            names = {id(p): n for n, p in self.task.module.model.named_parameters()}
            found["moments"] = {names[id(p)]: state["exp_avg"].clone() for p, state in self.optimizer.state.items()}
        return step(self, batches)

    monkeypatch.setattr(Trainer, "step", spy)
    out = tmp_path / "new"
    outcome = train(data, out, resume=str(tmp_path / "old.pth"), freeze_text=True, **wide)
    assert (found["epoch"], found["step"]) == (2, 3)
    assert outcome.progress.epoch == 4
    assert outcome.progress.step == 3 + 2 * 3
    assert all(torch.equal(found["weights"][name], tensor) for name, tensor in model.state_dict().items())
    expected = {n: optimizer.state[p]["exp_avg"] for n, p in model.named_parameters() if p in optimizer.state}
    assert {n for n in expected if not n.startswith("text_")} == set(found["moments"])
    assert max(float(m.abs().max()) for m in found["moments"].values()) > 0
    assert all(torch.equal(expected[name], moment) for name, moment in found["moments"].items())
    again = train(data, out, resume=str(tmp_path / "old.pth"), freeze_text=True, **wide)  # the same command
    assert again.progress.step == outcome.progress.step
    other = shutil.copy(tmp_path / "old.pth", tmp_path / "other.pth")
    with pytest.raises(ConfigError, match="already holds another run"):
        train(data, out, resume=str(other), freeze_text=True, **wide)
    train(data, out, resume="auto", freeze_text=True, epochs=5, **wide)


@pytest.mark.parametrize("frozen", [("audio",), ("audio", "text")])
def test_the_optimizer_of_a_released_checkpoint_holds_what_it_trained(data, wide, tmp_path, frozen, caplog):
    """Every released CLaMP 3 has a frozen tower, whose parameters its optimizer never saw."""
    tower = TowerConfig(width=64, n_layers=1, n_heads=1, feed_forward=128, max_length=16)
    text = TowerConfig.from_transformers(json.loads((Path(wide["text_model"]) / "config.json").read_text()))
    sizes = Clamp3Config(text=text, symbolic=tower, audio=tower, hidden_size=16, text_length=16, symbolic_length=16,
                         audio_length=16)  # fmt: skip
    torch.save({"model": Clamp3Model(sizes).state_dict()}, tmp_path / "start.pth")
    flags = {**wide, "init": (str(tmp_path / "start.pth"),), "freeze_text": "text" in frozen}
    config = Clamp3Training(**settings(data, tmp_path / "old", **flags))
    model, optimizer = released(tmp_path / "old.pth", config, frozen=frozen)
    n_held = sum(len(group["params"]) for group in optimizer.param_groups)
    assert n_held < len(list(model.parameters()))
    caplog.set_level("INFO")
    start = Clamp3Training(**settings(data, tmp_path / "new", resume=str(tmp_path / "old.pth"), **flags))
    accelerator = make_accelerator(start)
    trainer = Trainer(make_alignment_task(replace(start, init=(start.resume,)), accelerator), start, accelerator)
    names = {id(p): n for n, p in trainer.task.module.model.named_parameters()}
    found = {names[id(p)]: state["exp_avg"] for p, state in trainer.optimizer.state.items()}
    expected = {n: optimizer.state[p]["exp_avg"] for n, p in model.named_parameters() if p in optimizer.state}
    assert found.keys() == expected.keys() and len(found) > 20
    assert all(torch.equal(found[name], moment) for name, moment in expected.items())
    assert f"optimizer state of {len(found)} of {n_held} parameters taken" in caplog.text
    assert trainer.progress.step == 3


def test_a_released_checkpoint_with_more_towers_goes_on_twice(data, wide, tmp_path):
    """The run trains text and scores; the audio tower is carried along, in every start."""
    text = TowerConfig.from_transformers(json.loads((Path(wide["text_model"]) / "config.json").read_text()))
    tower = TowerConfig(width=64, n_layers=1, n_heads=1, feed_forward=128, max_length=8)
    sizes = {"hidden_size": 16, "text_length": 16, "symbolic_length": 8, "audio_length": 8}
    model = Clamp3Model(Clamp3Config(text=text, symbolic=tower, audio=tower, **sizes))
    torch.save({"model": model.state_dict(), "optimizer": {}, "epoch": 1}, tmp_path / "old.pth")
    out = tmp_path / "new"
    train(data, out, resume=str(tmp_path / "old.pth"), max_steps=2, **wide)
    train(data, out, resume="auto", max_steps=3, **wide)
    assert train(data, out, resume="auto", **wide).progress.epoch == 4
    assert torch.equal(load_model(out, ("audio",)).model.audio_proj.weight, model.audio_proj.weight)
    (tmp_path / "old.pth").unlink()
    assert train(data, out, resume="auto", epochs=5, **wide).progress.epoch == 5  # what it exported has the sizes
    for path in out.glob("*.safetensors"):
        path.unlink()
    with pytest.raises(WeightsError, match=r"old\.pth"):
        train(data, out, resume="auto", epochs=6, **wide)


def test_a_checkpoint_of_other_parameters_gives_weights_and_epoch_only(data, wide, tmp_path):
    config = Clamp3Training(**settings(data, tmp_path / "old", **wide))
    task = make_alignment_task(config, make_accelerator(config))
    state = task.module.model.state_dict()
    torch.save({"model": state, "optimizer": {"state": {}, "param_groups": []}, "epoch": 3}, tmp_path / "old.pth")
    outcome = train(data, tmp_path / "new", resume=str(tmp_path / "old.pth"), **wide)
    assert (outcome.progress.epoch, outcome.progress.step) == (4, 3)
    rates = [row["lr"] for row in read_rows(tmp_path / "new/metrics.jsonl") if row["kind"] == "train"]
    assert rates == pytest.approx([0, 0.5e-3, 1e-3])  # nothing fits, so the warm-up begins again


def test_the_grad_scaler_is_saved_and_restored(data, tmp_path):
    config = Clamp3Training(**settings(data, tmp_path / "run", max_steps=5))

    def trainer(**changes):
        accelerator = make_accelerator(config)
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
        changed = Clamp3Training(**settings(data, tmp_path / "run", max_steps=5, **changes))
        return Trainer(make_alignment_task(changed, accelerator), changed, accelerator)

    trainer().fit()
    assert checkpoint.load(tmp_path / "run/last.pt")["scaler"]["scale"] == 32.0  # doubled after steps 2 and 4
    assert trainer(resume="auto").accelerator.scaler.get_scale() == 32.0
