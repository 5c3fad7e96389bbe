"""Adapters: only they move, and the exported file is a plain checkpoint with the same vectors."""

from __future__ import annotations

import sys

import pytest
import torch
from training_music import AUDIO_WIDTH, read_rows, write_music, write_text_model

from clamp3.errors import ConfigError
from clamp3.models.weights import describe, load_model
from clamp3.training.alignment import make_alignment_task
from clamp3.training.config import AudioTraining, Clamp3Training
from clamp3.training.loop import Trainer, make_accelerator, start_run
from clamp3.training.pair_encoder import PairEncoder

pytestmark = pytest.mark.kernels

TINY = {"width": 32, "n_layers": 2, "n_heads": 2, "max_patches": 32, "warmup_steps": 0, "log_every": 1,
        "batch_size": 6, "epochs": 2, "learning_rate": 5e-3, "text_from_scratch": True, "text_length": 16,
        "hidden_size": 16, "eval_split": 0.2, "dropout": 0.1}  # fmt: skip


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    return write_music(tmp_path_factory.mktemp("music"))


@pytest.fixture(scope="module")
def text_model(tmp_path_factory):
    return write_text_model(tmp_path_factory.mktemp("text"))


def training(music, out, text_model, *, kind=Clamp3Training, **changes):
    settings = {"train_jsonl": music / "train.jsonl", "text_model": str(text_model), "out": out,
                "lora_towers": ("text", "symbolic"), "lora_rank": 4, **changes}  # fmt: skip
    return kind(**{**TINY, **settings})


@pytest.mark.parametrize("standardise", [False, True])
def test_base_weights_stay_and_the_export_is_plain(music, text_model, tmp_path, standardise):
    config = training(music, tmp_path, text_model, standardise=standardise)
    task = make_alignment_task(config, make_accelerator(config))
    before = {name: tensor.clone() for name, tensor in task.module.model.state_dict().items()}
    learned = [name for name, p in task.module.model.named_parameters() if p.requires_grad]
    assert learned and all("lora_" in name for name in learned)
    # query, key, value and three more matrices in each of the layers (1 of text, 2 of the scores); two projections
    assert len(learned) == 2 * (6 * (1 + 2) + 2)
    Trainer(task, config, make_accelerator(config)).fit()
    after = task.module.model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all("lora_" in name for name in moved)
    task.export(tmp_path / "last.safetensors", {})
    exported = load_model(tmp_path / "last.safetensors", ("text", "symbolic")).model
    assert not any("lora" in name or "base_layer" in name for name in exported.state_dict())
    batch = task.collate([task.train_data[-1, index] for index in range(6)])
    task.module.eval()
    with torch.no_grad():
        ours = task.module(batch)
        present = {view: torch.ones(6, dtype=torch.bool) for view in ours}
        ours = {view: torch.nn.functional.normalize(v, dim=1) for view, v in
                task.module.comparable(ours, present).items()}  # fmt: skip
        theirs = PairEncoder(exported).eval()(batch)
        for view, vectors in ours.items():
            plain = torch.nn.functional.normalize(theirs[view], dim=1)
            torch.testing.assert_close(plain, vectors, atol=1e-5, rtol=0)


def test_adapters_resume_exactly(music, text_model, tmp_path):
    start_run(training(music, tmp_path / "whole", text_model), make_alignment_task)
    start_run(training(music, tmp_path / "parts", text_model, max_steps=4), make_alignment_task)
    start_run(training(music, tmp_path / "parts", text_model, resume="auto"), make_alignment_task)
    whole, parts = (torch.load(tmp_path / name / "last.pt", weights_only=True)["model"] for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_one_tower_by_adapters_and_one_in_full(music, text_model, tmp_path):
    """Adapters on an aligned text tower, and a new audio tower; scores are carried along."""
    start_run(training(music, tmp_path / "s", text_model, lora_towers=()), make_alignment_task)
    config = training(music, tmp_path / "run", text_model, kind=AudioTraining, init=(str(tmp_path / "s"),),
                      lora_towers=("text",), audio_width=AUDIO_WIDTH, audio_layers=1, audio_heads=2,
                      audio_length=8)  # fmt: skip
    task = make_alignment_task(config, make_accelerator(config))
    learned = {name.split("_")[0] for name, p in task.module.model.named_parameters() if p.requires_grad}
    full = [name for name, p in task.module.model.named_parameters() if p.requires_grad and "lora_" not in name]
    assert learned == {"text", "audio"} and all(name.startswith("audio_") for name in full) and full
    start_run(config, make_alignment_task)
    before, after = (load_model(tmp_path / name, ("text", "symbolic")).model.state_dict() for name in ("s", "run"))
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in before if name.startswith("symbolic_")} <= same
    assert "text_proj.weight" not in same and "text_model.embeddings.word_embeddings.weight" in same
    assert describe(tmp_path / "run").config.towers == ("text", "symbolic", "audio")
    assert read_rows(tmp_path / "run/metrics.jsonl")


def test_what_cannot_be_is_said(music, text_model, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="--lora_towers audio: the towers that train are text, symbolic"):
        Clamp3Training(lora_towers=("audio",))
    with pytest.raises(ConfigError, match="--lora_towers text: the towers that train are symbolic"):
        Clamp3Training(lora_towers=("text",), freeze_text=True)
    monkeypatch.setitem(sys.modules, "peft", None)
    config = training(music, tmp_path, text_model)
    with pytest.raises(ConfigError, match=r"needs peft: pip install 'clamp3\[lora\]'"):
        make_alignment_task(config, make_accelerator(config))
