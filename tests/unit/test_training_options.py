"""What a run may have beyond the published recipe: each option does what it says, and nothing else changes."""

import importlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training_music import read_rows, write_music, write_text_model

from clamp3.errors import ConfigError, DataError, WeightsError
from clamp3.models.weights import load_model
from clamp3.training import near
from clamp3.training.alignment import make_alignment_task
from clamp3.training.averages import Averages
from clamp3.training.config import Clamp3Training, M3Training
from clamp3.training.device import make_accelerator, make_optimizer, recompute_layers
from clamp3.training.loop import start_run
from clamp3.training.loss import Objective
from clamp3.training.mixing import MixedPairs, mixed
from clamp3.training.negatives import labels_of, sharing

ROOT = Path(__file__).resolve().parents[2]
TINY = {"width": 32, "n_layers": 2, "n_heads": 2, "max_patches": 32, "warmup_steps": 2, "log_every": 1, "batch_size": 8,
        "epochs": 1, "learning_rate": 1e-3, "text_from_scratch": True, "text_length": 16, "hidden_size": 16,
        "eval_split": 0.2, "save_every": 0}  # fmt: skip


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    folder = write_music(tmp_path_factory.mktemp("music"))
    write_text_model(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        importlib.import_module("exactness").write_more(folder)
    return folder


def settings(music, out, **changes):
    return Clamp3Training(
        **{**TINY, "train_jsonl": music / "train.jsonl", "text_model": str(music), "out": out, **changes}
    )


def made(config):
    torch.manual_seed(0)
    return make_alignment_task(config, make_accelerator(config))


def trained(config):
    start_run(config, make_alignment_task)
    return torch.load(config.out / "last.pt", weights_only=True)


# ---- several JSONLs --------------------------------------------------------------------------------------------------


def test_an_epoch_takes_the_shares_of_the_weights_and_every_piece_equally_often():
    sizes = (10, 40)
    epochs = [mixed(sizes, (1, 1), epoch=epoch, seed=3) for epoch in range(8)]
    first = np.concatenate([items[items % 50 < 10] for items in epochs])
    assert [int((items % 50 < 10).sum()) for items in epochs] == [25] * 8
    assert np.bincount(first % 50, minlength=10).tolist() == [20] * 10  # 8 x 25 / 10
    others = np.bincount(np.concatenate([items[items % 50 >= 10] for items in epochs]) % 50)[10:]
    assert others.tolist() == [5] * 40
    assert all(len(set(items.tolist())) == 50 for items in epochs)  # a piece that comes again is another draw
    assert np.array_equal(epochs[2], mixed(sizes, (1, 1), epoch=2, seed=3))
    assert not np.array_equal(epochs[2], mixed(sizes, (1, 1), epoch=2, seed=4))


def test_several_files_train_together_and_keep_their_packs(music, tmp_path):
    config = settings(music, tmp_path / "run", more_jsonl=(music / "more.jsonl",), mix=(1.0, 3.0), max_steps=2)
    task = made(config)
    data, held_out = task.train_data, task.eval_data
    assert isinstance(data, MixedPairs) and len(data) + len(held_out) == 24 + 12
    assert len(list((tmp_path / "run/pack").glob("*/done.json"))) == 2
    ids = [record.item_id for record in data.every_record()]
    assert data.digest and len(ids) == len(set(ids)) == len(data)
    for index in (0, len(data) - 1):
        one, same, again = data[0, index], data[0, index], data[0, index + len(data)]
        assert all(np.array_equal(one[view], same[view]) for view in one)
        assert any(not np.array_equal(one[view], data[epoch, index + len(data)][view]) for view in one
                   for epoch in range(9)) and again.keys() == one.keys()  # fmt: skip
    items = np.concatenate(task.batches(0, 0, 1)) % len(data)
    assert (items >= data.sizes[0]).mean() == pytest.approx(0.75, abs=0.1)
    halves = [np.concatenate(task.batches(0, rank, 2)) for rank in (0, 1)]
    assert len(halves[0]) == len(halves[1])
    assert trained(config)["progress"]["step"] == 2


def test_a_piece_of_two_files_is_never_on_both_sides(music, tmp_path):
    task = made(settings(music, tmp_path, more_jsonl=(music / "train.jsonl",)))
    train, held_out = ({record.item_id for record in part.every_record()} for part in (task.train_data, task.eval_data))
    assert train and held_out and not train & held_out


# ---- what is no negative ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["infonce", "cosine", "sigmoid"])
def test_what_is_left_out_has_no_part_in_the_loss(kind):
    generator = torch.Generator().manual_seed(0)
    text, music = torch.randn(4, 8, generator=generator), torch.randn(4, 8, generator=generator)
    left_out = torch.zeros(4, 4, dtype=torch.bool)
    left_out[0, 1] = left_out[1, 0] = True
    objective = Objective(kind)
    assert torch.equal(objective(text, music, left_out=torch.zeros_like(left_out)), objective(text, music))
    loss = objective(text, music, left_out=left_out)
    scores = (torch.nn.functional.normalize(text), torch.nn.functional.normalize(music)) if kind != "infonce" else None
    if kind == "infonce":
        logits = (text @ music.T).masked_fill(left_out, -torch.inf)
    else:
        logits = objective.learned()["scale"] * scores[0] @ scores[1].T + objective.learned().get("bias", 0)
    if kind == "sigmoid":
        signs = 2 * torch.eye(4) - 1
        expected = -torch.nn.functional.logsigmoid(signs * logits)[~left_out].sum() / 4
    else:
        logits = logits.masked_fill(left_out, -torch.inf)
        expected = -(logits.log_softmax(1).diag() + logits.log_softmax(0).diag()).mean() / 2
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    halves = [objective(text, music, slice(a, a + 2), left_out) for a in (0, 2)]
    assert sum(halves).item() == pytest.approx(expected.item(), rel=1e-5)


def test_pieces_share_texts_music_and_values_of_fields():
    drawn = {"text": np.array([5, 6]), "abc": np.zeros((3, 64), np.uint8)}
    other = {"text": np.array([5, 7]), "abc": np.ones((3, 64), np.uint8)}

    def labels(fields, found, kinds, text=("words",)):
        return torch.from_numpy(labels_of(fields, found, text, kinds))[None]

    def share(kinds, one, two):
        return bool(sharing(labels(*one[:2], kinds, *one[2:]), labels(*two[:2], kinds, *two[2:])))

    a, b = ({"composer": ["Bach, J. S.", "Anon"]}, drawn), ({"composer": " anon "}, other, ("others",))
    assert share(["composer"], a, b) and not share(["title"], a, b) and not share(["title"], a, a)
    assert not share(["text"], a, b) and not share(["music"], a, b)
    assert share(["text"], a, ({}, other))  # the same whole text, of which other words were drawn
    assert share(["text"], a, ({}, drawn, ("others",))) and share(["music"], a, ({}, drawn, ("others",)))
    assert not share(["id"], ({"id": "x"}, drawn), ({"id": "X"}, drawn)) and share(
        ["id"], ({"id": 1}, drawn), ({"id": "1"}, {})
    )


def test_masked_pieces_of_a_batch(music, tmp_path):
    """With --mask composer, the loss of a batch is that of its pieces without the negatives of the same composer."""
    plain, masked = made(settings(music, tmp_path / "a")), made(settings(music, tmp_path / "b", mask=("composer",)))
    indices = range(8)
    batches = [task.collate([task.train_data[0, index] for index in indices]) for task in (plain, masked)]
    assert "labels" not in batches[0] and batches[1]["labels"].shape == (8, 4)
    composers = [record.fields["composer"] for record in plain.train_data.every_record()][:8]
    same = torch.tensor([[one == other for other in composers] for one in composers]).fill_diagonal_(False)
    assert same.any()
    vectors = plain.module.eval()(batches[0])
    expected = plain.module.objective(vectors["text"], vectors["symbolic"], None, same)
    assert masked.compare(vectors, batches[1])[0].item() == pytest.approx(expected.item(), rel=1e-6)
    assert plain.compare(vectors, batches[0])[0].item() > expected.item()


# ---- near pieces -----------------------------------------------------------------------------------------------------


def test_groups_of_near_pieces_follow_each_other_and_nothing_is_lost():
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 6, 101)
    order = rng.permutation(101)
    for found in (near.Near(4, labels=labels), near.Near(4, vectors=near.unit(np.eye(7)[labels]))):
        items = found.arrange(order, np.random.default_rng(1))
        assert sorted(items.tolist()) == list(range(101))
        assert np.array_equal(items, found.arrange(order, np.random.default_rng(1)))
        alike = (labels[items][1:] == labels[items][:-1]).mean()
        by_chance = (labels[order][1:] == labels[order][:-1]).mean()
        assert alike > 0.6 > 0.3 > by_chance
        longest = max(len(run) for run in np.split(labels[items], np.flatnonzero(np.diff(labels[items])) + 1))
        assert longest <= 12  # groups of four; two or three of the same kind may follow each other by chance


def test_batches_of_near_pieces(music, tmp_path):
    composers = np.array([int(row["composer"].split()[-1]) for row in read_rows(music / "train.jsonl")])
    names = [name for row in read_rows(music / "train.jsonl") for name in row["filepaths"] if name.endswith(".abc")]
    folder = tmp_path / "vectors"
    folder.mkdir()
    for name, composer in zip(names, composers, strict=True):
        np.save(folder / name.replace(".abc", ".npy"), np.eye(5, dtype=np.float32)[composer])
    for value in ("composer", str(folder)):
        task = made(settings(music, tmp_path / "run", near=value, near_group=4, batch_size=4))
        fields = [record.fields["composer"] for record in task.train_data.every_record()]
        batches = task.batches(0, 0, 1)
        together = [len({fields[index] for index in batch}) for batch in batches]
        at_random = [len({fields[index] for index in batch}) for batch in replaced(task).batches(0, 0, 1)]
        assert np.mean(together) <= 2.5 < np.mean(at_random), value
        halves = np.concatenate([np.concatenate(task.batches(3, rank, 2)) for rank in (0, 1)])
        assert len(set(halves.tolist())) == len(halves)


def replaced(task):
    task.near, task._batches = None, None
    return task


def test_near_by_the_model_of_an_epoch(music, tmp_path):
    config = settings(music, tmp_path / "run", near="current", near_group=2, epochs=2)
    trained(config)
    assert [path.name for path in (tmp_path / "run").glob("near_*")] == ["near_0001.npy"]
    vectors = np.load(tmp_path / "run/near_0001.npy")
    assert vectors.shape[1] == 16 and np.allclose(np.linalg.norm(vectors.astype(float), axis=1), 1, atol=1e-2)


# ---- averages --------------------------------------------------------------------------------------------------------


def test_moving_average_by_its_formula():
    module = torch.nn.Linear(2, 2)
    averages = Averages(module, 0.5)
    expected = module.weight.detach().clone()
    for step in (1, 2, 3, 40):
        with torch.no_grad():
            module.weight.add_(1)
        averages.update(step)
        kept = min(0.5, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * module.weight.detach()
    before = module.weight.detach().clone()
    with averages.in_place():
        torch.testing.assert_close(module.weight.detach(), expected)
    assert torch.equal(module.weight, before)


def test_a_run_exports_and_evaluates_its_moving_average(music, tmp_path):
    state = trained(settings(music, tmp_path / "run", ema=0.9))
    plain = trained(settings(music, tmp_path / "plain"))
    name = "model.text_proj.weight"
    assert torch.equal(state["model"][name], plain["model"][name])  # training itself is the same
    exported = load_model(tmp_path / "run", ("text", "symbolic")).model.state_dict()
    assert torch.equal(exported["text_proj.weight"], state["averages"][name])
    assert not torch.equal(exported["text_proj.weight"], state["model"][name])
    losses = [[row["eval_loss"] for row in read_rows(tmp_path / run / "metrics.jsonl") if row["kind"] == "epoch"]
              for run in ("run", "plain")]  # fmt: skip
    assert len(losses[0]) == 1 and losses[0] != losses[1]


# ---- memory, layers, rates -------------------------------------------------------------------------------------------


def test_recomputed_layers_give_the_same_gradients_and_keep_less(music, tmp_path):
    found = []
    for again in (False, True):
        task = made(settings(music, tmp_path / "run", dropout=0.3))
        if again:
            recompute_layers(task.module)
        task.train()
        batch = task.collate([task.train_data[0, index] for index in range(8)])
        torch.manual_seed(1)
        n_bytes = []

        def kept(tensor, sizes=n_bytes):
            sizes.append(tensor.numel() * tensor.element_size())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(kept, lambda tensor: tensor):
            loss, _ = task.loss(task.module, batch)
        held = sum(n_bytes)
        loss.backward()
        gradients = {name: p.grad for name, p in task.module.named_parameters() if p.grad is not None}
        found.append((float(loss), gradients, held))
    (loss, gradients, held), (other, others, less) = found
    assert loss == other and gradients.keys() == others.keys() and less < held / 3
    assert all(torch.equal(gradients[name], others[name]) for name in gradients)


def test_only_the_last_layers_train(music, tmp_path):
    changes = {"train_layers": ("text=0", "symbolic=1"), "max_steps": 2, "weight_decay": 0.1}
    config = settings(music, tmp_path / "run", **changes)
    torch.manual_seed(config.seed)
    start = {name: tensor.clone() for name, tensor in made_by_seed(config).module.state_dict().items()}
    state = trained(config)["model"]
    moved = {name for name in state if not torch.equal(state[name], start[name])}
    kept = [name for name in state if name.startswith(("model.text_model.", "model.symbolic_model.patch_embedding",
            "model.symbolic_model.base.embeddings", "model.symbolic_model.base.encoder.layer.0"))]  # fmt: skip
    assert kept and not moved & set(kept)
    assert {"model.text_proj.weight", "model.symbolic_proj.weight"} <= moved
    assert any(name.startswith("model.symbolic_model.base.encoder.layer.1") for name in moved)
    module = made(config).module.train()
    layers = module.model.symbolic_model.base.encoder.layer
    assert layers[1].training and not layers[0].training and not module.model.text_model.training


def made_by_seed(config):
    torch.manual_seed(config.seed)
    return make_alignment_task(config, make_accelerator(config))


def test_rates_by_tower_and_decay_of_matrices_alone(music, tmp_path):
    config = settings(music, tmp_path / "run", tower_rates=("text=1e-4",), decay_norms=False, loss="cosine")
    task = made(config)
    groups = {(round(group["factor"], 6), group["weight_decay"]): group["params"]
              for group in make_optimizer(task, config).param_groups}  # fmt: skip
    assert groups.keys() == {(0.1, 0.01), (0.1, 0.0), (1.0, 0.01), (1.0, 0.0)}
    assert all(p.ndim < 2 for key, group in groups.items() if key[1] == 0 for p in group)
    assert all(p.ndim >= 2 for key, group in groups.items() if key[1] for p in group)
    slow = {id(p) for key, group in groups.items() if key[0] == 0.1 for p in group}
    text = [*task.module.model.text_model.parameters(), *task.module.model.text_proj.parameters()]
    assert slow == {id(p) for p in text}
    task.config = replace(config, tower_rates=(), decay_norms=True)
    published = make_optimizer(task, task.config).param_groups  # the learned scale by itself
    assert [(group["factor"], group["weight_decay"], len(group["params"]) > 1) for group in published] == [
        (1.0, 0.01, True), (1.0, 0.0, False),
    ]  # fmt: skip


# ---- a teacher -------------------------------------------------------------------------------------------------------


def test_a_teacher_keeps_vectors_where_they_were(music, tmp_path):
    trained(settings(music, tmp_path / "start", epochs=2))
    start = str(tmp_path / "start")
    moved = {}
    for weight in (0.0, 50.0):
        config = settings(music, tmp_path / f"run{weight:.0f}", init=(start,), distill=weight, epochs=6, eval_split=0.0,
                          dropout=0.0, learning_rate=3e-3)  # fmt: skip
        trained(config)
        tasks = [made(settings(music, tmp_path / "x", init=(name,))) for name in (start, str(config.out))]
        batch = tasks[0].collate([tasks[0].train_data[-1, index] for index in range(8)])
        before, after = (task.module.eval()(batch)["symbolic"] for task in tasks)
        moved[weight] = float((1 - torch.cosine_similarity(before, after)).mean())
    assert moved[50.0] < 0.5 * moved[0.0]
    rows = [row for row in read_rows(tmp_path / "run50/metrics.jsonl") if row["kind"] == "train"]
    assert all("loss_distill" in row for row in rows) and rows[0]["loss_distill"] < 0.2


def test_another_model_teaches_if_it_reads_the_same(music, tmp_path):
    trained(settings(music, tmp_path / "teacher", width=64, max_steps=1))
    teacher = str(tmp_path / "teacher")
    state = trained(settings(music, tmp_path / "run", distill=1.0, teacher=teacher, max_steps=1))
    assert not any("teacher" in name for name in state["model"])
    for changes, sentence in (
        ({"hidden_size": 8}, "vectors of 16 numbers"),
        ({"max_patches": 64, "patch_length": 40}, "takes 32 positions"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            made(settings(music, tmp_path / "no", distill=1.0, teacher=teacher, **changes))


def test_a_run_whose_teacher_is_gone_does_not_go_on_with_another(music, tmp_path):
    trained(settings(music, tmp_path / "start", max_steps=1))
    config = settings(music, tmp_path / "run", init=(str(tmp_path / "start"),), distill=1.0, max_steps=2)
    trained(config)
    shutil.rmtree(tmp_path / "start")
    with pytest.raises(WeightsError, match="start"):
        start_run(replace(config, resume="auto", max_steps=3), make_alignment_task)


# ---- what makes no sense ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"mix": (1.0, 2.0)}, "--mix needs a weight for each of the 1"),
        ({"more_jsonl": (Path("b"),), "mix": (1.0, 0.0)}, "--mix must be above 0"),
        ({"mask": ("none", "text")}, "--mask must be none, or names"),
        ({"near_group": 1}, "--near_group"),
        ({"teacher": "mini"}, "--distill must be above 0 for a --teacher"),
        ({"distill": 1.0, "standardise": True}, "--distill must be 0 with --standardise"),
        ({"tower_rates": ("text",)}, "--tower_rates takes TOWER=NUMBER"),
        ({"tower_rates": ("text=0",)}, "--tower_rates must be above 0"),
        ({"tower_rates": ("audio=1",)}, "--tower_rates audio: the towers that train are text, symbolic"),
        ({"train_layers": ("text=1.5",)}, "--train_layers must be whole"),
        ({"train_layers": ("text=1",), "freeze_text": True}, "--train_layers text: the towers that train are symbolic"),
        ({"train_layers": ("text=1",), "lora_towers": ("text",)}, "--lora_towers trains adapters"),
        ({"ema": 1.0}, r"--ema must be in \[0, 1\)"),
    ],
)
def test_settings_that_make_no_sense(changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        Clamp3Training(**changes)


def test_fields_and_vectors_that_are_not_there(music, tmp_path):
    (tmp_path / "empty").mkdir()
    np.save(tmp_path / "empty/other.npy", np.ones(4, np.float32))
    for changes, kind, sentence in (
        ({"mask": ("opus",)}, ConfigError, "--mask opus: the records have no such field"),
        ({"near": "opus"}, ConfigError, "--near opus is no folder, and no record has a field"),
        ({"near": str(tmp_path / "empty")}, DataError, "no vector there has the name"),
        ({"train_layers": ("text=9",)}, ConfigError, "text=9: the tower has 1 layers"),
    ):
        with pytest.raises(kind, match=sentence):
            made(settings(music, tmp_path / "run", **changes))


def test_m3_takes_those_of_any_run(music, tmp_path):
    from clamp3.training.m3_task import make_m3_task

    config = M3Training(width=32, n_layers=1, n_heads=2, max_patches=32, decoder_layers=1, data=(music,), ema=0.9,
                        out=tmp_path / "m3", batch_size=4, epochs=1, max_steps=2, recompute=True,
                        decay_norms=False, eval_split=0.1)  # fmt: skip
    start_run(config, make_m3_task)
    assert torch.load(tmp_path / "m3/last.pt", weights_only=True)["averages"]
