"""Text with audio: what is frozen stays, what is trained is what a search encodes, and bad files are counted."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from training_music import AUDIO_WIDTH, read_rows, write_music, write_rows, write_text_model

from clamp3.data.audio_features import open_features
from clamp3.data.shards import Location
from clamp3.embedding.clamp3 import Clamp3
from clamp3.errors import ConfigError, DataError, FormatError
from clamp3.models.weights import describe, load_model
from clamp3.training.alignment import make_alignment_task
from clamp3.training.build import alignment_model
from clamp3.training.config import AudioTraining, Clamp3Training
from clamp3.training.loop import make_accelerator, start_run

pytestmark = pytest.mark.kernels

TINY = {"width": 32, "n_layers": 1, "n_heads": 2, "max_patches": 32, "warmup_steps": 2, "log_every": 1,
        "batch_size": 6, "epochs": 2, "learning_rate": 2e-3, "text_from_scratch": True, "text_length": 16,
        "hidden_size": 16, "eval_split": 0.2}  # fmt: skip
AUDIO = {"audio_width": AUDIO_WIDTH, "audio_layers": 1, "audio_heads": 2, "audio_length": 8}


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    return write_music(tmp_path_factory.mktemp("music"))


@pytest.fixture(scope="module")
def text_model(tmp_path_factory):
    return write_text_model(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def stage_1(music, text_model, tmp_path_factory):
    """Return the folder of a run of text and scores."""
    out = tmp_path_factory.mktemp("runs") / "s"
    start_run(Clamp3Training(**TINY, train_jsonl=music / "train.jsonl", out=out, text_model=str(text_model)),
              make_alignment_task)  # fmt: skip
    return out


def audio(music, out, text_model, **changes):
    return AudioTraining(**{**TINY, **AUDIO, "train_jsonl": music / "train.jsonl", "out": out,
                            "text_model": str(text_model), **changes})  # fmt: skip


def weights_of(path, prefix=""):
    tensors = load_model(path, describe(path).config.towers).model.state_dict()
    return {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def rows_of(out, kind="train"):
    return [row for row in read_rows(out / "metrics.jsonl") if row["kind"] == kind]


def same(one, other):
    return one.keys() == other.keys() and bool(one) and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("freeze_text", [True, False])
def test_what_is_not_trained_is_exported_bit_for_bit(music, text_model, stage_1, tmp_path, freeze_text, standardise):
    """Stage 2 (text frozen) and stage 3 (text trained) of SAAS, from a file without audio tower."""
    before = weights_of(stage_1 / "best.safetensors")
    config = audio(music, tmp_path / "run", text_model, init=(str(stage_1),), freeze_text=freeze_text, dropout=0.3,
                   standardise=standardise)  # fmt: skip
    start_run(config, make_alignment_task)
    after = weights_of(tmp_path / "run")
    assert {name.split("_")[0] for name in after} == {"text", "symbolic", "audio"}
    for tower in ("symbolic", "text"):
        kept = same(*({k: v for k, v in w.items() if k.startswith(tower)} for w in (before, after)))
        assert kept == (tower == "symbolic" or freeze_text), tower


def test_stage_3_follows_stage_2_without_editing_a_checkpoint(music, text_model, stage_1, tmp_path):
    """The released script restores the optimizer of stage 2, whose parameters are others, and its 100 epochs."""
    start_run(audio(music, tmp_path / "sa", text_model, init=(str(stage_1),), freeze_text=True), make_alignment_task)
    before = weights_of(tmp_path / "sa")
    outcome = start_run(audio(music, tmp_path / "saa", text_model, init=(str(tmp_path / "sa"),)), make_alignment_task)
    assert (outcome.reason, outcome.progress.epoch) == ("done", 2)
    after = weights_of(tmp_path / "saa")
    assert not torch.equal(before["text_proj.weight"], after["text_proj.weight"])
    assert not torch.equal(before["audio_proj.weight"], after["audio_proj.weight"])


def test_an_audio_tower_of_init_keeps_its_window(music, text_model, tmp_path):
    start_run(audio(music, tmp_path / "a", text_model, epochs=1), make_alignment_task)
    init = (str(tmp_path / "a"),)
    with pytest.raises(ConfigError, match="--audio_length is 5, but the audio tower of --init takes 8"):
        alignment_model(audio(music, tmp_path / "b", text_model, init=init, audio_length=5))
    for length in (8, AudioTraining().audio_length):
        model, _ = alignment_model(audio(music, tmp_path / "b", text_model, init=init, audio_length=length))
        assert model.config.audio_length == 8


def test_training_alone_on_audio_needs_no_symbolic_tower(music, text_model, tmp_path):
    """Order AS: the first stage is audio, and the scores come later with M3's weights."""
    start_run(audio(music, tmp_path / "a", text_model), make_alignment_task)
    assert describe(tmp_path / "a").config.towers == ("text", "audio")
    changes = {**TINY, "train_jsonl": music / "train.jsonl", "text_model": str(text_model), "freeze_text": True}
    start_run(Clamp3Training(**changes, out=tmp_path / "as", init=(str(tmp_path / "a"),)), make_alignment_task)
    assert describe(tmp_path / "as").config.towers == ("text", "symbolic", "audio")
    for tower in ("audio", "text"):
        assert same(weights_of(tmp_path / "a", tower), weights_of(tmp_path / "as", tower))


def test_it_learns_and_a_search_sees_the_same_vectors(music, text_model, tmp_path):
    config = audio(music, tmp_path / "run", text_model, epochs=15, learning_rate=5e-3, dropout=0.0,
                   attention_dropout=0.0, standardise=True, logit_scale=5.0)  # fmt: skip
    start_run(config, make_alignment_task)
    losses = [row["loss"] for row in rows_of(tmp_path / "run")]
    assert sum(losses[-6:]) < 0.7 * sum(losses[:6])
    assert {"eval_mrr_text_to_audio", "eval_mrr_audio_to_text"} <= rows_of(tmp_path / "run", "epoch")[-1].keys()
    task = make_alignment_task(config, make_accelerator(config))
    task.module.load_state_dict(torch.load(tmp_path / "run/last.pt", weights_only=True)["model"])
    task.export(tmp_path / "last.safetensors", {})
    batch = task.collate([task.train_data[-1, index] for index in range(len(task.train_data))])
    task.module.eval()
    with torch.no_grad():
        vectors = task.module(batch)
        compared = task.module.comparable(vectors, {view: torch.ones(len(v)).bool() for view, v in vectors.items()})
    files = [music / f"p{int(record.item_id[1:]):02d}.npy" for record in task.train_data.records]
    encoded = Clamp3.from_pretrained(tmp_path / "last.safetensors", text_model=text_model).encode(files)
    assert encoded.ok.all()
    longest = max(np.load(file).shape[1] for file in files)
    assert longest + 2 > AUDIO["audio_length"]  # some are cropped in training, in windows for a search
    fits = [i for i, file in enumerate(files) if np.load(file).shape[1] + 2 <= AUDIO["audio_length"]]
    assert len(fits) > 5
    found = encoded.vectors / np.linalg.norm(encoded.vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(found[fits], compared["audio"].numpy()[fits], atol=1e-5)


def test_resume_equals_an_uninterrupted_run_bit_for_bit(music, text_model, tmp_path):
    settings = {"dropout": 0.1, "epochs": 3, "audio_length": 5, "standardise": True}
    start_run(audio(music, tmp_path / "whole", text_model, **settings), make_alignment_task)
    start_run(audio(music, tmp_path / "parts", text_model, max_steps=4, **settings), make_alignment_task)
    start_run(audio(music, tmp_path / "parts", text_model, resume="auto", **settings), make_alignment_task)
    whole, parts = (torch.load(tmp_path / name / "last.pt", weights_only=True)["model"] for name in ("whole", "parts"))
    assert same(whole, parts)


def test_a_mel_front_end_is_trained_and_exported(music, text_model, tmp_path):
    from clamp3.formats.mel import CHUNK_WIDTH

    rows = read_rows(music / "train.jsonl")[:8]
    for i, row in enumerate(rows):
        values = np.random.default_rng(i).standard_normal((2 + i, CHUNK_WIDTH), dtype=np.float32)
        np.save(tmp_path / f"{i}.npy", values.astype(np.float16))
        row["filepaths"] = [f"{i}.npy"]
    config = audio(music, tmp_path / "run", text_model, train_jsonl=write_rows(tmp_path / "mel.jsonl", rows),
                   front_end="mel", audio_channels=16, batch_size=4)  # fmt: skip
    start_run(config, make_alignment_task)
    described = describe(tmp_path / "run")
    assert (described.config.front_end.kind, described.config.front_end.channels) == ("mel", 16)
    encoded = Clamp3.from_pretrained(tmp_path / "run", text_model=text_model).encode([tmp_path / "0.npy"])
    assert encoded.ok.all() and np.isfinite(encoded.vectors).all()
    # the front end belongs to the audio tower: frozen with it, carried along with it
    scores = Clamp3Training(**TINY, train_jsonl=music / "train.jsonl", out=tmp_path / "s", text_model=str(text_model),
                            init=(str(tmp_path / "run"),))  # fmt: skip
    start_run(scores, make_alignment_task)
    assert same(weights_of(tmp_path / "run", "audio_front"), weights_of(tmp_path / "s", "audio_front"))


def test_bad_feature_files_are_named_and_counted(music, text_model, tmp_path):
    rows = read_rows(music / "train.jsonl")
    good = np.load(music / "p00.npy")
    np.save(tmp_path / "wide.npy", np.zeros((3, AUDIO_WIDTH + 1)))
    np.save(tmp_path / "words.npy", np.array(["a", "b"]))
    (tmp_path / "short.npy").write_bytes((music / "p00.npy").read_bytes()[:-9])
    (tmp_path / "noise.npy").write_bytes(b"noise")
    np.savez(tmp_path / "archive.npz", good)
    (tmp_path / "archive.npz").rename(tmp_path / "archive.npy")
    names = ["wide.npy", "words.npy", "short.npy", "noise.npy", "archive.npy", "absent.npy"]
    for row, name in zip(rows, names, strict=False):
        row["filepaths"] = [str(tmp_path / name)]
    rows[7]["filepaths"] = [str(tmp_path / "absent.npy"), str(music / "p07.npy")]  # one good file is enough
    rows[8]["filepaths"] = ["p08.abc"]
    rows = [{**row, "filepaths": [str(music / name) for name in row["filepaths"]]} for row in rows]
    path = write_rows(tmp_path / "bad.jsonl", rows)
    with pytest.raises(DataError, match=r"6 of 23 items cannot be used.*wide\.npy.*33\); the audio tower takes.*32"):
        make_alignment_task(
            audio(music, tmp_path / "a", text_model, train_jsonl=path), make_accelerator(AudioTraining())
        )
    config = audio(music, tmp_path / "b", text_model, train_jsonl=path, max_bad=0.3, eval_split=0.0)
    assert len(make_alignment_task(config, make_accelerator(config)).train_data) == 17


def test_a_file_that_goes_bad_later_is_left_out_of_its_batch(music, text_model, tmp_path, caplog):
    for name in ("p00.npy", "p01.npy", "p02.npy"):
        (tmp_path / name).write_bytes((music / name).read_bytes())
    rows = [{**row, "filepaths": [f"p{i:02d}.npy"]} for i, row in enumerate(read_rows(music / "train.jsonl")[:3])]
    config = audio(music, tmp_path / "run", text_model, train_jsonl=write_rows(tmp_path / "t.jsonl", rows),
                   eval_split=0.0)  # fmt: skip
    task = make_alignment_task(config, make_accelerator(config))
    whole = task.loss(task.module.eval(), task.collate([task.train_data[-1, index] for index in (0, 2)]))[0]
    np.save(tmp_path / "p01.npy", np.full((4, AUDIO_WIDTH), np.nan))
    part = task.loss(task.module, task.collate([task.train_data[-1, index] for index in range(3)]))[0]
    assert part.item() == pytest.approx(whole.item(), abs=1e-5)
    assert "p01.npy: NaN" in caplog.text
    for name in ("p00.npy", "p02.npy"):
        (tmp_path / name).unlink()
    with pytest.raises(DataError, match="No piece of a batch could be read"):
        task.loss(task.module, task.collate([task.train_data[-1, index] for index in range(3)]))


def test_slices_of_features_have_zero_vectors_on_both_ends(tmp_path):
    stored = np.arange(1, 13, dtype=np.float16).reshape(2, 2, 3)  # leading axes are flattened
    np.save(tmp_path / "a.npy", stored)
    features = open_features([Location(str(tmp_path / "a.npy"))], 3)
    expected = np.concatenate([np.zeros((1, 3)), stored.reshape(4, 3), np.zeros((1, 3))]).astype(np.float32)
    assert features.length(0) == 6
    for start in range(6):
        for stop in range(start + 1, 7):
            np.testing.assert_array_equal(features.read(0, slice(start, stop)), expected[start:stop])
    np.save(tmp_path / "a.npy", stored[..., :2])
    with pytest.raises(FormatError, match=r"shape \(2, 2, 2\)"):
        features.read(0, slice(0, 2))


def test_settings_of_the_audio_script(script, monkeypatch):
    from pathlib import Path

    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "code"))
    args = script("code/train_clamp3_audio.py").build_parser().parse_args([])
    assert (args.learning_rate, args.batch_size, args.audio_length, args.audio_layers) == (1e-5, 256, 128, 12)
    with pytest.raises(ConfigError, match="--freeze_audio must be off"):
        AudioTraining(freeze_text=True, freeze_audio=True)
    with pytest.raises(ConfigError, match="--front_end must be one of mert, mel"):
        AudioTraining(front_end="cqt")
    assert json.dumps(AudioTraining().frozen) == '["symbolic"]'
