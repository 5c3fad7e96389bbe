"""Recommendations: profiles, baselines and metrics against oracles, held-out users, cold items, differences."""

from __future__ import annotations

import csv
import itertools
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from clamp3 import Clamp3
from clamp3.data.splits import hash_of
from clamp3.errors import ConfigError, DataError
from clamp3.index.indexing import bring_up_to_date
from clamp3.index.library import Library
from clamp3.retrieval.interactions import Interactions, item_neighbours
from clamp3.retrieval.metrics import ndcg_at_k, pair_ranks
from clamp3.retrieval.recommendation import by_vectors, compare, make_trial, measure, recommend, recommenders

ROOT = Path(__file__).resolve().parents[2]
N_ITEMS, N_TASTES = 40, 4


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "retrieval"))
    import recommend as module

    return module


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Return a folder with vectors that know a taste, vectors that do not, and a log; items 36 to 39 are cold."""
    folder, rng = tmp_path_factory.mktemp("world"), np.random.default_rng(0)
    tastes = rng.standard_normal((N_TASTES, 16))
    for name, weight in (("good", 3.0), ("blind", 0.0)):
        (folder / name).mkdir()
        for item in range(N_ITEMS):
            vector = weight * tastes[item % N_TASTES] + rng.standard_normal(16)
            np.save(folder / name / f"i{item:02d}.npy", vector.astype(np.float32))
    rows = []
    for user in range(120):
        warm = [item for item in range(36) if item % N_TASTES == user % N_TASTES]
        cold = [36 + user % N_TASTES] if hash_of(f"u{user}") < 0.3 * 2**64 else []
        chosen = [*rng.permutation(warm)[:6], *rng.integers(0, 36, 1), *cold]
        rows += [(f"u{user}", f"i{item:02d}", 1000 + at, 5) for at, item in enumerate(chosen)]
        rows.append((f"u{user}", "not there", 5, 5))
    with open(folder / "log.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([("user", "item", "time", "rating"), *rows])
    return folder


def small(held=(False, False, True, True)):
    items = [[0, 1, 2], [1, 2, 3], [0, 2, 4], [1]]
    return Interactions(list("abcd"), [np.array(row) for row in items], np.array(held), 5)


def test_likes_attract_and_dislikes_repel():
    vectors = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 2.0], [0.1, 1.0], [-1.0, 0.0]])
    names = list("abcde")
    assert [name for name, _ in recommend(vectors, names, [0])] == ["b", "d", "c", "e"]
    assert [name for name, _ in recommend(vectors, names, [0], [2], top_k=2, aversion=1.0)] == ["b", "d"]
    scores = by_vectors(vectors, [np.array([0]), np.array([0])], [np.array([], int), np.array([2])])
    assert scores[1, 3] < scores[0, 3] and scores[1, 1] < scores[0, 1] + 1e-9
    ties = np.array([[1.0, 0], [1.0, 0], [1.0, 0]])
    assert [name for name, _ in recommend(ties, ["c", "b", "a"], [0])] == ["a", "b"]


def test_item_knn_is_the_cosine_of_columns():
    found = item_neighbours(small()).toarray()
    chosen = np.zeros((2, 5))
    for user, items in enumerate(small().items[:2]):
        chosen[user, items] = 1
    for i, j in itertools.product(range(5), repeat=2):
        norm = math.sqrt(chosen[:, i].sum() * chosen[:, j].sum())
        assert found[i, j] == pytest.approx(0 if i == j or not norm else chosen[:, i] @ chosen[:, j] / norm, abs=1e-6)
    assert ((item_neighbours(small(), k=1) > 0).sum(1) <= 1).all()


def test_the_later_choices_of_held_out_users_are_to_be_found():
    trial = make_trial(small())
    assert trial.users == ["c"] and trial.liked[0].tolist() == [0, 2] and trial.targets[0].tolist() == [4]
    assert trial.n_users.tolist() == [1, 2, 2, 1, 0]
    assert make_trial(small(), candidates="cold").candidates.tolist() == [False] * 4 + [True]
    with pytest.raises(DataError, match="No held-out user"):
        make_trial(small(), candidates="warm")


def test_metrics_are_those_of_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    scores, right = rng.standard_normal((20, 30)), rng.random((20, 30)) < 0.2
    right[:, 0] = True
    pairs = np.argwhere(right)
    rank = pair_ranks(scores, pairs)
    assert ndcg_at_k(rank, pairs[:, 0], 10) == pytest.approx(sklearn.ndcg_score(right, scores, k=10), abs=1e-12)
    items = [np.flatnonzero(row) for row in right]
    log = Interactions([str(user) for user in range(20)], [np.r_[29, row[row < 29]] for row in items],
                       np.ones(20, bool), 30)  # fmt: skip
    trial = make_trial(log, known_share=0.0)  # item 29 is known, the others have to be found
    assert [rows.tolist() for rows in trial.liked] == [[29]] * 20
    found = measure(lambda liked: scores, trial, k=7)
    for user, row in enumerate(items):
        order = [item for item in np.argsort(-scores[user]) if item != 29]
        mine = set(row[row < 29].tolist())
        assert found.per_user["recall"][user] == pytest.approx(len(mine & set(order[:7])) / len(mine))
        label = [item in mine for item in range(29)]
        assert found.per_user["map"][user] == pytest.approx(
            sklearn.average_precision_score(label, scores[user, :29]), abs=1e-12
        )
    shown = {item for row in scores for item in [i for i in np.argsort(-row) if i != 29][:7]}
    assert found.values["coverage"] == pytest.approx(len(shown) / 30)
    assert found.values["novelty"] == 0  # without training users nothing is known about surprise


def test_novelty_and_coverage_of_popularity():
    trial, log = make_trial(small()), small()
    found = measure(recommenders(log, {})["popularity"], trial, k=1).values
    assert found["coverage"] == 1 / 5  # item 1
    assert found["novelty"] == pytest.approx(-math.log2(3 / 3))


def test_a_difference_is_seen_where_there_is_one_only():
    rng = np.random.default_rng(0)
    one = rng.random(80)
    better, other = compare(one + 0.1, one), compare(one, rng.permutation(one))
    assert better["p"] < 1e-3 and better["interval_95"][0] > 0.09 and better["difference"] == pytest.approx(0.1)
    assert other["p"] > 0.05 and other["interval_95"][0] < 0 < other["interval_95"][1]
    ps = [compare(*rng.random((2, 25)), n_resamples=400, seed=n)["p"] for n in range(200)]
    assert 0.01 < np.mean(np.array(ps) < 0.1) < 0.2  # about a tenth by chance
    with pytest.raises(DataError, match="the same users"):
        compare(one, one[:5])


def test_the_script_recommends_to_a_person_and_to_a_user_of_a_log(world, script, capsys):
    pytest.importorskip("duckdb")
    assert script.main([str(world / "good"), "--liked", "i00", "i04.npy", "--disliked", "i01", "--json"]) == 0
    items = [item["name"] for item in json.loads(capsys.readouterr().out)["items"]]
    assert len(items) == 10 and not {"i00", "i04", "i01"} & set(items)
    assert all(int(name[1:]) % N_TASTES == 0 for name in items[:5])
    flags = [str(world / "good"), "--log", str(world / "log.csv"), "--user", "u2", "--top_k", "3"]
    assert script.main(flags) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all(int(line.split()[1][1:]) % N_TASTES == 2 for line in lines)


def test_the_script_measures_models_and_baselines_on_held_out_users(world, script, capsys):
    pytest.importorskip("duckdb")
    flags = [str(world / "good"), "--log", str(world / "log.csv"), "--evaluate", "--eval_share", "0.3", "--k", "5",
             "--against", str(world / "blind")]  # fmt: skip
    assert script.main([*flags, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    held = sum(hash_of(f"u{user}") < 0.3 * 2**64 for user in range(120))
    assert (found["users"], found["training_users"]) == (held, 120 - held)
    assert found["cold_items"] == 4 and found["items_of_the_log_without_a_vector"] == 1
    good, blind, knn, popular = found["measures"].values()
    assert good["recall"] > 3 * blind["recall"] and knn["recall"] > 2 * popular["recall"]
    assert found["differences"][str(world / "blind")]["recall"]["p"] < 0.01
    assert script.main([*flags, "--candidates", "cold", "--json"]) == 0
    cold = json.loads(capsys.readouterr().out)
    assert cold["candidates"] == 4 and cold["measures"][str(world / "good")]["map"] > 0.9
    assert cold["measures"]["item-kNN"]["map"] == pytest.approx(0.25)  # the last of four: ties count against
    assert script.main(flags) == 0
    assert "recall less that of" in capsys.readouterr().out


@pytest.mark.parametrize("store", ["lance", "sqlite"])
def test_an_index_recommends_as_its_vectors_in_a_folder_do(tiny_weights, music, script, tmp_path, capsys, store):
    if store == "lance":
        pytest.importorskip("lancedb")
    model = Clamp3.from_pretrained(tiny_weights)
    (tmp_path / "vectors/sub").mkdir(parents=True)
    place = music / ".clamp3_index"
    with Library.create(place, model, store=store) as library:
        with pytest.raises(DataError, match="is empty"):
            script.main([str(place), "--liked", "long"])
        bring_up_to_date(library, model, [music])
        rows = {row["name"]: row["vector"] for row in library.pieces.rows(["name", "vector"])}
    for name, vector in rows.items():
        if name != "song.txt":  # a text is no music to be recommended
            np.save(tmp_path / "vectors" / Path(name).with_suffix(".npy"), vector)
    found = []
    for folder in (place, tmp_path / "vectors"):
        assert script.main([str(folder), "--liked", "long", "--disliked", "play", "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out)["items"])
    index, folder = ([(os.path.splitext(item["name"])[0], item["score"]) for item in items] for items in found)
    assert index == folder and [name for name, _ in index] == sorted(["audio", "sub/tune"], key=dict(index).get)[::-1]
    (tmp_path / "more").mkdir()
    (tmp_path / "more/long.abc").write_text("X:1\nL:1/8\nK:G\nGABc|d4|\n")
    with Library.open(place) as library:
        bring_up_to_date(library, model, [tmp_path / "more"])
    assert script.main([str(place), "--liked", f"{music.name}/long", "--json"]) == 0
    assert "more/long" in {item["name"] for item in json.loads(capsys.readouterr().out)["items"]}


def test_bad_requests_are_one_sentence(world, script, tmp_path):
    pytest.importorskip("duckdb")
    good, log = str(world / "good"), str(world / "log.csv")
    (tmp_path / "few").mkdir()
    np.save(tmp_path / "few/i00.npy", np.ones(16, np.float32))
    for flags, error, said in (
        ([good], ConfigError, "--liked"),
        ([good, "--log", log], ConfigError, "--user"),
        ([good, "--liked", "i99"], ConfigError, "no item called i99"),
        ([good, "--log", log, "--user", "nobody"], DataError, "called nobody"),
        ([good, "--log", log, "--evaluate", "--against", str(tmp_path / "few")], DataError, "no vector of i01"),
        ([good, "--log", log, "--item_column", "user", "--evaluate"], DataError, "None of the log's items"),
        ([good, "--log", log, "--evaluate", "--k", "0"], DataError, "at least 1"),
    ):
        with pytest.raises(error, match=said) as raised:
            script.main(flags)
        assert "\n" not in str(raised.value)
