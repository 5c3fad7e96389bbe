"""A config.py of the released repositories: every name in it is honoured, or refused by name."""

import logging
import os
import types
from pathlib import Path

import pytest
import torch
from training_music import write_music, write_text_model

from clamp3.cli import parser_for
from clamp3.errors import ConfigError
from clamp3.training import launch
from clamp3.training.alignment import make_alignment_task
from clamp3.training.config import AudioTraining, Clamp2Training, Clamp3Training, M3Training
from clamp3.training.flags import add_flags, from_flags
from clamp3.training.loop import make_accelerator
from clamp3.training.m3_task import make_m3_task

NAME = "weights_clamp3_saas_h_size_768.pth"
# Names and values as published; the weights' names are shorter.
PUBLISHED = {
    "EVAL_SPLIT": 0.01, "WANDB_KEY": "<YOUR_WANDB_KEY>", "M3_TRAIN_FOLDERS": ["<YOUR_TRAINING_DATA_FOLDER>"],
    "M3_EVAL_FOLDERS": ["<YOUR_EVALUATION_DATA_FOLDER>"], "PATCH_SIZE": 64, "PATCH_LENGTH": 512,
    "PATCH_NUM_LAYERS": 12, "TOKEN_NUM_LAYERS": 3, "M3_HIDDEN_SIZE": 768, "M3_NUM_EPOCH": 100,
    "M3_LEARNING_RATE": 1e-4, "M3_BATCH_SIZE": 16, "M3_MASK_RATIO": 0.45, "M3_DETERMINISTIC": True,
    "M3_WANDB_LOG": True, "M3_LOAD_CKPT": True, "M3_WEIGHTS_PATH": "weights_m3_h.pth", "M3_LOGS_PATH": "logs_m3_h.txt",
    "CLAMP3_TRAIN_JSONL": "<YOUR_TRAINING_JSONL_FILE>", "CLAMP3_EVAL_JSONL": "<YOUR_EVALUATION_JSONL_FILE>",
    "CLAMP3_HIDDEN_SIZE": 768, "TEXT_MODEL_NAME": "FacebookAI/xlm-roberta-base", "MAX_TEXT_LENGTH": 128,
    "AUDIO_HIDDEN_SIZE": 768, "AUDIO_NUM_LAYERS": 12, "MAX_AUDIO_LENGTH": 128, "CLAMP3_NUM_EPOCH": 100,
    "CLAMP3_LEARNING_RATE": 2e-5, "CLAMP3_BATCH_SIZE": 250, "LOGIT_SCALE": 1, "FREEZE_TEXT": False,
    "TEXT_DROPOUT": True, "CLAMP3_DETERMINISTIC": True, "CLAMP3_LOAD_M3": True, "CLAMP3_WANDB_LOG": True,
    "CLAMP3_LOAD_CKPT": True, "SAVE_EVERY": 5, "CLAMP3_WEIGHTS_PATH": NAME, "CLAMP3_LOGS_PATH": "logs.txt",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)


def parsed(kind, *flags, **changes):
    file = types.SimpleNamespace(**{**PUBLISHED, **changes})
    return add_flags(parser_for(None), kind, file).parse_args([str(flag) for flag in flags])


def config_of(kind, *flags, **changes):
    return from_flags(kind, parsed(kind, *flags, **changes))


def test_plain_values_and_places_nobody_filled_in():
    config = config_of(Clamp3Training)
    assert (config.train_jsonl, config.eval_jsonl, config.batch_size) == (None, None, 250)
    m3 = config_of(M3Training)
    assert (m3.data, m3.eval_data, m3.batch_size) == ((), (), 16)
    config = config_of(Clamp3Training, CLAMP3_TRAIN_JSONL="a/train.jsonl")
    assert config.train_jsonl == Path("a/train.jsonl")


def test_audio_takes_the_one_rate_there_is():
    config = config_of(AudioTraining)
    assert (config.learning_rate, config.batch_size) == (2e-5, 250)
    assert config_of(AudioTraining, CLAMP3_AUDIO_LEARNING_RATE=3e-5).learning_rate == 3e-5


def test_clamp2_has_names_of_its_own():
    changes = {"TRAIN_JSONL": "two.jsonl", "CLAMP2_HIDDEN_SIZE": 512, "TRAIN_FOLDERS": ["abc"], "CLAMP2_LOAD_M3": True}
    config = config_of(Clamp2Training, **changes)
    assert (config.train_jsonl, config.hidden_size, config.init) == (Path("two.jsonl"), 512, ("m3",))
    del (names := dict(PUBLISHED))["M3_TRAIN_FOLDERS"]
    file = types.SimpleNamespace(**names, **changes)
    assert from_flags(M3Training, add_flags(parser_for(None), M3Training, file).parse_args([])).data == (Path("abc"),)


def test_m3_is_loaded_where_the_file_says_so():
    assert config_of(Clamp3Training).init == ("m3",)
    assert config_of(Clamp3Training, CLAMP3_LOAD_M3=False).init == ()
    assert config_of(Clamp3Training, "--init", "mine.pth").init == ("mine.pth",)
    trained = Path("runs/weights_m3_h/best.safetensors")  # where train_m3.py writes with this file
    assert config_of(M3Training).out == trained.parent
    trained.parent.mkdir(parents=True)
    trained.touch()
    assert config_of(Clamp3Training).init == (str(trained),)
    Path("weights_m3_h.pth").touch()
    assert config_of(Clamp3Training).init == ("weights_m3_h.pth",)


def test_runs_go_on_unless_the_file_says_no():
    assert config_of(M3Training).resume == config_of(Clamp3Training).resume == "auto"
    assert config_of(Clamp3Training, CLAMP3_LOAD_CKPT=False).resume == "no"
    assert config_of(M3Training, CLAMP3_LOAD_CKPT=False).resume == "auto"


def test_the_weights_name_names_the_run():
    assert config_of(Clamp3Training).out == Path("runs/symbolic_clamp3_saas_h_size_768")
    assert config_of(AudioTraining).out == Path("runs/audio_clamp3_saas_h_size_768")
    assert config_of(Clamp3Training, CLAMP3_WEIGHTS_PATH="runs/mine").out == Path("runs/mine")
    assert config_of(Clamp3Training, CLAMP3_WEIGHTS_PATH="c2").out == Path("runs/clamp3_symbolic")


@pytest.mark.parametrize("modality", ["symbolic", "audio"])
def test_existing_weights_are_gone_on_from(modality):
    """Of the same music the run goes on; of other music only the weights count, as in the released scripts."""
    torch.save({"model": {"text_proj.weight": torch.ones(1)}, "epoch": 3, "modality": modality}, NAME)
    args = parsed(Clamp3Training)
    started = launch._started(from_flags(Clamp3Training, args), args.file_settings)
    same = modality == "symbolic"
    assert (started.resume, started.init) == ((NAME, ("m3",)) if same else ("auto", (NAME,)))
    started.out.mkdir(parents=True)
    (started.out / "last.pt").touch()  # from then on its own run counts, with the same settings
    again = launch._started(from_flags(Clamp3Training, args), args.file_settings)
    assert (again.resume, again.init) == ("auto", started.init)
    for flags in (["--init", "other.pth"], ["--resume", "no"]):
        args = parsed(Clamp3Training, *flags)
        config = from_flags(Clamp3Training, args)
        assert launch._started(config, args.file_settings) == config


def notes(kind, **changes):
    return "\n".join(parsed(kind, **changes).file_settings.notes)


def test_what_has_no_effect_is_said_by_name(caplog, monkeypatch):
    said = notes(Clamp3Training)
    assert "CLAMP3_WEIGHTS_PATH: weights are written to runs/symbolic_clamp3" in said
    assert "CLAMP3_LOGS_PATH: losses are written to metrics.jsonl" in said
    assert "CLAMP3_WANDB_LOG: nothing is logged there without a WANDB_API_KEY" in said
    assert "DETERMINISTIC" not in said and "WANDB_KEY:" not in said and "M3_" not in said
    assert "CLAMP3_DETERMINISTIC: every run is seeded" in notes(Clamp3Training, CLAMP3_DETERMINISTIC=False)
    assert "CLAMP3_LOAD_M3: there is no symbolic tower" in notes(AudioTraining)
    secret = notes(M3Training, WANDB_KEY="secret-key")
    assert "WANDB_KEY: a key is read from WANDB_API_KEY" in secret and "secret-key" not in secret
    with pytest.raises(ConfigError, match="PATCH_SIZE in config"):
        parsed(M3Training, PATCH_SIZE=32)
    caplog.set_level(logging.INFO)
    args = parsed(Clamp3Training)
    launch._started(from_flags(Clamp3Training, args), args.file_settings)
    assert "config.py: CLAMP3_LOGS_PATH" in caplog.text
    caplog.clear()
    monkeypatch.setitem(os.environ, "RANK", "1")
    launch._started(from_flags(Clamp3Training, args), args.file_settings)
    assert caplog.text == ""


def test_wandb_is_on_where_there_is_a_key(monkeypatch):
    assert not config_of(Clamp3Training).wandb
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert config_of(Clamp3Training).wandb
    assert not config_of(Clamp3Training, CLAMP3_WANDB_LOG=False).wandb


def test_a_tower_that_starts_at_random_is_said(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    music, text_model = write_music(tmp_path), write_text_model(tmp_path)
    sizes = {"width": 32, "n_layers": 1, "n_heads": 2, "max_patches": 32, "out": tmp_path / "run"}
    texts = {"train_jsonl": music / "train.jsonl", "text_model": str(text_model), "text_from_scratch": True}
    config = Clamp3Training(**sizes, **texts, text_length=16, hidden_size=16)
    make_alignment_task(config, make_accelerator(config))
    assert "the text tower starts at random\n" in caplog.text
    assert "the symbolic tower starts at random; --init m3, or CLAMP3_LOAD_M3 = True in config.py" in caplog.text
    audio = {"audio_width": 32, "audio_layers": 1, "audio_heads": 2, "audio_length": 8}
    config = AudioTraining(**sizes, **texts, **audio, text_length=16, hidden_size=16)
    make_alignment_task(config, make_accelerator(config))
    assert "the audio tower starts at random\n" in caplog.text
    m3 = M3Training(**sizes, data=(music,))
    make_m3_task(m3, make_accelerator(m3))
    assert "M3 starts at random" in caplog.text


@pytest.mark.parametrize("config", [Clamp3Training, AudioTraining, Clamp2Training, M3Training])
def test_without_a_file_the_same_command_goes_on_too(config):
    """`clamp3 train` has no config.py; what the scripts promise of interruptions holds for it as well."""
    assert add_flags(parser_for(""), config).get_default("resume") == "auto"
