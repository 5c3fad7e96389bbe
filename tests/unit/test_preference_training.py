"""Preference training of a CLaMP 3 on any tower: what it learns and keeps, what is no negative, exact resume."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training_music import AUDIO_WIDTH, N_PIECES, read_rows, write_music, write_rows, write_text_model
from training_songs import flags_of

from clamp3 import Clamp3
from clamp3.errors import ConfigError, DataError
from clamp3.models.weights import describe, load_model
from clamp3.training.alignment import make_alignment_task
from clamp3.training.config import AudioTraining
from clamp3.training.gradcache import cached_backward, chunks
from clamp3.training.loop import Trainer, make_accelerator, start_run
from clamp3.training.loss import contrastive_loss
from clamp3.training.preference_config import PreferenceTraining
from clamp3.training.preference_task import make_preference_task
from clamp3.training.presets import settled
from clamp3.training.resume import facts_of
from clamp3.training.song_loss import FalseNegatives, HtclObjective

ROOT = Path(__file__).resolve().parents[2]
TINY = {"batch_size": 6, "epochs": 2, "log_every": 1, "save_every": 0, "dropout": 0.0, "attention_dropout": 0.0,
        "learning_rate": 2e-3, "max_patches": 32, "text_length": 16}  # fmt: skip


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """Return a folder of pieces, their pairs by a hidden taste, and the text model."""
    folder = write_text_model(write_music(tmp_path_factory.mktemp("music")))
    pairs = [(i, j) for i, j in itertools.permutations(range(N_PIECES), 2) if i % 3 == j % 3]  # as the keys go
    write_rows(folder / "pairs.jsonl", [{"trigger": f"p{i}", "song": f"p{j}"} for i, j in pairs])
    return folder


@pytest.fixture(scope="module")
def start(music, tmp_path_factory):
    """Return the folder of a small CLaMP 3 with all towers."""
    out = tmp_path_factory.mktemp("start") / "run"
    sizes = {"width": 32, "n_layers": 1, "n_heads": 2, "hidden_size": 16,
             "audio_width": AUDIO_WIDTH, "audio_layers": 1, "audio_heads": 2, "audio_length": 8}  # fmt: skip
    config = AudioTraining(train_jsonl=music / "train.jsonl", out=out, text_model=str(music), text_from_scratch=True,
                           pairs=("text-symbolic", "text-audio"), **{**TINY, **sizes})  # fmt: skip
    start_run(config, make_alignment_task)
    return out


def settings(music, start, out, **changes):
    return PreferenceTraining(train_jsonl=music / "train.jsonl", song_pairs=music / "pairs.jsonl", init=(str(start),),
                              out=out, **{**TINY, "scale_rate": 2e-3, **changes})  # fmt: skip


def test_mini_brings_its_lengths_and_leaves_the_loss(music, tmp_path):
    """What mini was compared by is no loss of this training, which has one of its own."""
    config = PreferenceTraining(train_jsonl=music / "train.jsonl", song_pairs=music / "pairs.jsonl", init=("mini",),
                                out=tmp_path)  # fmt: skip
    found = settled(config)
    assert (found.max_patches, found.text_length, found.loss) == (128, 96, "infonce")


def made(config):
    return make_preference_task(config, make_accelerator(config))


@pytest.mark.parametrize("pairs", [("text-symbolic",), ("text-audio",), ("text-abc", "text-mtf", "text-audio")])
def test_the_script_trains_any_tower_and_leaves_the_others(music, start, tmp_path, monkeypatch, pairs):
    monkeypatch.syspath_prepend(str(ROOT / "code"))
    import train_preference

    values = {**TINY, "epochs": 4, "init": start, "train_jsonl": music / "train.jsonl", "pairs": pairs,
              "song_pairs": music / "pairs.jsonl", "out": tmp_path / "run"}  # fmt: skip
    assert train_preference.main(flags_of(values)) == 0
    rows = read_rows(tmp_path / "run/metrics.jsonl")
    train = [row for row in rows if row["kind"] == "train"]
    assert np.mean([row["loss_pair"] for row in train[-9:]]) < 0.9 * np.mean([row["loss_pair"] for row in train[:9]])
    assert {"eval_loss", "eval_loss_text", "eval_mrr_text_to_music", "eval_mrr_trigger_to_song"} <= rows[-1].keys()
    before, after = (load_model(run, ("text", "symbolic", "audio")) for run in (start, tmp_path / "run"))
    assert before.config == after.config and before.family.kind == after.family.kind == "clamp3"
    trained = {tower for pair in pairs for tower in [{"text-audio": "audio"}.get(pair, "symbolic")]}
    for name, tensor in before.model.state_dict().items():
        tower = name.split("_")[0]
        assert tower in trained or torch.equal(tensor, after.model.state_dict()[name]), name
    for tower in trained:
        name = f"{tower}_proj.weight"
        assert not torch.equal(before.model.state_dict()[name], after.model.state_dict()[name])
    encoded = Clamp3.from_pretrained(tmp_path / "run", device="cpu").encode(["Piece", music / "p00.abc"])
    assert encoded.errors == [None, None]


def test_resume_equals_an_uninterrupted_run_bit_for_bit(music, start, tmp_path):
    changes = {"dropout": 0.1, "attention_dropout": 0.1, "distill": 0.5, "epochs": 1}
    start_run(settings(music, start, tmp_path / "whole", max_steps=7, **changes), make_preference_task)
    start_run(settings(music, start, tmp_path / "parts", max_steps=3, **changes), make_preference_task)
    start_run(settings(music, start, tmp_path / "parts", max_steps=7, resume="auto", **changes), make_preference_task)
    whole, parts = (torch.load(tmp_path / out / "last.pt", weights_only=True) for out in ("whole", "parts"))
    assert whole["progress"]["step"] == parts["progress"]["step"] == 7
    assert all(torch.equal(tensor, parts["model"][name]) for name, tensor in whole["model"].items())
    assert not any(name.startswith("_start") for name in whole["model"])


def test_a_run_knows_its_songs_and_pairs_again(music, start, tmp_path):
    task, again = (made(settings(music, start, tmp_path / name)) for name in ("one", "two"))
    assert task.data_digest == again.data_digest == facts_of(task.config, task)["data_digest"]
    rows = read_rows(music / "pairs.jsonl")[:-1]
    write_rows(tmp_path / "fewer.jsonl", rows)
    fewer = made(replace(settings(music, start, tmp_path / "three"), song_pairs=tmp_path / "fewer.jsonl"))
    assert fewer.data_digest != task.data_digest


def test_the_vectors_stay_nearer_to_the_start_with_distillation(music, start, tmp_path):
    files = sorted(music.glob("*.abc"))
    vectors = [Clamp3.from_pretrained(start, device="cpu").encode(files).vectors]
    for distill in (0.0, 20.0):
        out = tmp_path / str(distill)
        start_run(settings(music, start, out, distill=distill, epochs=3), make_preference_task)
        vectors.append(Clamp3.from_pretrained(out, device="cpu").encode(files).vectors)
    first, free, held = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in vectors)
    assert (first * held).sum(1).mean() > (first * free).sum(1).mean() + 0.02
    rows = [row for row in read_rows(tmp_path / "20.0/metrics.jsonl") if row["kind"] == "train"]
    assert rows[0]["loss_distill"] == pytest.approx(0, abs=1e-5)  # the weights are still those of the start
    parts = ("loss_text", "loss_pair", "loss_fused")
    assert rows[-1]["loss"] == pytest.approx(
        sum(rows[-1][part] for part in parts) + 20 * rows[-1]["loss_distill"], abs=1e-3
    )


def test_scales_learn_at_their_own_rate_and_weights_weigh(music, start, tmp_path):
    config = settings(music, start, tmp_path / "run", max_steps=1, scale_rate=0.5, learning_rate=1e-9, text_weight=3.0)
    trainer = Trainer(made(config), config, make_accelerator(config))
    trainer.fit()
    objective = trainer.task.module.objective
    assert all(abs(scale.item() - 2.6) > 0.4 for scale in objective.parameters())
    (row,) = [row for row in read_rows(tmp_path / "run/metrics.jsonl") if row["kind"] == "train"]
    assert row["loss"] == pytest.approx(3 * row["loss_text"] + row["loss_pair"] + row["loss_fused"], abs=1e-4)


def test_chunks_give_the_gradient_of_the_whole_batch(music, start, tmp_path):
    config = settings(music, start, tmp_path, pairs=("text-abc", "text-audio"), distill=1.0, grad_cache_chunk=5)
    task = made(config)
    batch = task.collate([task.train_data[0, index] for index in range(8)])
    found = []
    for chunked in (False, True):
        task.module.zero_grad()
        if chunked:
            loss, _ = cached_backward(
                task.module,
                lambda vectors: task.compare(vectors, batch),
                chunks(batch, 5),
                lambda loss: loss.backward(),
            )
        else:
            loss, _ = task.loss(task.module, batch)
            loss.backward()
        found.append(
            (loss.item(), {n: p.grad.clone() for n, p in task.module.named_parameters() if p.grad is not None})
        )
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-5)
    assert found[0][1].keys() == found[1][1].keys()
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(found[1][1][name], gradient, atol=1e-5, rtol=1e-4)


def test_a_pair_with_a_lost_file_does_not_count(music, start, tmp_path):
    task = made(settings(music, start, tmp_path))
    items = [task.train_data[0, index] for index in range(6)]
    whole, _ = task.loss(task.module, task.collate(items[:2] + items[3:]))
    lost = [dict(song) for song in items[2]]
    del lost[1]["symbolic"]
    assert task.loss(task.module, task.collate([*items[:2], lost, *items[3:]]))[0].item() == pytest.approx(
        whole.item(), abs=1e-6
    )
    with pytest.raises(DataError, match="No piece of a batch"):
        task.loss(task.module, task.collate([lost]))


def test_what_is_missing_or_wrong_is_said(music, start, tmp_path):
    good = settings(music, start, tmp_path)
    twice = write_rows(tmp_path / "twice.jsonl", read_rows(music / "train.jsonl")[:1] * 2)
    for row in read_rows(music / "train.jsonl")[:1]:
        for name in row["filepaths"]:
            (tmp_path / name).write_bytes((music / name).read_bytes())
    for config, error, said in (
        (replace(good, song_pairs=None), ConfigError, "--song_pairs"),
        (replace(good, init=()), ConfigError, "--init"),
        (replace(good, train_jsonl=None), ConfigError, "--train_jsonl"),
        (replace(good, song_pairs=tmp_path / "no.jsonl"), DataError, "no such file"),
        (replace(good, train_jsonl=twice), DataError, "an id that another one has"),
    ):
        with pytest.raises(error, match=said):
            made(config)
    for wrong in ({"mask": ("album",)}, {"pairs": ("abc-mtf",)}, {"distill": -1}, {"loss": "cosine"},
                  {"eval_jsonl": Path("e.jsonl")}, {"scale_rate": 0}):  # fmt: skip
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            PreferenceTraining(**wrong)


def test_false_negatives_are_left_out_as_counted_by_hand():
    pairs = np.array([[0, 1], [2, 3], [4, 1]])
    artists = [("A",), ("b", "C"), (), ("a ",), ("c",), (), ()]
    one, other = torch.tensor([0, 2, 4, 0, 5]), torch.tensor([1, 3, 1, 6, 4])
    linked = {frozenset(pair) for pair in pairs.tolist()}
    sung = [{name.strip().lower() for name in names} for names in artists]
    rules = {
        "song": lambda i, j: one[i] == other[j] or other[i] == other[j] or one[i] == one[j],
        "pair": lambda i, j: frozenset((int(one[i]), int(other[j]))) in linked,
        "artist": lambda i, j: bool(sung[one[i]] & sung[other[j]]),
    }
    for n_kinds in range(4):
        for kinds in itertools.combinations(rules, n_kinds):
            found = FalseNegatives(kinds, pairs, artists).linked(one, other)
            for i, j in itertools.product(range(5), repeat=2):
                assert bool(found[i, j]) == (i != j and any(rules[kind](i, j) for kind in kinds)), (kinds, i, j)
    many = [("Traditional",)] * 30 + [("Ann",)] * 3
    found = FalseNegatives(("artist",), pairs, many).linked(torch.tensor([0, 30]), torch.tensor([1, 31]))
    assert not found.any()  # "traditional" is no artist
    assert FalseNegatives(("artist",), pairs, many).linked(torch.tensor([30, 31]), torch.tensor([0, 32]))[0, 1]
    songs = torch.tensor([0, 1, 0])
    assert FalseNegatives(("song",), pairs, artists).same(songs).nonzero().tolist() == [[0, 2], [2, 0]]
    assert not FalseNegatives(("pair",), pairs, artists).same(songs).any()


def test_a_song_that_occurs_twice_is_no_negative_of_itself():
    """The released trainer takes every other row for a negative."""
    rng = torch.Generator().manual_seed(0)
    audio, text = (torch.randn(6, 4, generator=rng) for _ in range(2))
    audio[2], text[2] = audio[0], text[0]  # pairs (0, 1), (2, 3), (4, 5): rows 0 and 2 are one trigger
    songs = torch.tensor([0, 2, 0, 1, 3, 4])

    class Mean:
        def fuse(self, one, other):
            return one + other

    def losses(objective, rows):
        return objective(Mean(), audio[rows], text[rows], songs=songs[rows])

    every, none = torch.arange(6), np.zeros((0, 2), int)
    masked = HtclObjective(2, negatives=FalseNegatives(("song",), none, [()] * 5))
    assert losses(masked, every)["loss_text"] < losses(HtclObjective(2), every)["loss_text"]
    one, other = (torch.nn.functional.normalize(part, dim=1) for part in audio.chunk(2))
    without = torch.tensor([[False, False, True], [False, False, False], [True, False, False]])
    by_hand = contrastive_loss(one, other, logit_scale=torch.tensor(2.6).exp(), left_out=without)
    assert losses(masked, every)["loss_pair"].item() == pytest.approx(by_hand.item(), abs=1e-6)
    logits = torch.tensor(2.6).exp() * one @ other.T
    logits[0, 2] = logits[2, 0] = -torch.inf
    target = torch.arange(3)
    entropy = torch.nn.functional.cross_entropy
    assert by_hand.item() == pytest.approx(((entropy(logits, target) + entropy(logits.T, target)) / 2).item(), abs=1e-6)


def test_the_starting_model_is_described_as_before(music, start, tmp_path):
    start_run(settings(music, start, tmp_path / "run", epochs=1), make_preference_task)
    assert describe(tmp_path / "run").config == describe(start).config
