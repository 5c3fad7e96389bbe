"""What stopped the released trainers, or went wrong in them without a word, and is not tested elsewhere."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from training_music import AUDIO_WIDTH, read_rows, write_music, write_rows, write_text_model

from clamp3.errors import ConfigError, DataError, WeightsError
from clamp3.models import registry
from clamp3.models.clamp3 import Clamp3Model
from clamp3.models.config import Clamp3Config, TowerConfig
from clamp3.models.weights import load_model
from clamp3.training.alignment import make_alignment_task
from clamp3.training.config import AudioTraining, Clamp3Training, M3Training
from clamp3.training.loop import Trainer, make_accelerator, start_run
from clamp3.training.m3_task import make_m3_task

TINY = {"width": 32, "n_layers": 1, "n_heads": 2, "max_patches": 32, "warmup_steps": 0, "batch_size": 6, "epochs": 1,
        "text_from_scratch": True, "text_length": 16, "hidden_size": 16, "eval_split": 0.2}  # fmt: skip
AUDIO = {"audio_width": AUDIO_WIDTH, "audio_layers": 1, "audio_heads": 2, "audio_length": 8}


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    return write_music(tmp_path_factory.mktemp("music"))


@pytest.fixture(scope="module")
def text_model(tmp_path_factory):
    return write_text_model(tmp_path_factory.mktemp("text"))


def training(music, out, text_model, kind=Clamp3Training, **changes):
    settings = {"train_jsonl": music / "train.jsonl", "text_model": str(text_model), "out": out, **changes}
    return kind(**{**TINY, **(AUDIO if kind is AudioTraining else {}), **settings})


def made(config):
    return make_alignment_task(config, make_accelerator(config))


def test_one_evaluation_piece_is_enough(music, text_model, tmp_path):
    """Released: fewer than a batch, and the first epoch ends in a division by zero."""
    rows = read_rows(music / "train.jsonl")
    config = training(music, tmp_path, text_model, eval_jsonl=write_rows(music / "one.jsonl", rows[:1]))
    start_run(config, make_alignment_task)
    last = read_rows(tmp_path / "metrics.jsonl")[-1]
    assert last["eval_mrr_text_to_symbolic"] == 1.0 and last["eval_loss"] == 0.0  # alone among one


def test_evaluation_paths_are_relative_to_their_own_file(music, text_model, tmp_path):
    """Released: with EVAL_JSONL left empty or elsewhere, paths are joined to the wrong folder."""
    other = write_music(tmp_path)
    for path in other.glob("p*.abc"):
        path.rename(path.with_name(f"other_{path.name}"))
    rows = [{**row, "filepaths": [f"other_{row['filepaths'][0]}"]} for row in read_rows(other / "train.jsonl")]
    task = made(training(music, tmp_path / "run", text_model, eval_jsonl=write_rows(other / "eval.jsonl", rows)))
    assert (len(task.train_data), len(task.eval_data)) == (24, 24)
    with pytest.raises(DataError, match=r"nowhere\.jsonl cannot be read"):
        made(training(music, tmp_path / "run", text_model, eval_jsonl=tmp_path / "nowhere.jsonl"))
    with pytest.raises(DataError, match=r"nowhere\.jsonl cannot be read"):  # and not that weights are absent
        made(training(music, tmp_path / "run", text_model, train_jsonl=tmp_path / "nowhere.jsonl", init=("nowhere",)))
    with pytest.raises(ConfigError, match="Name the training data"):
        make_m3_task(M3Training(), make_accelerator(M3Training()))


def test_m3_that_is_asked_for_and_absent_stops_the_run(music, text_model, tmp_path, monkeypatch):
    """Released: the file name in the configuration is not the published one, and training starts at random."""

    def absent(*_args, **_kwargs):
        raise WeightsError("no network")

    monkeypatch.setattr(registry, "hub_file", absent)
    with pytest.raises(WeightsError, match=r"'m3' are absent: put weights_m3_.*\.pth from https"):
        made(training(music, tmp_path, text_model, init=("m3",)))


@pytest.mark.parametrize("kind", [Clamp3Training, AudioTraining])
def test_what_is_frozen_has_no_dropout_in_any_stage(music, text_model, tmp_path, kind):
    """Released: ``model.train()`` at every epoch turns the dropout of frozen towers on again."""
    first = training(music, tmp_path / "a", text_model, AudioTraining, pairs=("text-symbolic", "text-audio"))
    start_run(first, make_alignment_task)
    task = made(training(music, tmp_path / "b", text_model, kind, init=(str(tmp_path / "a"),), freeze_text=True,
                         dropout=0.9))  # fmt: skip
    task.train()
    trained = "audio" if kind is AudioTraining else "symbolic"
    modes = {
        tower: task.module.model.get_submodule(f"{tower}_model").training for tower in ("text", "symbolic", "audio")
    }
    assert modes == {tower: tower == trained for tower in modes}
    batch = task.collate([task.train_data[0, index] for index in range(6)])
    first, again = (task.module(batch) for _ in range(2))
    assert torch.equal(first["text"], again["text"])
    assert not torch.equal(first[trained], again[trained])


@pytest.mark.parametrize("kind", [Clamp3Training, AudioTraining])
def test_records_of_every_shape_train(music, text_model, tmp_path, kind):
    """Released: ``translations`` or ``analysis`` missing, or only an ``.mtf``, is a KeyError or an IndexError."""
    rows = read_rows(music / "train.jsonl")
    for row in rows[:12]:
        del row["analysis"]
    for row, value in zip(rows, (None, {}, {"language": "de"}, {"language": "de", "scene": "key C"}), strict=False):
        row["translations"] = value
    rows[3]["filepaths"] = rows[3]["filepaths"][1:]  # .mtf and .npy
    rows[4]["filepaths"] = [name.replace(".abc", ".ABC") for name in rows[4]["filepaths"]]
    (music / "p04.ABC").write_bytes((music / "p04.abc").read_bytes())
    rows[5] = {"title": "Piece 5", "filepaths": rows[5]["filepaths"]}  # not even an id
    path = write_rows(music / f"{kind.__name__}.jsonl", rows)
    config = training(music, tmp_path, text_model, kind, train_jsonl=path, max_bad=0.0)
    task = made(config)
    assert len(task.train_data) + len(task.eval_data) == 24
    start_run(config, make_alignment_task)


@pytest.mark.parametrize("lost", ["weight", "loss"])
@pytest.mark.parametrize("evaluated", [True, False])
def test_weights_that_are_no_numbers_are_never_kept(music, text_model, tmp_path, monkeypatch, caplog, lost, evaluated):
    """Between two logged steps too; what the message advises works."""
    step = Trainer.step

    def spoilt(self, batches):
        if lost == "loss" and self.progress.step == 5:
            monkeypatch.setattr(self.task, "loss", lambda *given, to=self.task.loss: (to(*given)[0] * torch.nan, {}))
        found = step(self, batches)
        if lost == "weight" and self.progress.step == 6:
            self.parameters[0].data.view(-1)[3] = torch.inf
        return found

    split = {"eval_split": 0.2} if evaluated else {"eval_split": 0.0}
    config = training(music, tmp_path, text_model, epochs=2, save_every=1, **split)
    monkeypatch.setattr(Trainer, "step", spoilt)
    with pytest.raises(DataError, match=r"at step \d; lower --learning_rate or set --max_grad_norm 1, and go on with"):
        start_run(config, make_alignment_task)
    kept = torch.load(tmp_path / "last.pt", weights_only=True)
    assert kept["progress"]["epoch"] == 1 and all(tensor.isfinite().all() for tensor in kept["model"].values())
    assert all(tensor.isfinite().all() for tensor in load_file(tmp_path / "best.safetensors").values())
    assert not (tmp_path / "epoch_0002.safetensors").exists()
    monkeypatch.undo()
    gentle = {"resume": "auto", "learning_rate": 1e-5, "max_grad_norm": 1.0}
    with caplog.at_level("WARNING"):
        outcome = start_run(training(music, tmp_path, text_model, epochs=2, save_every=1, **split, **gentle),
                            make_alignment_task)  # fmt: skip
    assert outcome.reason == "done"
    assert "--learning_rate was 5e-05, is 1e-05, --max_grad_norm was 0.0, is 1.0" in caplog.text


def narrow_heads(text_model, folder):
    """Write a text model of width 128 with 4 heads, and a released checkpoint of it; return folder, file and model."""
    folder.mkdir()
    sizes = json.loads((text_model / "config.json").read_text())
    sizes |= {"hidden_size": 128, "num_attention_heads": 4, "hidden_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(sizes))
    shutil.copy(text_model / "tokenizer.json", folder)
    tower = TowerConfig(width=64, n_layers=1, n_heads=1, feed_forward=64, max_length=32)
    model = Clamp3Model(
        Clamp3Config(text=TowerConfig.from_transformers(sizes), symbolic=tower, symbolic_length=32, text_length=16)
    )
    torch.save({"model": model.state_dict(), "epoch": 1, "optimizer": {}}, folder.parent / "old.pth")
    return folder, str(folder.parent / "old.pth"), model


@pytest.mark.parametrize("flag", ["init", "resume"])
def test_heads_of_a_released_checkpoint_are_those_of_the_text_model(music, text_model, tmp_path, flag):
    """Shapes do not show them, and 64 numbers a head is only a guess: it trained and exported another model."""
    folder, old, model = narrow_heads(text_model, tmp_path / "heads")
    start = {"init": (old,)} if flag == "init" else {"resume": old}
    flags = {"width": 64, "n_heads": 1, "hidden_size": 768, "dropout": 0.0, "freeze_text": True, "epochs": 2}
    config = training(music, tmp_path / "run", folder, **flags, **start)
    start_run(config, make_alignment_task)
    made = load_model(tmp_path / "run", ("text", "symbolic"))
    assert (made.config.text.n_heads, made.config.symbolic.n_heads) == (4, 1)
    tokens = torch.tensor([[0, 4, 5, 6, 2]])
    ours, theirs = (m.eval().text_features(tokens) for m in (made.model, model))
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_quick_steps_ask_the_other_ranks_only_now_and_then():
    """An end is noticed after at most ten quick steps, or --log_every of them; with slow steps after every one."""
    asked = []
    trainer = SimpleNamespace(slow=True, world_size=2, progress=SimpleNamespace(step=0),
                              config=SimpleNamespace(log_every=4, max_minutes=0.0))  # fmt: skip
    trainer._any_rank = lambda *flags: (asked.append(trainer.progress.step), flags)[1]

    def run(n_steps, seconds):
        asked.clear()
        for _ in range(n_steps):
            trainer.progress.step += 1
            found = Trainer._agreed(trainer, True, False, seconds=seconds)
            assert found == ((True, False) if trainer.progress.step in asked else (False, False))
        return list(asked)

    assert run(9, 0.1) == [1, 4, 8]
    assert run(6, 3.0) == [12, 13, 14, 15]  # from the first time that one says so
    trainer.config.log_every = 1000
    assert run(25, 0.1) == [16, 20, 30, 40]
    trainer.config.max_minutes = 5.0  # ends and rates follow from minutes, which are those of the first rank
    assert run(3, 0.1) == [41, 42, 43]
    trainer.config.max_minutes, trainer.world_size = 0.0, 1
    assert run(3, 0.1) == [44, 45, 46]
