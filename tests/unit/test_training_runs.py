"""The loop end to end on small models: learning, resuming, stopping, freezing, bad data."""

import json
import math
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from training_music import write_music, write_text_model

from clamp3.cli import run as run_main
from clamp3.embedding.clamp3 import Clamp3
from clamp3.errors import ConfigError, DataError, WeightsError
from clamp3.models.weights import describe
from clamp3.training.alignment import make_alignment_task
from clamp3.training.config import Clamp3Training, M3Training
from clamp3.training.loading import make_loader
from clamp3.training.loop import Trainer, learning_rate_at, make_accelerator, start_run
from clamp3.training.m3_task import make_m3_task

ROOT = Path(__file__).resolve().parents[2]
TINY = {"width": 32, "n_layers": 1, "n_heads": 2, "max_patches": 32, "warmup_steps": 2, "log_every": 1}


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    return write_music(tmp_path_factory.mktemp("music"))


@pytest.fixture(scope="module")
def text_model(tmp_path_factory):
    return write_text_model(tmp_path_factory.mktemp("text"))


def m3(music, out, **changes):
    return M3Training(**{**TINY, "data": (music,), "out": out, "batch_size": 4, "epochs": 2, "learning_rate": 1e-3,
                         "decoder_layers": 1, "eval_split": 0.1, **changes})  # fmt: skip


def pairs(music, out, text_model, **changes):
    return Clamp3Training(**{**TINY, "train_jsonl": music / "train.jsonl", "out": out, "batch_size": 8, "epochs": 2,
                             "learning_rate": 1e-3, "text_model": str(text_model), "text_from_scratch": True,
                             "text_length": 16, "hidden_size": 16, "eval_split": 0.2, **changes})  # fmt: skip


def rows_of(out, kind="train"):
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["kind"] == kind]


def weights_of(out):
    return torch.load(out / "last.pt", weights_only=True)["model"]


@pytest.mark.kernels
def test_m3_learns_and_exports_a_model_that_loads(music, tmp_path):
    from clamp3.models.weights import load_m3

    outcome = start_run(m3(music, tmp_path / "run", epochs=6), make_m3_task)
    epochs = rows_of(tmp_path / "run", "epoch")
    assert outcome.reason == "done"
    assert epochs[-1]["eval_loss"] < epochs[0]["eval_loss"] < 5
    assert load_m3(tmp_path / "run/best.safetensors").config.encoder.width == 32
    assert (tmp_path / "run/epoch_0005.safetensors").exists()
    state = torch.load(tmp_path / "run/last.pt", weights_only=True)
    assert state["config"]["mask_ratio"] == 0.45
    assert state["progress"]["step"] == outcome.progress.step == rows_of(tmp_path / "run")[-1]["step"]


class NoFloat64(TorchDispatchMode):
    """Refuse what Apple's MPS has not."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        assert not any(isinstance(part, torch.Tensor) and part.dtype == torch.float64 for part in tree_leaves(found))
        return found


def test_m3_is_evaluated_without_float64_on_the_device(music, tmp_path, monkeypatch):
    monkeypatch.setattr("clamp3.training.m3_task.dimensions", lambda vectors: len(vectors))  # computed on the CPU
    config = m3(music, tmp_path, eval_split=0.3, dropout=0.0)
    task, accelerator = make_m3_task(config, make_accelerator(config)), make_accelerator(config)
    with NoFloat64():
        measures = task.evaluate(accelerator, lambda: None)
    assert measures["dimensions"] == len(task.eval_data)
    assert measures["loss"] == pytest.approx(math.log(128), abs=0.5)  # of random weights


@pytest.mark.kernels
@pytest.mark.parametrize("stop_at", [2, 4, 5])
def test_resume_equals_an_uninterrupted_run_bit_for_bit(music, tmp_path, text_model, stop_at):
    """With dropout, drawn texts and crops; three steps an epoch, so mid-epoch, and an epoch's end."""
    whole = pairs(
        music, tmp_path / "whole", text_model, max_patches=8, dropout=0.1, epochs=3, batch_size=6, max_grad_norm=1.0
    )
    start_run(whole, make_alignment_task)
    parts = tmp_path / "parts"
    settings = {"max_patches": 8, "dropout": 0.1, "epochs": 3, "batch_size": 6, "max_grad_norm": 1.0}
    first = start_run(pairs(music, parts, text_model, max_steps=stop_at, **settings), make_alignment_task)
    assert (first.reason, first.progress.step) == ("steps", stop_at)
    start_run(pairs(music, parts, text_model, resume="auto", **settings), make_alignment_task)
    expected, got = weights_of(tmp_path / "whole"), weights_of(parts)
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    losses = [(row["step"], row["loss"]) for row in rows_of(parts)]
    assert losses == [(row["step"], row["loss"]) for row in rows_of(tmp_path / "whole")]


@pytest.mark.kernels
def test_m3_resume_is_exact_too(music, tmp_path):
    start_run(m3(music, tmp_path / "whole"), make_m3_task)
    start_run(m3(music, tmp_path / "parts", max_steps=3), make_m3_task)
    start_run(m3(music, tmp_path / "parts", resume="auto"), make_m3_task)
    expected, got = weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts")
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_a_run_is_not_overwritten_nor_resumed_under_other_settings(music, tmp_path):
    start_run(m3(music, tmp_path, epochs=1), make_m3_task)
    with pytest.raises(ConfigError, match="--resume auto"):
        start_run(m3(music, tmp_path, epochs=1), make_m3_task)
    with pytest.raises(ConfigError, match=r"settings: --weight_decay was 0\.01, is 0\.1\. Name another --out"):
        start_run(m3(music, tmp_path, epochs=2, resume="auto", weight_decay=0.1, learning_rate=0.01), make_m3_task)
    (tmp_path / "last.pt").write_bytes(b"torn")
    with pytest.raises(ConfigError, match="cannot be read"):
        start_run(m3(music, tmp_path, epochs=2, resume="auto"), make_m3_task)


@pytest.mark.kernels
def test_clamp3_learns_from_m3_weights(music, tmp_path, text_model):
    start_run(m3(music, tmp_path / "m3", epochs=1), make_m3_task)
    encoder = weights_of(tmp_path / "m3")["encoder.patch_embedding.weight"]
    config = pairs(
        music, tmp_path / "run", text_model, init=(str(tmp_path / "m3/best.safetensors"),), epochs=30, dropout=0.0,
        learning_rate=3e-3, width=64,
    )  # fmt: skip
    task = make_alignment_task(config, make_accelerator(config))
    assert torch.equal(task.module.model.symbolic_model.patch_embedding.weight, encoder)
    start_run(config, make_alignment_task)
    losses = [row["loss"] for row in rows_of(tmp_path / "run")]
    assert sum(losses[-4:]) < 0.9 * sum(losses[:4])
    assert {"eval_mrr_text_to_symbolic", "eval_symbolic_dimensions"} <= rows_of(tmp_path / "run", "epoch")[-1].keys()


@pytest.mark.kernels
def test_frozen_text_keeps_its_weights_and_its_dropout_off(music, tmp_path, text_model):
    config = pairs(music, tmp_path / "run", text_model, freeze_text=True, dropout=0.5)
    task = make_alignment_task(config, make_accelerator(config))
    before = {name: t.clone() for name, t in task.module.model.state_dict().items()}
    task.train()
    assert not task.module.model.text_model.training
    assert task.module.model.symbolic_model.training
    Trainer(task, config, make_accelerator(config)).fit()
    after = task.module.model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before if name.startswith("text_"))
    assert not torch.equal(after["symbolic_proj.weight"], before["symbolic_proj.weight"])


def test_exported_models_name_their_tokenizer(music, tmp_path, text_model, monkeypatch):
    folder = shutil.copytree(text_model, tmp_path / "text")
    monkeypatch.chdir(tmp_path)
    start_run(pairs(music, tmp_path / "run", "text", epochs=1), make_alignment_task)
    monkeypatch.chdir("/")  # documented commands work from anywhere
    assert Clamp3.from_pretrained(tmp_path / "run/best.safetensors").encode(["Piece key C"]).ok.all()
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(WeightsError, match=r"no tokenizer in .*/text: .*; name its folder with --text_model"):
        Clamp3.from_pretrained(tmp_path / "run").tokenizer()
    assert Clamp3.from_pretrained(tmp_path / "run", text_model=tmp_path / "elsewhere").tokenizer().pad_id == 1


def test_the_tokenizer_fits_the_text_tower_of_init(music, tmp_path, text_model, caplog):
    start_run(pairs(music, tmp_path / "first", text_model, epochs=1), make_alignment_task)
    init, default = (str(tmp_path / "first"),), Clamp3Training().text_model
    start_run(pairs(music, tmp_path / "second", default, init=init, epochs=1), make_alignment_task)
    assert describe(tmp_path / "second").tokenizer_dir == text_model
    assert "tokenizer" not in caplog.text
    other = shutil.copytree(text_model, tmp_path / "other") / "tokenizer.json"
    content = json.loads(other.read_text())
    words = content["model"]["vocab"]
    words["key"], words["number"] = words["number"], words["key"]
    other.write_text(json.dumps(content))
    (other.parent / "tokenizer_config.json").write_text('{"pad_token": "<unk>"}')
    config = pairs(music, tmp_path / "third", other.parent, init=init)
    make_alignment_task(config, make_accelerator(config))
    assert "other pads with token 3, the text tower with 1" in caplog.text
    assert f"other is not that of --init, {text_model}" in caplog.text
    words["more"] = len(words)
    other.write_text(json.dumps(content))
    with pytest.raises(WeightsError, match=r"other has 38 tokens, but the text tower knows 37; .* by --text_model"):
        make_alignment_task(config, make_accelerator(config))


def test_workers_may_be_spawned(music, tmp_path, text_model):
    """As on macOS, Windows and from Python 3.14 on: what they need pickles, and the model stays here."""
    config, m3_config = pairs(music, tmp_path, text_model, width=256), m3(music, tmp_path, width=256)
    for task in (
        make_alignment_task(config, make_accelerator(config)),
        make_m3_task(m3_config, make_accelerator(config)),
    ):
        sent = pickle.dumps((task.train_data, task.collate))
        assert len(sent) < 20_000
        data, collate = pickle.loads(sent)
        expected = task.collate([task.train_data[0, i] for i in range(4)])
        again = collate([data[0, i] for i in range(4)])
        assert all(torch.equal(again[name], values) for name, values in expected.items())
    loader = make_loader(task, [np.arange(4)], 0, workers=1, pin=False)
    loader.multiprocessing_context = "spawn"
    (batch,) = loader
    assert all(torch.equal(batch[name], values) for name, values in expected.items())


@pytest.mark.kernels
def test_sub_batches_do_not_change_the_vectors(music, tmp_path, text_model):
    config = pairs(music, tmp_path, text_model)
    task = make_alignment_task(config, make_accelerator(config))
    batch = task.collate([task.train_data[0, i] for i in range(8)])
    task.module.eval()
    with torch.no_grad():
        split = task.module(batch)
        task.module.sub_batches = 1
        whole = task.module(batch)
    assert split.keys() == {"text", "symbolic"}
    assert all(torch.allclose(split[view], whole[view], atol=1e-6) for view in split)


def test_missing_fields_only_mtf_and_bad_rows(music, tmp_path, text_model):
    rows = [json.loads(line) for line in (music / "train.jsonl").read_text().splitlines()]
    rows[0]["filepaths"] = [rows[0]["filepaths"][1]]  # only the .mtf
    del rows[1]["analysis"]
    rows[2]["translations"] = None
    rows[3]["filepaths"] = ["absent.abc"]
    lines = [json.dumps(row) for row in rows]
    path = music / "odd.jsonl"
    path.write_text("\n".join([*lines, "{torn"]))
    config = pairs(music, tmp_path / "run", text_model, train_jsonl=path, max_bad=0.1, epochs=1)
    task = make_alignment_task(config, make_accelerator(config))
    assert len(task.train_data) + len(task.eval_data) == 23
    start_run(config, make_alignment_task)
    assert rows_of(tmp_path / "run", "epoch")[-1]["eval_loss"] > 0
    with pytest.raises(DataError, match=r"2 of 25 items cannot be used, more than --max_bad 0\.05"):
        start_run(pairs(music, tmp_path / "strict", text_model, train_jsonl=path), make_alignment_task)


def test_what_is_missing_is_said(music, tmp_path, text_model):
    with pytest.raises(ConfigError, match="--train_jsonl"):
        start_run(pairs(music, tmp_path / "a", text_model, train_jsonl=None), make_alignment_task)
    with pytest.raises(DataError, match="cannot be read"):
        start_run(pairs(music, tmp_path / "b", text_model, train_jsonl=tmp_path / "no.jsonl"), make_alignment_task)
    with pytest.raises(WeightsError, match="--text_from_scratch"):
        start_run(pairs(music, tmp_path / "c", text_model, text_from_scratch=False), make_alignment_task)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="None of the 0 training items"):
        start_run(m3(tmp_path / "empty", tmp_path / "d"), make_m3_task)


def test_settings_out_of_range_name_their_flag():
    for wrong in (
        {"batch_size": 0},
        {"schedule": "linear"},
        {"n_heads": 5},
        {"patch_length": 600},
        {"eval_split": 1.0},
    ):
        with pytest.raises(ConfigError, match=f"--{next(iter(wrong))} must be"):
            M3Training(**wrong)


def test_learning_rate_curve():
    config = M3Training(learning_rate=1.0, warmup_steps=4)
    assert [learning_rate_at(step, config, total_steps=10) for step in range(6)] == [0, 0.25, 0.5, 0.75, 1, 1]
    config = M3Training(learning_rate=1.0, warmup_steps=0, schedule="cosine")
    assert learning_rate_at(5, config, total_steps=10) == pytest.approx(0.5)
    assert learning_rate_at(0, config, total_steps=10, time_share=1.0) == pytest.approx(0.0)
    assert learning_rate_at(0, M3Training(warmup_steps=0), total_steps=1) == 1e-4


def test_recorded_rates_follow_the_warm_up(music, tmp_path):
    start_run(m3(music, tmp_path, epochs=1, warmup_steps=4, learning_rate=1e-3), make_m3_task)
    rates = [row["lr"] for row in rows_of(tmp_path)]
    assert rates[:5] == pytest.approx([0, 0.25e-3, 0.5e-3, 0.75e-3, 1e-3])


def test_sigterm_saves_and_ends_with_0(music, tmp_path):
    command = [sys.executable, str(ROOT / "code/train_m3.py"), "--data", str(music), "--out", str(tmp_path / "run"),
               "--width", "32", "--n_layers", "1", "--n_heads", "2", "--max_patches", "32", "--batch_size", "4",
               "--epochs", "100000", "--log_every", "1", "--eval_split", "0"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    metrics = tmp_path / "run/metrics.jsonl"
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not (metrics.exists() and metrics.stat().st_size):
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGTERM)
    printed, _ = process.communicate(timeout=30)  # what schedulers grant before they kill
    assert process.returncode == 0
    assert "stopped on request" in printed
    step = torch.load(tmp_path / "run/last.pt", weights_only=True)["progress"]["step"]
    assert step == rows_of(tmp_path / "run")[-1]["step"] >= 1


def test_errors_become_one_sentence_and_code_2(music, tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "code"))
    import train_m3

    arguments = ["--data", str(music), "--out", str(tmp_path), "--mixed_precision", "fp16"]
    if torch.cuda.is_available():
        pytest.skip("fp16 works here")
    assert run_main(lambda: train_m3.main(arguments)) == 2
    assert "--mixed_precision fp16 needs a CUDA device" in capsys.readouterr().err


def test_released_names_in_config_are_the_defaults(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "code"))
    import config as released
    import train_clamp3_symbolic

    monkeypatch.setattr(released, "CLAMP3_TRAIN_JSONL", "somewhere/train.jsonl")
    monkeypatch.setattr(released, "LOGIT_SCALE", 2)
    args = train_clamp3_symbolic.build_parser().parse_args(["--batch_size", "7"])
    from clamp3.training.config import to_plain
    from clamp3.training.flags import from_flags

    config = from_flags(Clamp3Training, args)
    assert config.train_jsonl == Path("somewhere/train.jsonl")
    assert (config.logit_scale, config.batch_size, config.eval_jsonl) == (2.0, 7, None)
    assert json.loads(json.dumps(to_plain(config)))["train_jsonl"] == "somewhere/train.jsonl"
