"""Labels, splits and scores of a probe; expected values by hand or from scikit-learn."""

import json
import math
import random

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.linear_model import LogisticRegression, Ridge

from clamp3.datasets.labelled import label_from_name
from clamp3.errors import ConfigError, DataError, FormatError
from clamp3.probe import metrics, splits
from clamp3.probe.config import ProbeConfig
from clamp3.probe.labels import as_targets, find_labels, read_labels
from clamp3.probe.train import Labelled, train_and_test


@pytest.mark.parametrize(
    ("name", "label"),
    [("jazz_01.npy", "jazz"), ("a/b/R&B_x_y.npy", "R&B"), ("sub_dir/pop.npy", None), ("_x.npy", None), ("x.npy", None)],
)
def test_labels_in_names_stand_before_the_first_underscore(name, label):
    assert label_from_name(name) == label


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_tables_of_classes(tmp_path):
    table = write(tmp_path / "l.csv", "file,genre,more\na.npy,jazz,1\nsub/b,pop,2\n")
    assert read_labels(table, "multiclass") == ({"a.npy": "jazz", "sub/b": "pop"}, ())
    table = write(tmp_path / "l.tsv", "file\tgenre\na b.npy\tjazz\n")
    assert read_labels(table, "multiclass")[0] == {"a b.npy": "jazz"}
    table = write(tmp_path / "l.json", json.dumps({"a": "jazz", "b": 3}))
    assert read_labels(table, "multiclass")[0] == {"a": "jazz", "b": "3"}


def test_tables_of_tags(tmp_path):
    joined = write(tmp_path / "j.csv", "file,tags\na,fast; loud\nb,\n")
    assert read_labels(joined, "multilabel")[0] == {"a": ("fast", "loud"), "b": ()}
    columns = write(tmp_path / "c.csv", "file,fast,loud\na,1,1\nb,0,0\nc,0,1\n")
    assert read_labels(columns, "multilabel")[0] == {"a": ("fast", "loud"), "b": (), "c": ("loud",)}
    one = write(tmp_path / "o.csv", "file,rock\na,1\nb,0\n")
    assert read_labels(one, "multilabel")[0] == {"a": ("rock",), "b": ()}
    objects = {"a": {"rock": 1, "pop": 0}, "b": {"rock": False, "pop": True}, "c": {}}
    table = write(tmp_path / "t.json", json.dumps(objects))
    assert read_labels(table, "multilabel")[0] == {"a": ("rock",), "b": ("pop",), "c": ()}
    for there in (2, "1", None, 0.5, []):
        with pytest.raises(FormatError, match="the label of a is"):
            read_labels(write(tmp_path / "bad.json", json.dumps({"a": {"rock": there}})), "multilabel")
    with pytest.raises(FormatError, match=":2: columns of tags hold 0 or 1"):
        read_labels(write(tmp_path / "bad.csv", "file,fast,loud\na,1,yes\n"), "multilabel")


def test_tables_of_values(tmp_path):
    table = write(tmp_path / "v.csv", "file,valence,arousal\na,0.5,-1\n")
    assert read_labels(table, "regression") == ({"a": (0.5, -1.0)}, ("valence", "arousal"))
    table = write(tmp_path / "v.json", json.dumps({"a": {"valence": 1, "arousal": 2}}))
    assert read_labels(table, "regression") == ({"a": (1.0, 2.0)}, ("valence", "arousal"))
    for text in ("file,v\na,loud\n", "file,v\na,nan\n"):
        with pytest.raises(FormatError, match="none for regression"):
            read_labels(write(tmp_path / "bad.csv", text), "regression")


@pytest.mark.parametrize(
    ("task", "text", "labels"),
    [
        ("multiclass", "a.npy,jazz\nb.npy,pop\n", {"a.npy": "jazz", "b.npy": "pop"}),
        ("multiclass", "a,jazz\nb,pop\nc,jazz\n", {"a": "jazz", "b": "pop", "c": "jazz"}),
        ("multiclass", "a,1\nb,2\nc,1\n", {"a": "1", "b": "2", "c": "1"}),
        ("multiclass", "a,jazz,jazz\nb,jazz,x\n", {"a": "jazz", "b": "jazz"}),
        ("multiclass", "\ufeffa.mid,jazz\r\nb.mid,pop\r\n", {"a.mid": "jazz", "b.mid": "pop"}),
        ("multilabel", "a,slow;sad\nb,sad\nc,slow\n", {"a": ("slow", "sad"), "b": ("sad",), "c": ("slow",)}),
        ("regression", "a,0.5,0.5\nb,1,-2\n", {"a": (0.5, 0.5), "b": (1.0, -2.0)}),
    ],
)
def test_a_table_without_a_header_keeps_its_first_row(tmp_path, task, text, labels):
    assert read_labels(write(tmp_path / "l.csv", text), task) == (labels, ())


def test_columns_of_tags_need_a_header(tmp_path):
    with pytest.raises(FormatError, match="no header, which names the tags"):
        read_labels(write(tmp_path / "l.csv", "a,0,1\nb,1,1\n"), "multilabel")
    with pytest.raises(FormatError, match=":2 names a for the second time"):
        read_labels(write(tmp_path / "l.csv", "a,jazz\na,jazz\n"), "multiclass")


def test_values_of_objects_are_told_by_name(tmp_path):
    rows = {"a": {"valence": 1, "arousal": 9}, "b": {"arousal": 8, "valence": 2}}
    table = write(tmp_path / "v.json", json.dumps(rows))
    assert read_labels(table, "regression") == ({"a": (1.0, 9.0), "b": (2.0, 8.0)}, ("valence", "arousal"))
    for other in ({"valence": 1}, {"valence": 1, "energy": 2}, [1, 2]):
        for changed in ({**rows, "c": other}, {"c": other, **rows}):
            with pytest.raises(FormatError, match="have other names than those of"):
                read_labels(write(tmp_path / "v.json", json.dumps(changed)), "regression")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.csv", "file,genre\na,jazz\na,pop\n", "second time"),
        ("l.csv", "file\na\n", "one column"),
        ("l.csv", "file,genre\na,\n", "none for multiclass"),
        ("l.json", "[1]", "not an object"),
        ("l.json", "{", "not JSON"),
    ],
)
def test_bad_tables_are_named(tmp_path, name, text, message):
    with pytest.raises(FormatError, match=message):
        read_labels(write(tmp_path / name, text), "multiclass")


def test_labels_are_found_with_or_without_suffix_and_by_bare_name_where_unique():
    known = {"a.mid": "x", "sub/b": "y", "c": "z", "d": "unused"}
    found, absent = find_labels(["a.npy", "sub/b.npy", "deep/c.npy", "e.npy"], known)
    assert found == ["x", "y", "z", None]
    assert absent == ["d"]
    assert find_labels(["one/b.npy", "two/b.npy"], {"one/b": "1", "two/b": "2"})[0] == ["1", "2"]
    assert find_labels(["three/b.npy"], {"one/b": "1", "two/b": "2"})[0] == [None]
    assert find_labels(["Op.27 No.1.npy"], {"Op.27 No.2": "n"})[0] == [None]


def test_labels_of_a_folder_are_not_those_of_another():
    names = [f"{folder}/{number}.npy" for folder in "ab" for number in range(1, 9)]
    found, absent = find_labels(names, {f"a/{number}": str(number) for number in range(1, 9)})
    assert (found, absent) == ([*"12345678", *[None] * 8], [])
    assert find_labels(["1.npy"], {"elsewhere/1.mid": "x"})[0] == ["x"]
    assert find_labels(["c/1.npy", "d/1.npy"], {"1": "x"})[0] == ["x", "x"]
    assert find_labels(["c/1.npy", "d/1.npy"], {"e\\1": "x"})[0] == [None, None]


def test_dots_in_names_are_not_suffixes():
    assert find_labels(["tune.npy"], {"tune.2": "x"}) == ([None], ["tune.2"])
    names = ["Op.27 No.1", "Op.27 No.2", "blues.00029", "sub/10089.LOFI"]
    for suffix in ("", ".npy", ".MP3"):
        assert find_labels([f"{name}.npy" for name in names], {f"{name}{suffix}": name for name in names})[0] == names
    assert find_labels(["10089.LOFI.mp3"], {"10089.LOFI": "x"})[0] == ["x"]
    assert find_labels(["a.mid.npy", "a.xml.npy"], {"a.mid": "x", "a.xml": "y"})[0] == ["x", "y"]


def test_classes_are_sorted_and_unseen_labels_are_kept_apart():
    """The released script numbers classes in the order of a set, and raises KeyError for an unseen one."""
    targets = as_targets(["b", "a", "b"], "multiclass")
    assert targets.classes == ("a", "b")
    assert targets.values.tolist() == [[0, 1], [1, 0], [0, 1]]
    unseen = as_targets(["c", "a"], "multiclass", ("a", "b"))
    assert unseen.unseen == ("c",)
    assert unseen.values.tolist() == [[0, 0], [1, 0]]
    tags = as_targets([("x", "y"), ()], "multilabel")
    assert (tags.classes, tags.values.tolist()) == (("x", "y"), [[1, 1], [0, 0]])
    with pytest.raises(DataError, match="2 values, others have 1"):
        as_targets([(1.0,), (1.0, 2.0)], "regression")


def test_the_published_split_is_the_first_fifth_of_the_shuffled_list():
    names = [f"{i:03d}" for i in range(204)]
    split = splits.published_split(names[::-1])
    shuffled = sorted(names)
    random.Random(42).shuffle(shuffled)
    n = math.ceil(0.2 * 204)
    assert n == 41
    assert {names[::-1][row] for row in split.test} == set(shuffled[:n])
    assert split.valid.tolist() == split.test.tolist()
    assert sorted([*split.train, *split.test]) == list(range(204))


@pytest.mark.parametrize("strata", [None, ["a"] * 30 + ["b"] * 15 + ["c"] * 5])
def test_parts_are_disjoint_and_complete(strata):
    split = splits.held_out(50, 0.2, 0.25, 7, strata=strata)
    assert sorted([*split.train, *split.valid, *split.test]) == list(range(50))
    assert (len(split.train), len(split.valid), len(split.test)) == (30, 10, 10)
    if strata:
        assert [sum(strata[row] == name for row in split.test) for name in "abc"] == [6, 3, 1]
    assert splits.held_out(50, 0.2, 0.25, 7, strata=strata).test.tolist() == split.test.tolist()
    assert splits.held_out(50, 0.2, 0.25, 8, strata=strata).test.tolist() != split.test.tolist()


def test_a_class_of_one_stays_in_training():
    split = splits.held_out(5, 0.5, 0.25, 0, strata=["a", "a", "a", "a", "b"])
    assert 4 in split.train


def test_folds_test_every_example_once():
    strata = ["a"] * 8 + ["b"] * 4
    found = list(splits.folds(12, 4, 0.25, 3, strata=strata))
    assert sorted(row for split in found for row in split.test) == list(range(12))
    for split in found:
        assert [strata[row] for row in split.test].count("b") == 1
        assert not set(split.test) & (set(split.train) | set(split.valid))
        assert not set(split.train) & set(split.valid)
    with pytest.raises(ConfigError, match="13 folds of 12"):
        list(splits.folds(12, 13, 0.25, 3))


def test_empty_parts_and_shares_out_of_range_are_refused():
    with pytest.raises(DataError, match="each part needs at least one"):
        splits.published_split(["one"])
    with pytest.raises(ConfigError, match="between 0 and 1"):
        splits.published_split(["a", "b"], 1.0)


CLASSES = ("a", "b", "c")
TRUTH = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 2]]
GUESSED = np.eye(3, dtype=np.float32)[[0, 1, 1, 1, 0]]


def test_scores_of_classes_by_hand():
    scores = metrics.evaluate("multiclass", TRUTH, GUESSED, CLASSES)
    assert scores["accuracy"] == pytest.approx(3 / 5)
    # a: precision 1/2, recall 1/2; b: 2/3, 1; c: never.
    assert scores["macro_f1"] == pytest.approx((0.5 + 0.8 + 0) / 3)
    assert metrics.evaluate("multiclass", TRUTH, TRUTH, CLASSES) == {"accuracy": 1.0, "macro_f1": 1.0}


def test_an_untrained_class_counts_as_wrong():
    truth = np.array([[1, 0], [0, 1], [0, 0]], np.float32)  # the third is of a class without a column
    guessed = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    scores = metrics.evaluate("multiclass", truth, guessed, ("a", "b"))
    assert scores["accuracy"] == pytest.approx(2 / 3)
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    found = metrics.table(truth, guessed, ("a", "b"))
    assert found["confusion"] == [[1, 0], [0, 1], [1, 0]]
    assert [row["n"] for row in found["per_class"]] == [1, 1]


def test_the_confusion_matrix_has_truth_in_rows():
    found = metrics.table(TRUTH, GUESSED, CLASSES)
    assert found["confusion"] == [[1, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert found["per_class"][1] == {
        "class": "b",
        "precision": pytest.approx(2 / 3),
        "recall": 1.0,
        "f1": pytest.approx(0.8),
        "n": 2.0,
    }


def test_tags_that_never_vary_are_left_out_and_named():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (30, 4)).astype(np.float32)
    truth[:, 1], truth[:, 3] = 0, 1
    outputs = rng.standard_normal((30, 4)).astype(np.float32)
    scores = metrics.evaluate("multilabel", truth, outputs, tuple("abcd"))
    assert scores["tags_left_out"] == ["b", "d"]
    assert scores["roc_auc"] == pytest.approx(np.mean([sk.roc_auc_score(truth[:, i], outputs[:, i]) for i in (0, 2)]))
    assert scores["average_precision"] == pytest.approx(
        np.mean([sk.average_precision_score(truth[:, i], outputs[:, i]) for i in (0, 2)])
    )
    assert metrics.evaluate("multilabel", truth, truth, tuple("abcd"))["roc_auc"] == 1
    assert math.isnan(metrics.roc_auc(np.zeros((3, 2), np.float32), np.zeros((3, 2), np.float32)))


def test_r2_of_each_value():
    truth = np.array([[0, 1], [1, 2], [2, 3]], np.float32)
    outputs = np.array([[0, 2], [1, 2], [2, 2]], np.float32)
    scores = metrics.evaluate("regression", truth, outputs, ("arousal", "valence"))
    assert scores == {"r2": pytest.approx(0.5), "r2 arousal": 1.0, "r2 valence": pytest.approx(0)}


def test_key_score_has_mir_evals_weights():
    classes = ("C major", "G major", "A minor", "C minor", "F# minor")
    truth = np.eye(5, dtype=np.float32)[[0] * 5]
    outputs = np.eye(5, dtype=np.float32)
    assert metrics.key_score(truth, outputs, classes) == pytest.approx((1 + 0.5 + 0.3 + 0.2 + 0) / 5)


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(DataError, match="empty"):
        metrics.evaluate("multiclass", np.zeros((0, 3)), np.zeros((0, 3)), CLASSES)
    with pytest.raises(DataError, match="do not fit"):
        metrics.evaluate("multiclass", TRUTH, GUESSED[:, :2], CLASSES)
    with pytest.raises(DataError, match="not finite"):
        metrics.evaluate("multiclass", TRUTH, GUESSED * np.nan, CLASSES)
    with pytest.raises(ConfigError, match="no score is called"):
        metrics.scorer("speed", TRUTH, CLASSES)


def noisy(rng, n, width, n_outputs, noise=0.6):
    x = rng.standard_normal((n, width)).astype(np.float32)
    weights = rng.standard_normal((width, n_outputs)) / width**0.5
    return x, (x @ weights + noise * rng.standard_normal((n, n_outputs))).astype(np.float32)


def trained(x, labels, task, **settings):
    data = Labelled([f"{i:04d}" for i in range(len(x))], x, labels)
    split = splits.Split(np.arange(0, 800), np.arange(0), np.arange(800, len(x)))
    defaults = {"task": task, "num_epochs": 60, "learning_rate": 0.01, "batch_size": 40, "weight_decay": 0.0}
    return train_and_test(data, split, ProbeConfig(**defaults | settings)), split


def test_tag_probes_match_logistic_regression():
    x, z = noisy(np.random.default_rng(10), 1200, 12, 4)
    y = z > 0.3
    run, split = trained(x, [tuple(str(tag) for tag in np.flatnonzero(row)) for row in y], "multilabel")
    oracle = np.stack(
        [
            LogisticRegression(C=1e6).fit(x[split.train], y[split.train, tag]).decision_function(x[split.test])
            for tag in range(4)
        ],
        axis=1,
    )
    wanted = sk.roc_auc_score(y[split.test], oracle), sk.average_precision_score(y[split.test], oracle)
    assert 0.8 < wanted[0] < 0.99
    assert run.scores["roc_auc"] == pytest.approx(wanted[0], abs=5e-3)
    assert run.scores["average_precision"] == pytest.approx(wanted[1], abs=5e-3)


def test_value_probes_match_ridge_in_any_unit():
    x, y = noisy(np.random.default_rng(11), 1200, 12, 2)
    y = y * np.array([100, 0.01]) + np.array([5000, -3])
    run, split = trained(x, [tuple(map(float, row)) for row in y], "regression")
    guesses = Ridge(alpha=1e-3).fit(x[split.train], y[split.train]).predict(x[split.test])
    wanted = sk.r2_score(y[split.test], guesses, multioutput="raw_values")
    assert (wanted > 0.5).all() and (wanted < 0.95).all()
    assert [run.scores["r2 value 1"], run.scores["r2 value 2"]] == pytest.approx(wanted, abs=1e-2)
    np.testing.assert_allclose(run.probe.predict(x[split.test]), guesses, atol=0.2 * y.std(axis=0).max())


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_class_probes_match_logistic_regression(head):
    x, z = noisy(np.random.default_rng(12), 1200, 12, 3)
    y = z.argmax(axis=1)
    run, split = trained(x, ["abc"[label] for label in y], "multiclass", head=head, hidden=32, num_epochs=20)
    oracle = LogisticRegression(C=1e6).fit(x[split.train], y[split.train]).score(x[split.test], y[split.test])
    assert 0.6 < oracle < 0.95
    assert run.scores["accuracy"] == pytest.approx(oracle, abs=0.03)


def test_a_single_class_is_an_error():
    with pytest.raises(DataError, match="at least two classes"):
        trained(np.ones((810, 3), np.float32), ["a"] * 810, "multiclass")
