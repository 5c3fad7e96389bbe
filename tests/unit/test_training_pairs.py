"""Pairs of any two views in one run: what is drawn, what is compared, and that music finds music."""

from __future__ import annotations

import random

import pytest
import torch
from training_music import AUDIO_WIDTH, read_rows, write_music, write_rows, write_text_model

from clamp3.data.views import music_choices, parse_pairs, towers_of, views_of
from clamp3.errors import ConfigError, DataError
from clamp3.models.weights import describe
from clamp3.training.alignment import make_alignment_task
from clamp3.training.config import AudioTraining, Clamp3Training
from clamp3.training.loop import make_accelerator, start_run
from clamp3.training.loss import contrastive_loss

pytestmark = pytest.mark.kernels

ALL = ("text-abc", "text-mtf", "text-audio", "abc-mtf", "symbolic-audio")


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    return write_music(tmp_path_factory.mktemp("music"))


@pytest.fixture(scope="module")
def text_model(tmp_path_factory):
    return write_text_model(tmp_path_factory.mktemp("text"))


def training(music, out, text_model, **changes):
    return AudioTraining(**{
        "width": 32, "n_layers": 1, "n_heads": 2, "max_patches": 32, "warmup_steps": 2, "log_every": 1,
        "batch_size": 6, "epochs": 1, "learning_rate": 2e-3, "text_from_scratch": True, "text_length": 16,
        "hidden_size": 16, "eval_split": 0.2, "audio_width": AUDIO_WIDTH, "audio_layers": 1, "audio_heads": 2,
        "audio_length": 8, "pairs": ALL, "train_jsonl": music / "train.jsonl", "out": out,
        "text_model": str(text_model), **changes})  # fmt: skip


def made(config):
    return make_alignment_task(config, make_accelerator(config))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["text"], "a pair is two of"),
        (["text-midi"], "a pair is two of"),
        (["abc-abc"], "a pair is two of"),
        (["abc-symbolic"], "the same file"),
        (["text-abc", "abc-text"], "names a pair twice"),
    ],
)
def test_pairs_that_are_none_are_refused(names, message):
    with pytest.raises(ConfigError, match=message):
        AudioTraining(pairs=tuple(names))


def test_pairs_are_parsed_and_say_what_a_batch_and_a_model_need():
    pairs = parse_pairs(["text-abc,abc-mtf", "symbolic-audio"])
    assert pairs == (("text", "abc"), ("abc", "mtf"), ("symbolic", "audio"))
    assert views_of(pairs) == ("text", "abc", "mtf", "audio")
    assert views_of(parse_pairs(["symbolic-audio"])) == ("symbolic", "audio")
    assert towers_of(parse_pairs(["abc-mtf"])) == ("symbolic",)
    assert Clamp3Training().compared == (("text", "symbolic"),)
    assert AudioTraining().compared == (("text", "audio"),)
    assert AudioTraining(pairs=("abc-mtf",)).frozen == ("text", "audio")


@pytest.mark.parametrize(
    ("pairs", "has", "expected"),
    [
        (["text-symbolic"], {"abc", "mtf", "symbolic"}, [("symbolic",)]),
        (["text-audio"], {"abc", "symbolic"}, []),
        (ALL, {"abc", "mtf", "audio"}, [("abc", "mtf"), ("abc", "audio"), ("mtf", "audio")]),
        (ALL, {"abc"}, [("abc",)]),
        (ALL, {"mtf", "audio"}, [("mtf", "audio")]),
        (["text-symbolic", "text-audio"], {"symbolic", "abc", "audio"}, [("symbolic",), ("audio",)]),
        (["text-audio", "abc-mtf"], {"abc", "mtf", "audio"}, [("abc", "mtf"), ("audio",)]),
        (["abc-mtf"], {"abc"}, []),
    ],
)
def test_a_step_shows_two_kinds_of_music_where_it_can(pairs, has, expected):
    assert music_choices(parse_pairs(pairs), has | {"text"}) == expected


def test_a_batch_holds_one_text_and_at_most_two_kinds_of_music(music, text_model, tmp_path):
    task = made(training(music, tmp_path, text_model, eval_split=0.0))
    seen = set()
    for epoch in range(30):
        for index, record in enumerate(task.train_data.records):
            item = task.train_data[epoch, index]
            assert "text" in item and set(item) - {"text"} <= record.views
            seen.add((len(record.of("mtf")), *sorted(set(item) - {"text"})))
    assert seen == {(0, "abc", "audio"), (1, "abc", "audio"), (1, "abc", "mtf"), (1, "audio", "mtf")}
    batch = task.collate([task.train_data[0, index] for index in range(6)])
    assert {name for name in batch if not name.endswith("_mask")} == {"text", "abc", "mtf", "audio"}
    assert batch["text_mask"].any(1).all()
    assert (batch["abc_mask"].any(1).int() + batch["mtf_mask"].any(1) + batch["audio_mask"].any(1) <= 2).all()


def test_the_loss_is_the_mean_over_pairs_of_the_rows_that_have_both_sides(music, text_model, tmp_path):
    task = made(training(music, tmp_path, text_model))
    rng = torch.Generator().manual_seed(0)
    vectors = {view: torch.randn(6, 16, generator=rng) for view in ("text", "abc", "mtf", "audio")}
    there = {
        "text": [1, 1, 1, 1, 1, 1],
        "abc": [1, 1, 0, 1, 0, 1],
        "mtf": [0, 1, 1, 1, 0, 0],
        "audio": [1, 0, 1, 0, 1, 1],
    }
    batch = {f"{view}_mask": torch.tensor(rows).bool()[:, None] for view, rows in there.items()}
    rows = {("text", "abc"): [0, 1, 3, 5], ("text", "mtf"): [1, 2, 3], ("text", "audio"): [0, 2, 4, 5],
            ("abc", "mtf"): [1, 3]}  # fmt: skip
    losses = [contrastive_loss(vectors[a][at], vectors[b][at]) for (a, b), at in rows.items()]
    symbolic = torch.stack([vectors["abc"][0], vectors["mtf"][2], vectors["abc"][5]])
    losses.append(contrastive_loss(symbolic, vectors["audio"][[0, 2, 5]]))
    found, measures = task.compare(vectors, batch)
    assert found.item() == pytest.approx(torch.stack(losses).mean().item(), abs=1e-6)
    assert {f"batch_mrr_{'_'.join(pair)}" for pair in task.train_data.pairs} <= measures.keys()
    for view in ("mtf", "audio"):  # a batch without a kind goes without its pairs
        batch[f"{view}_mask"] = torch.zeros(6, 1, dtype=torch.bool)
    assert task.compare(vectors, batch)[0].item() == pytest.approx(losses[0].item(), abs=1e-6)


def test_one_pair_is_the_released_loss(music, text_model, tmp_path):
    """The same draws, the same batch, the same number as without --pairs."""
    whole = made(training(music, tmp_path / "a", text_model, pairs=("text-audio",)))
    plain = made(training(music, tmp_path / "b", text_model, pairs=()))
    batch = [task.collate([task.train_data[3, i] for i in range(6)]) for task in (whole, plain)]
    assert all(torch.equal(batch[0][name], batch[1][name]) for name in batch[0])
    plain.module.load_state_dict(whole.module.state_dict())
    losses = [task.loss(task.module.eval(), batch[0])[0].item() for task in (whole, plain)]
    assert losses[0] == losses[1] > 0


def test_it_trains_all_towers_together_and_resumes_exactly(music, text_model, tmp_path):
    settings = {"epochs": 3, "dropout": 0.1, "standardise": True}
    start_run(training(music, tmp_path / "whole", text_model, **settings), make_alignment_task)
    start_run(training(music, tmp_path / "parts", text_model, max_steps=4, **settings), make_alignment_task)
    start_run(training(music, tmp_path / "parts", text_model, resume="auto", **settings), make_alignment_task)
    whole, parts = (torch.load(tmp_path / name / "last.pt", weights_only=True)["model"] for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert describe(tmp_path / "whole").config.towers == ("text", "symbolic", "audio")
    last = [row for row in read_rows(tmp_path / "whole/metrics.jsonl") if row["kind"] == "epoch"][-1]
    assert {f"eval_mrr_{pair.replace('-', '_to_')}" for pair in ALL} <= last.keys()


def test_music_is_aligned_with_music_without_any_text(music, text_model, tmp_path):
    rows = [{"id": row["id"], "filepaths": row["filepaths"]} for row in read_rows(music / "train.jsonl")]
    path = write_rows(music / "wordless.jsonl", rows)
    config = training(music, tmp_path, text_model, train_jsonl=path, pairs=("abc-audio",), epochs=12, dropout=0.0,
                      standardise=True, logit_scale=5.0, learning_rate=5e-3, save_every=0)  # fmt: skip
    start_run(config, make_alignment_task)
    assert describe(tmp_path).config.towers == ("symbolic", "audio")
    losses = [row["loss"] for row in read_rows(tmp_path / "metrics.jsonl") if row["kind"] == "train"]
    assert sum(losses[-6:]) < 0.8 * sum(losses[:6])


def test_records_that_give_no_pair_belong_to_other_runs(music, text_model, tmp_path, caplog):
    """Of a large set only a part may have audio, or both kinds: nothing is wrong with the rest."""
    config = training(music, tmp_path / "a", text_model, pairs=("abc-mtf",), eval_split=0.0)
    assert len(made(config).train_data) == 8
    assert "train.jsonl: 16 records name no pair of .abc, .mtf" in caplog.text
    rows = [row for row in read_rows(music / "train.jsonl") if len(row["filepaths"]) == 2]
    path = write_rows(music / "single.jsonl", rows)
    with pytest.raises(DataError, match=r"single\.jsonl: none of its 16 records names a pair of \.abc, \.mtf"):
        made(training(music, tmp_path / "b", text_model, pairs=("abc-mtf",), train_jsonl=path))


def test_draws_do_not_depend_on_other_items(music, text_model, tmp_path):
    task = made(training(music, tmp_path, text_model, eval_split=0.0))
    order = random.Random(1).sample(range(24), 24)
    first = {index: task.train_data[7, index] for index in order}
    for index in range(24):
        again = task.train_data[7, index]
        assert again.keys() == first[index].keys()
        assert all((again[view] == first[index][view]).all() for view in again)
