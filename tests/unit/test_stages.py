"""The stages as a recipe: who trains when, what stays as it is, what each stage did, and going on after a stop."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from training_music import AUDIO_WIDTH, read_rows, write_music, write_rows, write_text_model

from clamp3.errors import ConfigError, DataError
from clamp3.jobs.steps import Step, call, run_steps
from clamp3.models.weights import describe, load_model, save_safetensors
from clamp3.training.stages import ORDERS, check_frozen, plan

CODE = Path(__file__).resolve().parents[2] / "code"


def test_the_orders_are_those_of_the_paper():
    """Text trains in the first stage of each letter pair that begins with it; protocols.md 1.4."""
    assert {order: "".join(music[0] for music, _ in stages) for order, stages in ORDERS.items()} == {
        order: order for order in ("sa", "saas", "as", "assa")
    }
    saas = plan("saas")
    assert [stage.trained for stage in saas] == [("text", "symbolic"), ("audio",), ("text", "audio"), ("symbolic",)]
    assert [stage.after for stage in saas] == [None, "1_symbolic", "2_audio", "3_audio"]
    assert [stage.trained for stage in plan("assa")] == [
        ("text", "audio"), ("symbolic",), ("text", "symbolic"), ("audio",)
    ]  # fmt: skip
    assert [(s.name, s.after) for s in plan("sa", ("abc-mtf",))[2:]] == [
        ("text_pairs", "2_audio"), ("all_pairs", "2_audio")
    ]  # fmt: skip


def test_frozen_towers_are_compared_bit_by_bit(tiny_weights, tmp_path):
    loaded = load_model(tiny_weights, ("text", "symbolic", "audio"))
    with torch.no_grad():
        loaded.model.audio_proj.weight[0, 0] += 1e-6
    changed = tmp_path / "changed.safetensors"
    save_safetensors(loaded.model, loaded.config, changed)
    assert check_frozen(tiny_weights, changed, ("audio",)) == ["text", "symbolic"]
    with pytest.raises(DataError, match=r"audio_proj\.weight should be frozen, but differs"):
        check_frozen(tiny_weights, changed, ("symbolic",))
    two = load_model(tiny_weights, ("text", "audio"))
    save_safetensors(two.model, two.config, changed)
    with pytest.raises(DataError, match=r"symbolic_.* should be frozen"):
        check_frozen(tiny_weights, changed, ("text",))
    assert check_frozen(changed, tiny_weights, ("text", "audio")) == []  # a tower that is new was nowhere frozen


def test_steps_are_done_once_and_not_under_other_settings(tmp_path):
    done, path = [], tmp_path / "state.json"

    def step(name, settings=1, error=None):
        def run():
            if error:
                raise error
            done.append(name)
            return {"of": name}

        return Step(name, settings, run)

    with pytest.raises(KeyboardInterrupt):
        list(run_steps(path, [step("a"), step("b", error=KeyboardInterrupt())]))
    found = list(run_steps(path, [step("a"), step("b"), step("c")]))
    assert done == ["a", "b", "c"]
    assert [(name, result) for name, result, _ in found] == [(name, {"of": name}) for name in "abc"]
    with pytest.raises(ConfigError, match="the step b is done, but with other settings, 1"):
        list(run_steps(path, [step("a"), step("b", settings=2)]))
    path.write_text("{torn")
    with pytest.raises(ConfigError, match="damaged"):
        list(run_steps(path, [step("a")]))


def test_a_program_that_fails_or_is_stopped(tmp_path):
    with pytest.raises(DataError, match="the child ended with exit code 3"):
        call([sys.executable, "-c", "raise SystemExit(3)"], "the child")
    child = "import signal, time, pathlib; signal.signal(15, lambda *_: exit(pathlib.Path('ended').touch())); " \
            "pathlib.Path('began').touch(); time.sleep(60)"  # fmt: skip
    ours = f"from clamp3.jobs.steps import call; import sys; call([sys.executable, '-c', {child!r}], 'the child')"
    process = subprocess.Popen([sys.executable, "-c", ours], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "began").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert "KeyboardInterrupt" in process.communicate(timeout=30)[1]
    assert (tmp_path / "ended").exists()


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    folder = write_music(tmp_path_factory.mktemp("music"))
    rows = read_rows(folder / "train.jsonl")
    write_rows(folder / "few.jsonl", rows[:18])
    write_rows(folder / "valid.jsonl", rows[18:])
    return folder


@pytest.fixture(scope="module")
def text_model(tmp_path_factory):
    return write_text_model(tmp_path_factory.mktemp("text"))


@pytest.fixture
def recipe(script, monkeypatch):
    """Return the recipe's main, with trainers in this process, and the list of the stages they were called for."""
    monkeypatch.syspath_prepend(str(CODE))
    stages = script("code/recipes/stages.py")
    from recipes import stage_runs

    called = []

    def train(stage, flags, launch):
        called.append(stage.name)
        assert script(f"code/train_clamp3_{stage.music}.py").main(flags) == 0

    monkeypatch.setattr(stage_runs, "train", train)
    return stages.main, called


def flags(music, text_model, out, *more):
    sizes = {"width": 32, "n_layers": 1, "n_heads": 2, "max_patches": 32, "warmup_steps": 0, "batch_size": 6,
             "text_length": 16, "hidden_size": 16, "audio_width": AUDIO_WIDTH, "audio_layers": 1, "audio_heads": 2,
             "audio_length": 8, "max_bad": 1, "save_every": 0, "epochs": 5, "dropout": 0,
             "text_model": text_model}  # fmt: skip
    return ["--train_jsonl", str(music / "few.jsonl"), "--eval_jsonl", str(music / "valid.jsonl"),
            "--work_dir", str(out), "--init", "none", "--symbolic=--max_steps 2", "--audio=--max_steps 3", *more,
            "--", "--text_from_scratch", "--standardise", "--learning_rate", "2e-3",
            *(part for name, value in sizes.items() for part in (f"--{name}", str(value)))]  # fmt: skip


def test_saas_and_pairs_with_a_stop_in_between(music, text_model, recipe, tmp_path, monkeypatch, capsys):
    main, called = recipe
    out = tmp_path / "saas"
    from recipes import stage_runs

    whole = stage_runs.train

    def stopped(stage, flags, launch):
        if stage.name == "2_audio" and "2_audio" not in called:
            called.append(stage.name)
            raise KeyboardInterrupt
        whole(stage, flags, launch)

    monkeypatch.setattr(stage_runs, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        main(flags(music, text_model, out, "--pairs"))
    assert main(flags(music, text_model, out, "--pairs")) == 0
    assert called == ["1_symbolic", "2_audio", "2_audio", "3_audio", "4_symbolic", "text_pairs", "all_pairs"]
    rows = json.loads((out / "report.json").read_text())
    assert [row["frozen"] for row in rows] == [[], ["text", "symbolic"], ["symbolic"], ["text", "audio"], [], []]
    assert [row["step"] for row in rows[:2]] == [2, 3]
    assert set(rows[0]["retrieval"]) == {"text → score", "text → MIDI", "score → MIDI"}  # no audio tower yet
    assert rows[-1]["retrieval"]["score → audio"]["references"] == 6
    assert rows[-1]["retrieval"]["score → MIDI"]["references"] == 2
    assert 0 < rows[-1]["retrieval"]["text → audio"]["mrr"] <= 1
    report = (out / "report.md").read_text(encoding="utf-8")
    assert report.count("| –") >= 2 and "| chance |" in report and report in capsys.readouterr().out
    assert describe(out / "all_pairs").config.towers == ("text", "symbolic", "audio")
    sa = [out / name / "best.safetensors" for name in ("1_symbolic", "2_audio")]
    assert check_frozen(*sa, ("audio",)) == ["text", "symbolic"]
    assert main(flags(music, text_model, out, "--pairs")) == 0  # all done
    assert len(called) == 7
    with pytest.raises(ConfigError, match="the step 1_symbolic is done, but with other settings"):
        main(flags(music, text_model, out, "--pairs", "--symbolic=--max_steps 4"))


def test_m3_joins_at_the_first_symbolic_stage(music, text_model, recipe, tmp_path):
    from clamp3.models.config import DecoderConfig, M3Config, TowerConfig
    from clamp3.models.m3 import M3Model

    tower = TowerConfig(width=32, n_layers=1, n_heads=2, feed_forward=64, max_length=32)
    sizes = DecoderConfig(width=32, n_layers=1, n_heads=2, feed_forward=64)
    config = M3Config(encoder=tower, decoder=sizes, patch_length=32)
    save_safetensors(M3Model(config), config, tmp_path / "m3.safetensors")
    main, called = recipe
    arguments = flags(music, text_model, tmp_path / "as", "--order", "as", "--init", f"xlmr+{tmp_path}/m3.safetensors")
    assert main(arguments) == 0
    assert called == ["1_audio", "2_symbolic"]
    assert describe(tmp_path / "as/1_audio").config.towers == ("text", "audio")
    assert describe(tmp_path / "as/2_symbolic").config.symbolic.feed_forward == 64  # not the 4 x 32 of a new tower


def test_wrong_flags_stop_it_before_anything_is_trained(music, text_model, recipe, tmp_path):
    main, called = recipe
    with pytest.raises(ConfigError, match="--stage 5_audio: the stages are 1_symbolic, 2_audio"):
        main(flags(music, text_model, tmp_path, "--stage", "5_audio", "--epochs 3"))
    with pytest.raises(ConfigError, match="--learning_rate must be above 0"):
        main(flags(music, text_model, tmp_path, "--stage", "4_symbolic", "--learning_rate 0"))
    with pytest.raises(SystemExit):
        main(flags(music, text_model, tmp_path, "--stage", "4_symbolic", "--learningrate 1"))
    assert called == []
