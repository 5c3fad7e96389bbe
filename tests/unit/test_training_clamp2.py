"""CLaMP 2 from its texts to its file, and that file as the start of CLaMP 3."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from training_music import read_rows, write_music, write_rows, write_text_model

from clamp3.models.clamp3 import Clamp3Model
from clamp3.models.config import Clamp3Config, TowerConfig
from clamp3.models.registry import resolve
from clamp3.models.weights import describe
from clamp3.training.alignment import make_alignment_task
from clamp3.training.config import Clamp2Training, Clamp3Training
from clamp3.training.loop import make_accelerator, start_run

TINY = {"width": 64, "n_layers": 1, "max_patches": 32, "warmup_steps": 2, "log_every": 1, "batch_size": 6, "epochs": 1,
        "text_from_scratch": True, "text_length": 16, "hidden_size": 16, "eval_split": 0.2}  # fmt: skip


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    folder = write_music(tmp_path_factory.mktemp("music"))
    rows = read_rows(folder / "train.jsonl")
    for row in rows:
        row["summary_en"] = row.pop("analysis")
    write_rows(folder / "clamp2.jsonl", rows)
    return folder


@pytest.fixture(scope="module")
def text_model(tmp_path_factory):
    return write_text_model(tmp_path_factory.mktemp("text"))


def test_its_trainer_evaluates_on_summaries(music, text_model, tmp_path):
    config = Clamp2Training(**TINY, train_jsonl=music / "clamp2.jsonl", out=tmp_path / "c2", text_model=str(text_model))
    task = make_alignment_task(config, make_accelerator(config))
    ids = task.eval_data[-1, 0]["text"].tolist()
    number = task.eval_data.records[0].item_id[1:]
    assert ids == task.eval_data.tokenizer.encode_lines([f"key {KEYS[int(number) % 6]} number {number}"])
    start_run(config, make_alignment_task)
    assert describe(tmp_path / "c2").config.towers == ("text", "symbolic")


KEYS = ("C", "D", "G", "Am", "F", "Bb")


@pytest.fixture
def published(tmp_path):
    """Return a small checkpoint as CLaMP 2's trainer writes it, and the model that is in it."""
    text = TowerConfig(width=64, n_layers=1, n_heads=1, feed_forward=128, max_length=34, vocab_size=40,
                       type_vocab_size=1, layer_norm_eps=1e-5, pad_id=1)  # fmt: skip
    symbolic = TowerConfig(width=64, n_layers=1, n_heads=1, feed_forward=128, max_length=32)
    config = Clamp3Config(text=text, symbolic=symbolic, hidden_size=16, text_length=16, symbolic_length=32)
    model = Clamp3Model(config, generator=torch.Generator().manual_seed(3))
    state = {name.replace("symbolic_", "music_"): tensor for name, tensor in model.state_dict().items()}
    assert sum(name.startswith(("music_model.", "music_proj.")) for name in state) > 10
    path = tmp_path / "weights_clamp2.pth"
    torch.save({"model": state, "optimizer": {}, "lr_sched": {}, "epoch": 99, "best_epoch": 99, "min_eval_loss": 0.04},
               path)  # fmt: skip
    return path, model


def test_its_weights_start_clamp3(music, text_model, published, tmp_path):
    path, model = published
    config = Clamp3Training(**TINY, train_jsonl=music / "train.jsonl", out=tmp_path / "run", init=(str(path),),
                            text_model=str(text_model))  # fmt: skip
    task = make_alignment_task(config, make_accelerator(config))
    started = task.module.model.state_dict()
    assert started.keys() == model.state_dict().keys()
    assert all(torch.equal(started[name], tensor) for name, tensor in model.state_dict().items())
    start_run(config, make_alignment_task)


def test_it_is_known_by_name(tmp_path, monkeypatch):
    """The file is named after the published log of its training."""
    monkeypatch.setenv("CLAMP3_CACHE", str(tmp_path))
    file = ("weights_clamp2_h_size_768_lr_5e-05_batch_128_scale_1_t_length_128_t_model_FacebookAI_xlm-roberta-base"
            "_t_dropout_True_m3_True.pth")  # fmt: skip
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / file).touch()
    assert resolve("clamp2") == tmp_path / "weights" / file


def test_extraction_by_the_released_flag(music, text_model, published, tmp_path, script):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.abc").write_bytes((music / "p00.abc").read_bytes())
    (tmp_path / "in/b.txt").write_text("key C\n", encoding="utf-8")
    flags = ["--model", str(published[0]), "--text_model", str(text_model)]
    folders = [str(tmp_path / "in"), str(tmp_path / "out")]
    assert script("code/extract_clamp2.py").main([*folders, "--normalize", *flags]) == 0
    vectors = [np.load(tmp_path / "out" / name) for name in ("a.npy", "b.npy")]
    assert [vector.shape for vector in vectors] == [(1, 16), (1, 16)]
    assert json.loads((tmp_path / "out/features.json").read_text())
