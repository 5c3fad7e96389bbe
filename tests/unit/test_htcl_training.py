"""HTCL's two stages through the script: what they learn, rates, exact resume, and the released trainer's faults."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training_music import read_rows, write_rows
from training_songs import N_SONGS, SMALL, flags_of, write_songs

from clamp3 import Clamp3
from clamp3.data.songs import read_pairs, read_songs
from clamp3.errors import ConfigError, DataError
from clamp3.models.weights import load_model
from clamp3.training.htcl_config import HtclTraining
from clamp3.training.htcl_task import make_htcl_task
from clamp3.training.loop import Trainer, make_accelerator, start_run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    return write_songs(tmp_path_factory.mktemp("songs"))


def settings(songs, out, **changes):
    return HtclTraining(
        songs=songs / "songs.jsonl", out=out, text_model=str(songs), text_from_scratch=True, **{**SMALL, **changes}
    )


@pytest.fixture(scope="module")
def stage1(songs, tmp_path_factory):
    """Return the folder of a run of stage 1."""
    out = tmp_path_factory.mktemp("one") / "run"
    start_run(settings(songs, out, epochs=20, dropout=0.0, encoder_rate=1e-3), make_htcl_task)
    return out


def stage2(songs, out, stage1, **changes):
    return settings(songs, out, stage=2, pairs=songs / "pairs.jsonl", init=(str(stage1),), **changes)


def test_both_stages_by_the_script(songs, stage1, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "code"))
    import train_htcl

    rows = read_rows(stage1 / "metrics.jsonl")
    losses = [row["loss"] for row in rows if row["kind"] == "train"]
    assert losses[-1] < 0.9 * losses[0]
    assert {"eval_loss", "eval_mrr_text_to_audio", "eval_mrr_audio_to_text", "eval_dimensions"} <= rows[-1].keys()
    command = flags_of({**SMALL, "songs": songs / "songs.jsonl", "pairs": songs / "pairs.jsonl", "stage": 2,
                        "init": stage1, "out": tmp_path / "two"})  # fmt: skip
    assert train_htcl.main(command) == 0
    rows = read_rows(tmp_path / "two/metrics.jsonl")
    train = [row for row in rows if row["kind"] == "train"]
    assert train[-1]["loss"] < train[0]["loss"]
    for row in train:
        assert row["loss"] == pytest.approx(row["loss_text"] + row["loss_pair"] + row["loss_fused"], abs=1e-4)
    assert {"eval_mrr_trigger_to_song", "eval_loss_pair"} <= rows[-1].keys()
    loaded = load_model(tmp_path / "two", ("text", "audio"))
    assert loaded.family.kind == "htcl" and loaded.config.fusion and loaded.config.hidden_size == 12
    encoded = Clamp3.from_pretrained(tmp_path / "two", device="cpu").encode(["Piece key C", songs / "s0.npy"])
    assert encoded.errors == [None, None] and encoded.vectors.shape == (2, 12)


@pytest.mark.parametrize("stage", [1, 2])
def test_resume_equals_an_uninterrupted_run_bit_for_bit(songs, stage1, tmp_path, stage):
    def config(out, **changes):
        make = settings if stage == 1 else lambda *args, **more: stage2(*args, stage1, **more)
        return make(songs, tmp_path / out, **changes)

    start_run(config("whole", epochs=4, max_steps=7), make_htcl_task)
    start_run(config("parts", epochs=4, max_steps=3), make_htcl_task)
    start_run(config("parts", epochs=4, max_steps=7, resume="auto"), make_htcl_task)
    whole, parts = (torch.load(tmp_path / out / "last.pt", weights_only=True) for out in ("whole", "parts"))
    assert whole["progress"]["step"] == parts["progress"]["step"] == 7
    for name, tensor in whole["model"].items():
        assert torch.equal(tensor, parts["model"][name]), name
    for number, state in whole["optimizer"]["state"].items():
        assert all(torch.equal(value, parts["optimizer"]["state"][number][key]) for key, value in state.items())


def test_each_part_learns_at_its_own_rate(songs, stage1, tmp_path):
    for stage, slow in ((1, {"text_model"}), (2, {"text_model", "audio_model"})):
        config = settings(songs, tmp_path / str(stage), max_steps=1) if stage == 1 else None
        config = config or stage2(songs, tmp_path / "2", stage1, max_steps=1)
        trainer = Trainer(make_htcl_task(config, make_accelerator(config)), config, make_accelerator(config))
        trainer.fit()
        names = {id(p): name for name, p in trainer.task.module.named_parameters()}
        rates = {names[id(p)]: group["lr"] for group in trainer.optimizer.param_groups for p in group["params"]}
        assert len(rates) == len(names) and len(trainer.optimizer.param_groups) == 2
        for name, rate in rates.items():
            expected = 1e-4 if name.split(".")[1] in slow else 1e-3
            assert rate == pytest.approx(expected), name
        assert trainer.optimizer.defaults["weight_decay"] == 0  # AdamW without decay is the published Adam


def test_evaluation_knows_no_dropout(songs, stage1, tmp_path):
    """The released trainer evaluates in training mode."""
    config = stage2(songs, tmp_path / "run", stage1, dropout=0.5)
    task, accelerator = make_htcl_task(config, make_accelerator(config)), make_accelerator(config)
    task.train()
    first = task.evaluate(accelerator, lambda: None)
    assert not task.module.training
    task.train()
    assert task.evaluate(accelerator, lambda: None) == first


def test_heads_go_on_from_stage_1_unless_asked(songs, stage1, tmp_path, caplog):
    """The released stage 2 starts them at random and does not say so."""
    before = load_model(stage1, ("text", "audio")).model.state_dict()
    for fresh in (False, True):
        config = stage2(songs, tmp_path / str(fresh), stage1, fresh_heads=fresh)
        with caplog.at_level("INFO"):
            model = make_htcl_task(config, make_accelerator(config)).module.model.state_dict()
        assert torch.equal(model["audio_model.cls_token"], before["audio_model.cls_token"])
        assert torch.equal(model["audio_mlp.0.weight"], before["audio_mlp.0.weight"]) != fresh
        random = "text_mlp, audio_mlp, fusion_mlp" if fresh else "fusion_mlp"
        assert f"at random: {random}" in caplog.text.splitlines()[-2]


def test_rows_that_cannot_be_used_are_named(songs, tmp_path, caplog):
    rows = read_rows(songs / "songs.jsonl")
    for row in rows:
        row["mel"] = str(songs / row["mel"])
    np.save(tmp_path / "short.npy", np.zeros((1, 3, 128), np.float16))
    np.save(tmp_path / "narrow.npy", np.zeros((1, 40, 64), np.float16))
    rows += [{"id": "a", "text": "x", "mel": "short.npy"}, {"id": "b", "text": "x", "mel": "narrow.npy"},
             {"id": "c", "text": " ", "mel": "short.npy"}, {"id": "d", "text": "x", "mel": "absent.npy"}]  # fmt: skip
    rows += [{"id": "e", "title": "Piece", "filepaths": ["e.abc", str(songs / "s1.npy")]}]
    table = write_rows(tmp_path / "songs.jsonl", rows)
    config = replace(settings(songs, tmp_path / "run", max_bad=0.2), songs=table)
    task = make_htcl_task(config, make_accelerator(config))
    assert len(task.train_data) + len(task.eval_data) == N_SONGS + 1
    for word in ("3 frames; the audio encoder reads 40", "(…, 128)", "songs.jsonl:27: a song needs", "absent.npy"):
        assert word in caplog.text
    with pytest.raises(DataError):
        make_htcl_task(replace(config, max_bad=0.05), make_accelerator(config))
    pairs, problems = read_pairs(write_rows(tmp_path / "p.jsonl", [
        {"trigger": "s0", "song": "s1"}, {"trigger": "s0", "song": "zz"}, {"trigger": "s0", "song": "s0"}]),
        read_songs(table))  # fmt: skip
    assert pairs.tolist() == [[0, 1]]
    assert ["no song 'zz'" in problems[0], "with itself" in problems[1]] == [True, True]


def test_what_is_missing_is_said(songs, stage1, tmp_path):
    for config, error, said in (
        (HtclTraining(out=tmp_path), ConfigError, "--songs"),
        (HtclTraining(songs=tmp_path / "no.jsonl", out=tmp_path), DataError, "no such file"),
        (HtclTraining(songs=songs / "songs.jsonl", stage=2, out=tmp_path), ConfigError, "--pairs"),
        (settings(songs, tmp_path, stage=2, pairs=songs / "pairs.jsonl"), ConfigError, "--init"),
    ):
        with pytest.raises(error, match=said):
            make_htcl_task(config, make_accelerator(config))
    for wrong in ({"stage": 3}, {"encoder_rate": 0}, {"dropout": 1}, {"init": ("a", "b")}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            HtclTraining(**wrong)


def test_a_pair_is_on_one_side_whichever_way_round(songs, stage1, tmp_path):
    task = make_htcl_task(config := stage2(songs, tmp_path, stage1), make_accelerator(config))
    train, held_out = ({frozenset(row) for row in data.rows.tolist()} for data in (task.train_data, task.eval_data))
    assert train and held_out and not train & held_out


def test_parquet_with_the_published_columns(songs, tmp_path):
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "similar-song-pair-dataset.parquet"
    columns = "'a' trigger_song_id, 'b' song_id, 'x.npy' trigger_song_id_mel_spec_path, 'y.npy' song_id_mel_spec_path"
    texts = "'one' trigger_song_id_text, 'two' song_id_text"
    duckdb.connect().execute(f"COPY (SELECT {columns}, {texts}) TO '{path}' (FORMAT parquet)")
    found = read_songs(path)
    assert (found.ids, found.texts) == (["a", "b"], ["one", "two"])
    assert [mel.path for mel in found.mels] == [str(tmp_path / "x.npy"), str(tmp_path / "y.npy")]
    assert read_pairs(path, found)[0].tolist() == [[0, 1]]


def test_help_needs_no_torch():
    code = "import sys, train_htcl; train_htcl.build_parser().format_help(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT / "code", check=True, timeout=60)
