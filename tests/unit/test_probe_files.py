"""Probes as files, plans of a training, and classes described by sentences."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clamp3.embedding.encoder import Result
from clamp3.errors import ConfigError, DataError, WeightsError
from clamp3.index.prompts import class_vectors, prompts_for
from clamp3.probe.checkpoint import Probe, load_probe, save_probe
from clamp3.probe.config import ProbeConfig
from clamp3.probe.metrics import need_eval
from clamp3.probe.predict import answer, predict_folder
from clamp3.probe.report import as_plain, as_text, draw, pooled
from clamp3.probe.train import Plan, train
from clamp3.probe.zero_shot import answer_folder, compare, read_prompts

RNG = np.random.default_rng(0)


def some_probe(task="multiclass", head="linear"):
    config = ProbeConfig(task=task, head=head, hidden=5)
    shapes = {"fc.weight": (3, 4 if head == "linear" else 5), "fc.bias": (3,)}
    if head == "mlp":
        shapes |= {"hidden.weight": (5, 4), "hidden.bias": (5,)}
    state = {name: RNG.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    moments = ((1.0, 2.0, 3.0), (10.0, 0.5, 1.0)) if task == "regression" else ((), ())
    return Probe(config, ("a", "b", "ü"), state, ("model",), *moments, {"best_epoch": 7, "scores": {"accuracy": 0.5}})


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(("task", "head"), [("multiclass", "linear"), ("multilabel", "mlp"), ("regression", "linear")])
def test_a_probe_comes_back_as_it_was_written(tmp_path, suffix, task, head):
    probe, x = some_probe(task, head), RNG.standard_normal((6, 4)).astype(np.float32)
    save_probe(probe, tmp_path / f"p{suffix}")
    back = load_probe(tmp_path / f"p{suffix}")
    assert (back.config, back.classes, back.weights, back.info) == (probe.config, probe.classes, ("model",), probe.info)
    np.testing.assert_array_equal(back.predict(x), probe.predict(x))


def test_predictions_by_hand():
    probe, x = some_probe(), RNG.standard_normal((2, 4)).astype(np.float32)
    z = torch.nn.functional.linear(*map(torch.from_numpy, (x, probe.state["fc.weight"], probe.state["fc.bias"])))
    np.testing.assert_allclose(probe.predict(x), torch.softmax(z, dim=1).numpy(), rtol=1e-5)
    values = some_probe("regression")
    z = x @ values.state["fc.weight"].T + values.state["fc.bias"]
    np.testing.assert_allclose(values.predict(x), [1, 2, 3] + z * [10, 0.5, 1], rtol=1e-5)
    with pytest.raises(DataError, match="width 4, these have 3"):
        probe.predict(x[:, :3])


def test_the_released_inference_can_open_ours_and_we_can_open_theirs(tmp_path):
    probe = some_probe()
    save_probe(probe, tmp_path / "ours.pth")
    content = torch.load(tmp_path / "ours.pth", weights_only=True)
    assert (content["input_size"], content["labels"]) == (4, {"a": 0, "b": 1, "ü": 2})
    torch.nn.Linear(4, 3).load_state_dict({k.removeprefix("fc."): v for k, v in content["model"].items()})
    theirs = {
        "model": {name: torch.from_numpy(value) for name, value in probe.state.items()},
        "labels": {"jazz": 2, "pop": 0, "rock": 1},  # numbered in the order of a set
        "input_size": 4,
        "epoch": 3,
        "max_eval_acc": 0.25,
    }
    torch.save(theirs, tmp_path / "theirs.pth")
    back = load_probe(tmp_path / "theirs.pth")
    assert back.classes == ("pop", "rock", "jazz")
    x = RNG.standard_normal((5, 4)).astype(np.float32)
    np.testing.assert_array_equal(back.predict(x), probe.predict(x))


def test_files_that_are_no_probes_are_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("code ran",)

    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil()))
    torch.save({"model": {"x": torch.zeros(2)}}, tmp_path / "other.pth")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    for name in ("evil.pth", "other.pth", "broken.safetensors", "absent.pth"):
        with pytest.raises(WeightsError):
            load_probe(tmp_path / name)
    for name in ("other.pth", "broken.safetensors"):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(ConfigError, match="is no probe; give another --output"):
            save_probe(some_probe(), tmp_path / name)
        assert (tmp_path / name).read_bytes() == before
    with pytest.raises(ConfigError, match="ends in"):
        save_probe(some_probe(), tmp_path / "probe.bin")


def test_answers():
    tags = answer(some_probe("multilabel"), np.array([0.9, 0.4, 0.5]))
    assert tags["label"] == ["a", "ü"]
    assert answer(some_probe("multilabel"), np.array([0.9, 0.4, 0.5]), 0.3)["label"] == ["a", "b", "ü"]
    assert answer(some_probe(), np.array([0.1, 0.7, 0.2]))["label"] == "b"
    assert answer(some_probe("regression"), np.array([1.5, 2, 3])) == {"label": {"a": 1.5, "b": 2.0, "ü": 3.0}}


# --- plans -----------------------------------------------------------------------------------------------------------


def clouds(folder, n=20, classes="abc", width=8, seed=0):
    """Write vectors of well separated classes, labelled by name."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    for place, name in enumerate(classes):
        for i in range(n):
            vector = rng.standard_normal(width).astype(np.float32) + 4 * np.eye(width, dtype=np.float32)[place]
            np.save(folder / f"{name}_{i}.npy", vector[None])
    return folder


def no_model():
    raise AssertionError("no model is needed for stored vectors")


QUICK = ProbeConfig(num_epochs=15, learning_rate=0.01, batch_size=8)


def test_an_easy_set_is_learned_and_the_parts_are_apart(tmp_path):
    runs, data = train(Plan(clouds(tmp_path / "f"), stratified=True), QUICK, no_model)
    info = runs[0].probe.info
    assert (info["n_train"], info["n_valid"], info["n_judged"]) == (39, 9, 12)
    assert runs[0].scores["accuracy"] > 0.9
    assert runs[0].probe.classes == ("a", "b", "c")
    assert len(data.names) == 60


def test_the_published_selection_tests_what_chose_the_epoch(tmp_path):
    folder = clouds(tmp_path / "f")
    published = train(Plan(folder, selection="eval"), QUICK, no_model)[0][0]
    info = published.probe.info
    assert (info["n_train"], info["n_valid"], info["n_judged"]) == (48, 12, 12)
    assert published.scores["accuracy"] == max(epoch.score for epoch in published.history)


def test_an_evaluation_folder_with_a_class_that_was_never_trained(tmp_path):
    """The released script raises KeyError."""
    plan = Plan(clouds(tmp_path / "train", classes="ab"), clouds(tmp_path / "test", n=5, classes="abc", seed=1))
    run = train(plan, QUICK, no_model)[0][0]
    assert run.probe.classes == ("a", "b")
    assert run.probe.info["n_of_untrained_classes"] == 5
    assert run.scores["accuracy"] <= 10 / 15
    assert "5 of the judged files are of classes that were not trained" in as_text([run])


def test_folds_and_seeds_are_summed_up(tmp_path):
    folder = clouds(tmp_path / "f", n=8)
    runs, _ = train(Plan(folder, n_folds=4, n_seeds=2), QUICK, no_model)
    assert [run.seed for run in runs] == [42] * 4 + [43] * 4
    assert sum(len(run.targets) for run in runs) == 2 * 24
    values = [run.scores["accuracy"] for run in runs]
    found = as_plain(runs)["summary"]["accuracy"]
    assert found == {"mean": pytest.approx(np.mean(values)), "deviation": pytest.approx(np.std(values, ddof=1))}
    json.dumps(as_plain(runs))
    assert sum(row["n"] for row in pooled(runs)["per_class"]) == 2 * 24
    assert np.trace(pooled(runs)["confusion"]) == sum(round(run.scores["accuracy"] * len(run.targets)) for run in runs)
    with pytest.raises(ConfigError, match="leave --eval_folder"):
        Plan(folder, folder, n_folds=2)


@pytest.mark.parametrize("seed", [1, 3])
def test_folds_without_a_class_are_in_the_table_too(tmp_path, seed):
    """The only file of a class is tested in one fold, where the class is not trained."""
    folder = clouds(tmp_path / "f", n=10, classes="ab")
    np.save(folder / "rare_0.npy", np.ones((1, 8), np.float32))
    runs, _ = train(Plan(folder, n_folds=5), replace(QUICK, num_epochs=3, seed=seed), no_model)
    found = pooled(runs)
    assert [row["class"] for row in found["per_class"]] == ["a", "b", "rare"]
    assert [sum(row) for row in found["confusion"]] == [10, 10, 0, 1]
    assert [row["n"] for row in found["per_class"]] == [10, 10, 0]
    text = as_text(runs)
    assert "1 of the judged files are of classes that were not trained" in text and "(all runs together)" in text
    assert "4 or 5 judged; mean" in text
    assert draw(runs, tmp_path / "report")


def test_files_without_label_or_vector_are_named(tmp_path):
    folder = clouds(tmp_path / "f")
    np.save(folder / "nolabel.npy", np.ones((1, 8), np.float32))
    np.save(folder / "a_wide.npy", np.ones((1, 9), np.float32))
    (folder / "b_broken.npy").write_bytes(b"x")
    problems = dict(train(Plan(folder), QUICK, no_model)[1].problems)
    assert set(problems) == {"nolabel.npy", "a_wide.npy", "b_broken.npy"}
    assert "nothing stands before" in problems["nolabel.npy"]


def test_a_table_labels_files_and_values(tmp_path):
    folder = clouds(tmp_path / "f")
    rows = [f"{path.stem},{path.stem[0] == 'a':d}.5,-2" for path in sorted(folder.iterdir())]
    (tmp_path / "v.csv").write_text("file,valence,arousal\n" + "\n".join(rows) + "\nghost,1,1\n", encoding="utf-8")
    config = ProbeConfig(task="regression", num_epochs=40, learning_rate=0.01, batch_size=8)
    runs, data = train(Plan(folder, labels=tmp_path / "v.csv"), config, no_model)
    assert runs[0].probe.classes == ("valence", "arousal")
    assert runs[0].scores["r2 valence"] > 0.5
    assert data.problems == (("ghost", "has a label, but there is no such file."),)
    with pytest.raises(ConfigError, match="give --labels FILE for regression"):
        train(Plan(folder), config, no_model)


def test_tags_that_were_not_trained_are_named_and_no_score_is_null(tmp_path):
    trained, tested = clouds(tmp_path / "train", n=6), clouds(tmp_path / "test", n=2, classes="xy")
    tags = {path.stem: ["all", path.stem[0]] for path in trained.iterdir()} | {"x_0": ["all", "new"]}
    tags |= {name: ["all"] for name in ("x_1", "y_0", "y_1")}
    (tmp_path / "t.json").write_text(json.dumps(tags), encoding="utf-8")
    plan, config = Plan(trained, tested, tmp_path / "t.json"), ProbeConfig(task="multilabel", num_epochs=2)
    runs, _ = train(plan, config, no_model)
    assert runs[0].scores["tags_left_out"] == ["a", "all", "b", "c", "new"]
    assert "in none or all of the judged files): a, all, b, c, new" in as_text(runs)
    assert as_plain(runs)["summary"]["roc_auc"]["mean"] is None
    json.dumps(as_plain(runs), allow_nan=False)
    save_probe(runs[0].probe, tmp_path / "p.safetensors")
    assert load_probe(tmp_path / "p.safetensors").info["scores"]["roc_auc"] is None


def test_pictures_are_written(tmp_path):
    classes = ["A$x^$", "b", "$"]  # no formulas
    runs, _ = train(Plan(clouds(tmp_path / "f", classes=classes), n_seeds=2), QUICK, no_model)
    written = draw(runs, tmp_path / "report")
    assert [path.name for path in written] == ["history.png", "confusion.png"]
    for path in written:
        assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000


def test_an_absent_package_is_a_sentence():
    with pytest.raises(ConfigError, match=r"plots need nosuchpackage.*clamp3\[eval\]"):
        need_eval("nosuchpackage", "plots")


def test_vectors_of_other_weights_are_refused(tmp_path):
    runs, _ = train(Plan(clouds(tmp_path / "f")), QUICK, no_model)
    from clamp3.jobs.manifest import META_NAME

    (tmp_path / "f" / META_NAME).write_text('{"weights": "one"}', encoding="utf-8")
    other = replace(runs[0].probe, weights=("two",))
    with pytest.raises(DataError, match="trained on vectors of two, these come from one"):
        predict_folder(other, tmp_path / "f", no_model)
    answers, problems = predict_folder(replace(other, weights=("one",)), tmp_path / "f", no_model)
    assert not problems
    right = [answers[name]["label"] == name.rsplit("/", 1)[1][0] for name in answers]
    assert np.mean(right) > 0.9


# --- zero shot -------------------------------------------------------------------------------------------------------


class WordModel:
    """Encodes a sentence as counts of words; three words, three axes."""

    identity = "words:float32"
    words = ("happy", "sad", "fast")

    def stream(self, sources):
        for index, source in enumerate(sources):
            text = source.read().decode()
            vector = np.array([text.count(word) for word in self.words], np.float32)
            yield Result(index, source.name, vector if vector.any() else None, None if vector.any() else "no word.")


def test_prompts_are_templates_times_classes(tmp_path):
    assert prompts_for(["a", "b"], ["{}", "so {}"]) == {"a": ["a", "so a"], "b": ["b", "so b"]}
    with pytest.raises(ConfigError, match=r"has no \{\}"):
        prompts_for(["a"], ["music"])
    with pytest.raises(ConfigError, match="named twice"):
        prompts_for(["a", "a"])
    path = tmp_path / "p.json"
    path.write_text('{"x": "one", "y": ["two", "three"]}', encoding="utf-8")
    assert read_prompts(path) == {"x": ["one"], "y": ["two", "three"]}
    for text in ('{"x": []}', '{"x": 3}', "[", "3"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError):
            read_prompts(path)
    with pytest.raises(ConfigError, match="regions is neither a file nor one of region, genre"):
        read_prompts(Path("regions"))


def test_a_class_is_the_mean_of_its_prompts_unit_vectors():
    found = class_vectors(WordModel(), [["happy happy happy", "sad"], ["fast"]])
    np.testing.assert_allclose(found, [[0.5**0.5, 0.5**0.5, 0], [0, 0, 1]])
    with pytest.raises(DataError, match="cannot be encoded: no word"):
        class_vectors(WordModel(), [["nothing"]])


def test_classes_and_axes_by_hand():
    vectors = np.array([[2, 0, 0], [3, 4, 0], [0, 0, 0]], np.float32)
    placed = compare(vectors, WordModel(), {"h": ["happy"], "s": ["sad"]}, [{"happy": ["happy"], "sad": ["sad"]}])
    np.testing.assert_allclose(placed.scores, [[1, 0], [0.6, 0.8], [0, 0]], atol=1e-7)
    np.testing.assert_allclose(placed.places, [[1], [-0.2], [0]], atol=1e-7)
    rows = placed.rows(["x", "y", "z"])
    assert rows["y"] == {"label": "s", "scores": {"h": 0.6, "s": 0.8}, "axes": {"happy - sad": -0.2}}
    with pytest.raises(DataError, match="width 2, the model's 3"):
        compare(vectors[:, :2], WordModel(), {"h": ["happy"], "s": ["sad"]})


def test_a_folder_is_scored_with_its_labels(tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    for name, vector in {"h_1": [1, 0, 0], "h_2": [0, 1, 0], "s_1": [0, 2, 1], "other_1": [1, 1, 1]}.items():
        np.save(folder / f"{name}.npy", np.array([vector], np.float32))
    classes = {"h": ["happy"], "s": ["sad"]}
    result, problems = answer_folder(folder, WordModel(), classes, labels="names")
    assert result["scores"]["accuracy"] == pytest.approx(2 / 3)
    assert problems == [("other_1.npy", "its label is other.")]
    assert list(result["files"]) == ["h_1.npy", "h_2.npy", "other_1.npy", "s_1.npy"]
    with pytest.raises(ConfigError, match="at least two"):
        answer_folder(folder, WordModel(), {"h": ["happy"]})
    with pytest.raises(ConfigError, match="nothing to tell apart"):
        answer_folder(folder, WordModel(), {})


def test_a_probe_never_answers_with_what_is_no_number(tmp_path):
    import dataclasses

    from clamp3.probe.checkpoint import Probe
    from clamp3.probe.config import ProbeConfig
    from clamp3.probe.predict import predict_folder

    state = {"fc.weight": np.full((2, 4), 1e38, np.float32), "fc.bias": np.zeros(2, np.float32)}
    probe = Probe(ProbeConfig(), ("a", "b"), state)
    (tmp_path / "f").mkdir()
    np.save(tmp_path / "f" / "large.npy", np.full(4, 1e38, np.float32))
    np.save(tmp_path / "f" / "small.npy", np.full(4, 1e-38, np.float32))
    answers, problems = predict_folder(probe, tmp_path / "f", lambda: pytest.fail("no model is needed"))
    assert [name.rsplit("/", 1)[1] for name in answers] == ["small.npy"]
    assert problems[0][0] == "large.npy" and "no finite value" in problems[0][1]
    for value in (np.nan, np.inf):
        bad = dataclasses.replace(probe, state={**state, "fc.bias": np.array([0, value], np.float32)})
        save_probe(bad, tmp_path / f"{value}.safetensors")
        with pytest.raises(WeightsError, match="NaN or infinity"):
            load_probe(tmp_path / f"{value}.safetensors")
