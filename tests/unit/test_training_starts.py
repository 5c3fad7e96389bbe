"""How a run starts and goes on: what weights bring along, presets, evaluation, harmless changes, the first lines."""

import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from training_music import read_rows, write_music, write_text_model

from clamp3.cli import run as run_main
from clamp3.data.splits import split
from clamp3.errors import ConfigError, WeightsError
from clamp3.training import opening
from clamp3.training import resume as going_on
from clamp3.training.alignment import AlignmentTask, make_alignment_task
from clamp3.training.config import Clamp3Training, M3Training, to_plain
from clamp3.training.device import make_optimizer
from clamp3.training.loop import Trainer, make_accelerator, start_run
from clamp3.training.loss import Objective
from clamp3.training.m3_task import make_m3_task
from clamp3.training.presets import comparison_of, settled

ROOT = Path(__file__).resolve().parents[2]
TINY = {"width": 32, "n_layers": 1, "n_heads": 2, "max_patches": 32, "warmup_steps": 1, "log_every": 1, "epochs": 2,
        "batch_size": 6, "learning_rate": 1e-3, "text_from_scratch": True, "text_length": 16, "hidden_size": 16,
        "eval_split": 0.2, "save_every": 0}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_text_model(folder)
    return write_music(folder)


def settings(data, out, **changes):
    return Clamp3Training(
        **{**TINY, "train_jsonl": data / "train.jsonl", "text_model": str(data), "out": out, **changes}
    )


def start(data, out, **changes):
    return start_run(settings(data, out, **changes), make_alignment_task)


def script(name, *flags):
    sys.path.insert(0, str(ROOT / "code"))
    try:
        return run_main(lambda: __import__(name).main(list(map(str, flags))))
    finally:
        sys.path.remove(str(ROOT / "code"))


def rows_of(out, kind):
    return [row for row in read_rows(out / "metrics.jsonl") if row["kind"] == kind]


# ---- what weights bring along ----


def test_mini_brings_its_lengths_and_its_loss(data, tmp_path, caplog):
    """`--init mini` and nothing else: 128 patches, 96 tokens, cosines with a learned scale from 14."""
    caplog.set_level("INFO")
    flags = ("--train_jsonl", data / "train.jsonl", "--init", "mini", "--out", tmp_path, "--max_steps", 2,
             "--batch_size", 6, "--log_every", 1, "--warmup_steps", 0)  # fmt: skip
    assert script("train_clamp3_symbolic", *flags) == 0
    (brought,) = [line for line in caplog.messages if line.startswith("from --init mini: ")]
    assert brought.removeprefix("from --init mini: ").split(" --") == [
        "--max_patches 128", "hidden_size 256", "text_length 96", "loss cosine"]  # fmt: skip
    first = rows_of(tmp_path, "train")[0]
    assert first["scale"] == pytest.approx(14, abs=0.01) and first["loss"] < 6  # 82 by the published loss
    written = torch.load(tmp_path / "last.pt", weights_only=True)["config"]
    assert (written["text_length"], written["max_patches"], written["loss"]) == (96, 128, "cosine")


def test_flags_count_before_what_weights_bring(data):
    asked = Clamp3Training(train_jsonl=data / "train.jsonl", init=("mini",))
    found = settled(asked)
    assert (found.max_patches, found.text_length, found.loss, found.hidden_size) == (128, 96, "cosine", 256)
    # Given on the command line they count, though they are the defaults.
    kept = settled(asked, given={"loss", "text_length"})
    assert (kept.max_patches, kept.text_length, kept.loss) == (128, 128, "infonce")
    standardised = settled(Clamp3Training(init=("mini",), standardise=True, logit_scale=14.0))
    assert (standardised.loss, standardised.logit_scale) == ("infonce", 14.0)
    with pytest.raises(ConfigError, match="--patch_length must be from 3 to max_patches 128, got 200"):
        settled(Clamp3Training(init=("mini",), patch_length=200))
    assert settled(M3Training()) == M3Training()


def test_the_preset_for_fine_tuning(data, caplog):
    found = settled(Clamp3Training(init=("mini",), preset="finetune", epochs=3))
    assert (found.epochs, found.best_by, found.loss, found.schedule) == (3, "mrr", "cosine", "cosine")
    assert found.patience and found.warmup_steps <= 20 and found.learning_rate < 1e-3
    with pytest.raises(ConfigError, match="--preset must be one of none, finetune"):
        Clamp3Training(preset="coarse")


def test_what_files_say_of_their_comparison():
    assert comparison_of({}) is None  # released ones: the flags count
    assert comparison_of({"training": {"loss": "nonsense"}}) is None
    assert comparison_of({"training": {"loss": "infonce", "logit_scale": 2.0}}).scale == 2.0
    sigmoid = comparison_of({"training": {"loss": "sigmoid"}, "objective": {"scale": 9.0, "bias": -3}})
    assert (sigmoid.loss, sigmoid.scale, sigmoid.bias) == ("sigmoid", 9.0, -3.0)


@pytest.mark.parametrize("loss", ["cosine", "sigmoid"])
def test_what_a_loss_learns_is_logged_not_decayed_and_carried_to_the_next_stage(data, tmp_path, loss):
    start(data, tmp_path / "one", loss=loss, learning_rate=1e-2)
    rows = rows_of(tmp_path / "one", "train")
    assert rows[0]["scale"] == pytest.approx(Objective(loss).log_scale.exp().item(), rel=1e-5)
    assert rows[-1]["scale"] != rows[0]["scale"]
    config = settings(data, tmp_path / "two", loss=loss, init=(str(tmp_path / "one"),), weight_decay=0.5)
    task = make_alignment_task(config, make_accelerator(config))
    learned = torch.load(tmp_path / "one/last.pt", weights_only=True)["model"]
    best_is_last = rows_of(tmp_path / "one", "epoch")
    if min(best_is_last, key=lambda row: row["eval_loss"]) is best_is_last[-1]:
        assert task.module.objective.log_scale.item() == pytest.approx(learned["objective.log_scale"].item(), abs=1e-5)
    assert task.module.objective.log_scale.item() != pytest.approx(Objective(loss).log_scale.item(), abs=1e-6)
    decays = {group["weight_decay"]: group["params"] for group in make_optimizer(task, config).param_groups}
    assert {id(p) for p in decays[0.0]} == {id(p) for p in task.module.objective.parameters()}
    assert len(decays[0.5]) > 10


# ---- evaluation ----


def test_a_small_set_has_a_fifth_for_evaluation_but_no_more_than_32():
    ids = [f"piece {i}" for i in range(49)]
    assert len(split(ids, 0.01)[1]) <= 2
    from clamp3.data.splits import hash_of, split_hashes

    for n, expected in ((49, 9), (1000, 32), (4, 1)):
        hashes = np.array([hash_of(f"piece {i}") for i in range(n)], dtype=np.uint64)
        train_part, held_out = split_hashes(hashes, 0.01, least=32)
        assert len(held_out) == expected and len(train_part) == n - expected
    assert len(split_hashes(hashes, 0.0, least=32)[1]) == 0


def test_few_evaluation_pieces_and_a_long_warm_up_are_said(data, tmp_path, caplog):
    caplog.set_level("INFO")
    start(data, tmp_path, warmup_steps=1000)
    assert "evaluation pieces say little" in caplog.text
    assert "the warm-up of 1000 steps never ends: all steps are 6; --warmup_steps 1 would be a tenth" in caplog.text
    assert "1 process on cpu in float32; " in caplog.text and " parameters train, 0 are frozen" in caplog.text
    assert "a step takes 6 items (6 x 1 x 1 accumulated), an epoch 3 steps, the run 6; rate 0.001" in caplog.text


def test_evaluation_every_few_steps_best_by_mrr_and_an_early_end(data, tmp_path, monkeypatch):
    """The best of MRRs that rise and fall is what was exported; the loss, which always falls, does not count."""
    mrrs = iter([0.2, 0.5, 0.4, 0.3, 0.6])
    losses = iter([5.0, 4.0, 3.0, 2.0, 1.0])

    def evaluate(self, accelerator, poll):
        return {"loss": next(losses), "mrr_text_to_symbolic": (mrr := next(mrrs)), "mrr_symbolic_to_text": mrr}

    monkeypatch.setattr(AlignmentTask, "evaluate", evaluate)
    outcome = start(data, tmp_path, epochs=9, eval_every=2, best_by="mrr", patience=2)
    assert outcome.reason == "patience" and "2 evaluations without a better one" in outcome.summary(tmp_path)
    rows = rows_of(tmp_path, "epoch")
    assert [(row["step"], row.get("partial", False)) for row in rows] == [(2, True), (3, False), (4, True), (6, False)]
    assert outcome.progress.best_mrr == 0.5 and outcome.progress.best_loss == 4.0
    again = start(data, tmp_path, epochs=9, eval_every=2, best_by="mrr", patience=2, resume="auto")
    assert (again.reason, again.progress.step) == ("patience", outcome.progress.step)


def test_where_all_are_ranked_first_the_lower_loss_is_better(data, tmp_path, monkeypatch):
    losses = iter([5.0, 4.0, 3.0, 3.5, 3.2])

    def evaluate(self, accelerator, poll):
        return {"loss": next(losses), "mrr_text_to_symbolic": 1.0, "mrr_symbolic_to_text": 1.0}

    monkeypatch.setattr(AlignmentTask, "evaluate", evaluate)
    outcome = start(data, tmp_path, epochs=9, eval_every=2, best_by="mrr", patience=2)
    assert (outcome.reason, outcome.progress.best_loss) == ("patience", 3.0)


def test_evaluating_between_changes_no_step(data, tmp_path):
    start(data, tmp_path / "often", eval_every=1, dropout=0.1)
    start(data, tmp_path / "seldom", dropout=0.1)
    one, other = (torch.load(tmp_path / name / "last.pt", weights_only=True)["model"] for name in ("often", "seldom"))
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert len(rows_of(tmp_path / "often", "epoch")) == 6


def test_the_evaluation_batch_is_that_of_the_beginning(data, tmp_path):
    """Whatever the number of processes it goes on with: losses stay comparable."""
    start(data, tmp_path, max_steps=2)
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert state["config"]["eval_batch"] == 6
    goes_on = going_on.continued(settings(data, tmp_path, batch_size=3, resume="auto"), tmp_path / "last.pt", 2)
    assert goes_on.eval_batch == 6
    del state["config"]["eval_batch"]  # a checkpoint of before
    torch.save({**state, "rng": state["rng"] * 2}, tmp_path / "old.pt")
    assert going_on.continued(settings(data, tmp_path, batch_size=12), tmp_path / "old.pt", 1).eval_batch == 12


# ---- going on ----


def same(before, now, known=(), n_before=1, n_now=1):
    saved, changed = ({**to_plain(config), going_on.PRECISION: "no", going_on.DIGEST: "1"} for config in (before, now))
    return ", ".join(going_on.check_same_run(saved, {**changed, **dict(known)}, n_before, n_now))


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({"batch_size": 8}, {"batch_size": 4}, "--batch_size was 8, is 4: the same batches on 2 processes"),
        ({}, {"train_jsonl": Path("moved/train.jsonl")}, "moved/train.jsonl: the same pieces"),
        ({}, {"grad_cache_chunk": 2, "sub_batches": 1}, "--grad_cache_chunk was 0, is 2"),
        ({}, {"mixed_precision": "no"}, ""),
        ({"schedule": "cosine"}, {"schedule": "cosine", "max_steps": 9}, "the cosine now ends there"),
        ({}, {"max_steps": 9, "epochs": 3}, ""),
        ({}, {"best_by": "mrr"}, "--best_by was loss, is mrr"),
    ],
)
def test_harmless_changes_are_allowed_and_said(data, before, now, said):
    found = same(settings(data, Path("x"), **before), settings(data, Path("x"), **now), (), 1, 2)
    assert said in found and bool(said) == bool(found)


@pytest.mark.parametrize(
    "now", [{"batch_size": 5}, {"loss": "cosine"}, {"accumulate": 2}, {"mixed_precision": "bf16"}, {"eval_batch": 3}]
)
def test_what_makes_another_run_is_refused(data, now):
    after = settings(data, Path("x"), **now)
    known = {going_on.PRECISION: "bf16"} if "mixed_precision" in now else {}
    with pytest.raises(ConfigError, match=f"other settings: --{next(iter(now))} was"):
        same(settings(data, Path("x")), after, known)


def test_other_pieces_are_refused_elsewhere_and_said_in_place(data):
    other = {going_on.DIGEST: "2"}
    with pytest.raises(ConfigError, match="--train_jsonl was"):
        same(settings(data, Path("x")), settings(data, Path("x"), train_jsonl=Path("y")), other)
    said = same(settings(data, Path("x")), settings(data, Path("x")), other)
    assert said == "the data have other pieces than before"


def test_a_run_goes_on_from_moved_data_without_its_init(data, tmp_path, caplog):
    start(data, tmp_path / "first", epochs=1)
    init = tmp_path / "init.safetensors"
    (tmp_path / "first/best.safetensors").rename(init)
    start(data, tmp_path / "run", init=(str(init),), epochs=2)
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in data.iterdir():
        if path.is_file():
            (moved / path.name).write_bytes(path.read_bytes())
    init.unlink()
    changes = {"train_jsonl": moved / "train.jsonl", "init": (str(init),), "resume": "auto", "epochs": 3}
    outcome = start(data, tmp_path / "run", **changes, grad_cache_chunk=3)
    assert outcome.progress.epoch == 3
    assert "init.safetensors" in caplog.text and "best.safetensors, the weights come from" in caplog.text
    assert "moved/train.jsonl: the same pieces" in caplog.text and "--grad_cache_chunk was 0, is 3" in caplog.text
    with pytest.raises(WeightsError, match=r"init\.safetensors"):
        start(data, tmp_path / "new", init=(str(init),))


# ---- what a log says ----


def test_progress_is_said_where_no_bar_is_seen(data, tmp_path, caplog, monkeypatch):
    caplog.set_level("INFO")
    monkeypatch.setattr(opening, "SAID_EVERY_SEC", 0.0)
    start(data, tmp_path)
    found = [line for line in caplog.messages if " min to go" in line]
    assert len(found) == 5 and found[-1].startswith("epoch 2, step 6 of 6, loss ")


def test_out_of_memory_ends_in_one_sentence(data, tmp_path, monkeypatch):
    def full(self, batches):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: "
                           "you tried to allocate 99999999999 bytes.")  # fmt: skip

    monkeypatch.setattr(Trainer, "step", full)
    with pytest.raises(ConfigError, match=r"out of memory at step 0 with 6 items per process: --grad_cache_chunk 1 "):
        start(data, tmp_path)
    monkeypatch.setattr(Trainer, "step", lambda *_: (_ for _ in ()).throw(RuntimeError("a fault of the program")))
    with pytest.raises(RuntimeError, match="a fault of the program"):
        start(data, tmp_path / "other")
    monkeypatch.setattr(Trainer, "step", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("out of memory")))
    config = M3Training(data=(data,), out=tmp_path / "m3", width=32, n_layers=1, decoder_layers=1, max_patches=16)
    with pytest.raises(ConfigError, match=r"out of memory at step 0 with 16 items per process: lower --batch_size or"):
        start_run(config, make_m3_task)


def test_one_process_of_the_two_that_accelerate_was_asked_for(data, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(opening, "_launched", lambda: 2)
    caplog.set_level(logging.WARNING)
    start(data, tmp_path, max_steps=1)
    assert "asked for 2 processes, but has started one: add --multi_gpu" in caplog.text


def test_the_benchmark_of_speed_times_the_default_dropout():
    """Without dropout of the attention weights torch takes other kernels: nobody trains so by default."""
    source = (ROOT / "benchmarks/training_speed.py").read_text(encoding="utf-8")
    assert "dropout" not in source.split("common = {")[1].split("}")[0].replace('"text_dropout"', "")


def test_left_over_files_are_swept(data, tmp_path):
    from clamp3.jobs.atomic import _host

    left = tmp_path / f".clamp3-{_host()}-999999999-1.part"
    left.write_bytes(b"x")
    start(data, tmp_path, max_steps=1)
    assert not left.exists()
