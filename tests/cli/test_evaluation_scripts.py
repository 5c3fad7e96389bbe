"""The evaluation scripts from outside: any mixture of files, pairs, what has no partner, and what fails."""

import json
import shutil

import numpy as np
import pytest

from clamp3.embedding.clamp3 import Clamp3
from clamp3.errors import ConfigError, DataError
from clamp3.retrieval import frechet
from clamp3.retrieval.pairing import key_of, match


@pytest.fixture
def vectors(tmp_path):
    """Return a function that writes vectors, by name, below a folder."""

    def write(folder, **named):
        for name, values in named.items():
            path = tmp_path / folder / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(f"{path}.npy", np.array(values, np.float32))
        return tmp_path / folder

    return write


@pytest.fixture
def run(script, capsys):
    """Return a function that runs a script of retrieval/ and returns exit code, stdout (parsed if JSON) and stderr."""

    def call(name, *args):
        code = script(f"retrieval/{name}.py").main([str(arg) for arg in args])
        captured = capsys.readouterr()
        return code, json.loads(captured.out) if "--json" in args else captured.out, captured.err

    return call


# Pairing


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("a.mid", "a"),
        ("en/song.1.npy", "en/song"),
        ("Op.27 No.1.abc", "Op"),
        ("x/y/z", "x/y/z"),
        ("-id_1.mp3", "-id_1"),
    ],
)
def test_partners_share_folder_and_name_up_to_the_first_dot(name, key):
    assert key_of(name) == key


def test_pairs_and_what_is_left_over():
    found = match(["a", "b", "b", "x"], ["b", "a", "b", "y"])
    assert found.pairs.tolist() == [[0, 1], [1, 0], [1, 2], [2, 0], [2, 2]]
    assert (found.lone_queries, found.lone_references) == ([3], [3])
    empty = match([], ["a"])
    assert empty.pairs.shape == (0, 2) and empty.lone_references == [0]


def test_depth_and_trailing_slash_play_no_part(vectors, run, tmp_path, monkeypatch):
    vectors("q", en__a=[1, 0], b=[0, 1])
    vectors("deep/er/r", en__a=[1, 0], b=[0, 1])
    monkeypatch.chdir(tmp_path)
    for query, reference in (("q", "deep/er/r"), ("q/", "./deep/er/r/"), (tmp_path / "q", tmp_path / "deep/er/r")):
        code, found, _ = run("eval_mrr", query, reference, "--json")
        assert code == 0 and found["query_to_reference"]["metrics"]["queries"] == 2


def test_folders_of_one_name_are_two_folders(vectors, run, tmp_path):
    vectors("gen/song", a=[1, 0], b=[0, 1])
    vectors("ref/song", a=[0, 1], b=[1, 0])  # every query finds the wrong one
    found = run("eval_mrr", tmp_path / "gen/song", tmp_path / "ref/song", "--json")[1]
    assert found["query_to_reference"]["metrics"]["hit@1"] == 0
    assert run("clamp3_score", tmp_path / "gen/song", tmp_path / "ref/song", "--json")[1]["scores"] == {
        "pairwise_similarity": 0
    }
    shutil.rmtree(tmp_path / "ref/song")
    vectors("ref/song", a=[1, 0], b=[0, 1])  # edited: nothing of before is remembered
    assert run("clamp3_score", tmp_path / "gen/song", tmp_path / "ref/song", "--json")[1]["scores"] == {
        "pairwise_similarity": 1
    }


# eval_mrr


def test_unmatched_files_are_listed_and_left_out_or_kept_as_distractors(vectors, run, tmp_path):
    query = vectors("q", a=[1, 0.1, 0], b=[0, 1, 0], only_q=[1, 1, 1])
    reference = vectors("r", a=[1, 0, 0], b=[0, 1, 0], nearer=[1, 0.1, 0])
    code, found, said = run("eval_mrr", query, reference, "--json")
    assert code == 0 and found["query_to_reference"]["metrics"]["references"] == 2
    assert found["query_to_reference"]["metrics"]["mrr"] == 1
    assert (found["unmatched_queries"], found["unmatched_references"]) == (["only_q.npy"], ["nearer.npy"])
    assert "1 queries without a partner" in said and "  only_q.npy\n" in said and "  nearer.npy\n" in said
    kept = run("eval_mrr", query, reference, "--json", "--distractors")[1]["query_to_reference"]["metrics"]
    assert (kept["references"], kept["mrr"]) == (3, 0.75)


def test_nothing_in_common_is_an_error_that_says_how_names_match(vectors, run):
    with pytest.raises(DataError, match=r"same name up to the first dot, unlike a\.npy and b\.npy"):
        run("eval_mrr", vectors("q", a=[1, 0]), vectors("r", b=[1, 0]))


def test_both_directions_several_answers_and_the_ranks_file(vectors, run, tmp_path):
    query = vectors("q", a_dot_0=[1, 0], a_dot_1=[0, 1], b=[0.1, 1])
    reference = vectors("r", a=[1, 0], b=[0, 1])
    found = run("eval_mrr", query, reference, "--both", "--json", "--ranks", tmp_path / "out" / "ranks.jsonl")[1]
    there, back = found["query_to_reference"]["metrics"], found["reference_to_query"]["metrics"]
    # Query a.1 finds b first. Back: reference a has two right queries, at ranks 1 and 3; b finds a.1 before b.
    assert there["mrr"] == pytest.approx((1 + 1 / 2 + 1) / 3) and "map" not in there
    assert back["mrr"] == pytest.approx((1 + 1 / 2) / 2)
    assert back["map"] == pytest.approx(((1 + 2 / 3) / 2 + 1 / 2) / 2) and back["recall@1"] == pytest.approx(0.25)
    rows = [json.loads(line) for line in (tmp_path / "out" / "ranks.jsonl").read_text().splitlines()]
    assert rows[:3] == [
        {"query": "a.0.npy", "reference": "a.npy", "rank": 1, "similarity": 1.0, "direction": "query to reference"},
        {"query": "a.1.npy", "reference": "a.npy", "rank": 2, "similarity": 0.0, "direction": "query to reference"},
        {
            "query": "b.npy",
            "reference": "b.npy",
            "rank": 1,
            "similarity": pytest.approx(1 / np.sqrt(1.01), abs=1e-6),
            "direction": "query to reference",
        },
    ]
    assert [(row["query"], row["reference"], row["rank"]) for row in rows[3:]] == [
        ("a.npy", "a.0.npy", 1),
        ("b.npy", "b.npy", 2),
    ]
    lines = run("eval_mrr", query, reference, "--both")[1].splitlines()
    assert [line for line in lines if "queries," in line] == [
        "query to reference: 3 queries, 2 references",
        "reference to query: 2 queries, 3 references",
    ]
    assert any(line.split()[:2] == ["mAP", "0.6667"] for line in lines)


def test_raw_files_and_vectors_in_one_folder_are_told_by_content(run, music, tiny_weights, tmp_path):
    model = Clamp3.from_pretrained(tiny_weights)
    queries = tmp_path / "queries"
    (queries / "sub").mkdir(parents=True)
    # Three pieces as they are, one as its stored vector; the references the other way round.
    for name in ("long.abc", "play.mtf", "audio.npy", "sub/tune.ABC"):
        shutil.copy(music / name, queries / name)
    vector = model.encode([music / "song.txt"]).vectors
    np.save(queries / "song.npy", vector)
    args = ("eval_mrr", queries, music, "--model", tiny_weights, "--json")
    code, found, _ = run(*args)
    assert code == 0 and found["unmatched_queries"] == found["unmatched_references"] == []
    assert found["query_to_reference"]["metrics"]["queries"] == 5
    assert found["query_to_reference"]["metrics"]["mrr"] == 1 and found["weights"] == [model.identity.split(":")[0]]
    score = run("clamp3_score", queries, music, "--model", tiny_weights, "--json")[1]["scores"]["pairwise_similarity"]
    assert score == pytest.approx(1, abs=1e-5)


def test_kept_vectors_are_those_of_the_content_and_the_weights(run, tiny_weights, tmp_path):
    for folder in ("gen/song", "ref/song"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.txt").write_text("a slow song")
    args = ("clamp3_score", tmp_path / "gen/song", tmp_path / "ref/song", "--json", "--model")
    assert run(*args, tiny_weights)[1]["scores"]["pairwise_similarity"] == pytest.approx(1, abs=1e-6)
    (tmp_path / "gen/song/a.txt").write_text("a fast dance")
    edited = run(*args, tiny_weights)[1]
    assert edited["scores"]["pairwise_similarity"] < 0.999
    other = run(*args, "mini")[1]
    assert other["weights"] != edited["weights"]
    assert other["scores"]["pairwise_similarity"] != pytest.approx(edited["scores"]["pairwise_similarity"], abs=1e-6)


def test_stored_vectors_need_no_model(vectors, run):
    folder = vectors("q", a=[1, 0], b=[[0, 1]])
    assert run("eval_mrr", folder, folder, "--model", "absent", "--json")[0] == 0


def test_what_fails_is_named_and_the_rest_is_measured(vectors, run, tmp_path):
    query = vectors("q", a=[1, 0], b=[0, 1], c=[0, 0], wide=[1, 0, 0])
    (query / "bad.npy").write_bytes(b"no array")
    code, found, said = run("eval_mrr", query, vectors("r", a=[1, 0], b=[0, 1], c=[1, 1]), "--json")
    assert code == 1 and found["query_to_reference"]["metrics"]["queries"] == 2
    assert [row["name"] for row in found["failures"]] == ["bad.npy", "c.npy", "wide.npy"]
    assert "c.npy is all zeros" in said and "has width 3, most have 2" in said


def test_vectors_of_different_weights_are_not_compared(vectors, run):
    query, reference = vectors("q", a=[1, 0]), vectors("r", a=[1, 0])
    (query / "features.json").write_text('{"weights": "saas-1"}')
    (reference / "features.json").write_text('{"weights": "c2-2"}')
    with pytest.raises(DataError, match="saas-1, the other's from c2-2"):
        run("eval_mrr", query, reference)
    (reference / "features.json").write_text('{"weights": "saas-1"}')
    assert run("eval_mrr", query, reference)[0] == 0
    with pytest.raises(DataError, match="width 2, the other's 3"):
        run("clamp3_score", query, vectors("s", a=[1, 0, 0]))


def test_what_extraction_says_of_a_folder_below_counts(vectors, run, script):
    def say(folder, **facts):
        (folder / "features.json").write_text(json.dumps({"arrays": "global", **facts}))

    vectors("q/a/deep", x=[1, 0])
    query = vectors("q", b__y=[0, 1])
    search = script("retrieval/semantic_search.py").main
    say(query / "a", weights="saas-1")
    assert run("eval_mrr", query, query, "--json")[1]["weights"] == ["saas-1"]
    assert search([str(query / "b" / "y.npy"), str(query)]) == 0
    say(query / "b", weights="c2-2")
    with pytest.raises(DataError, match=r"q mixes vectors of different weights \(c2-2, saas-1\)"):
        run("eval_mrr", query, query)
    with pytest.raises(DataError, match="mixes vectors of different weights"):
        search([str(query / "b" / "y.npy"), str(query)])
    with pytest.raises(DataError, match="made with c2-2, the folder's with saas-1"):
        search([str(query / "b" / "y.npy"), str(query / "a")])
    say(query / "b", weights="saas-1", arrays="temporal")
    for refused in (lambda: run("eval_mrr", query, query), lambda: search([str(query / "a/deep/x.npy"), str(query)])):
        with pytest.raises(DataError, match=r"q/b holds hidden states; extract it again with --get_global"):
            refused()


def test_what_extraction_says_of_a_folder_counts(run, script, music, tiny_weights, tmp_path, capsys, monkeypatch):
    extract = script("code/extract_clamp3.py").main
    for flags in ([], ["--get_global"]):
        out = tmp_path / ("global" if flags else "temporal")
        assert extract([str(music), str(out), *flags, "--model", str(tiny_weights)]) == 0
    capsys.readouterr()
    with pytest.raises(DataError, match="hidden states; extract it again with --get_global"):
        run("eval_mrr", tmp_path / "temporal", music, "--model", tiny_weights)
    opened = []
    once = Clamp3.from_pretrained
    monkeypatch.setattr(Clamp3, "from_pretrained", lambda *args, **kwargs: opened.append(1) or once(*args, **kwargs))
    assert run("clamp3_score", music, tmp_path / "global", "--model", tiny_weights)[0] == 0
    assert run("clamp3_score", music, music, "--model", tiny_weights)[0] == 0 and len(opened) == 2
    (tmp_path / "mert").mkdir()
    (tmp_path / "mert" / "features.json").write_text('{"arrays": "features", "weights": "mert"}')
    np.save(tmp_path / "mert" / "audio.npy", np.ones((1, 32), np.float32))  # one chunk: its shape is a vector's
    found = run("eval_mrr", tmp_path / "mert", music, "--model", tiny_weights, "--json")[1]
    assert found["weights"] == [once(tiny_weights).identity.split(":")[0]]


def test_empty_and_absent_folders(vectors, run, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no file that has a vector"):
        run("eval_mrr", tmp_path / "empty", vectors("r", a=[1, 0]))
    with pytest.raises(ConfigError, match="absent"):
        run("eval_mrr", tmp_path / "absent", tmp_path / "empty")


# clamp3_score


def test_pairs_file_and_group_without_any_pair(vectors, run, tmp_path):
    query, reference = vectors("q", a=[3, 4], b=[1, 0]), vectors("r", a=[0, 2], b=[5, 0])
    code, text, _ = run("clamp3_score", query, reference, "--pairs", tmp_path / "pairs.jsonl")
    assert code == 0 and text.splitlines()[0] == "2 queries, 2 references, 2 pairs" and "0.9000" in text
    rows = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert rows == [
        {"query": "a.npy", "reference": "a.npy", "similarity": 0.8},
        {"query": "b.npy", "reference": "b.npy", "similarity": 1.0},
    ]
    other = vectors("s", x=[0, 2], y=[5, 0])
    code, found, said = run("clamp3_score", query, other, "--group", "--json")
    assert code == 0 and "without a partner" not in said
    assert found["scores"]["group_similarity"] == pytest.approx(7 / np.sqrt(8 * 7.25))
    assert found["scores"]["mean_similarity_of_all_pairs"] == pytest.approx(0.6)


def test_folders_as_wholes_are_not_paired(vectors, run, tmp_path, monkeypatch):
    from clamp3.retrieval import evaluation

    monkeypatch.setattr(evaluation, "key_of", lambda name: pytest.fail("names play no part"))
    query, reference = vectors("q", a_dot_1=[3, 4], a_dot_2=[1, 0]), vectors("r", a_dot_3=[0, 2], a_dot_4=[5, 0])
    assert run("clamp3_score", query, reference, "--group")[1].splitlines()[0] == "2 queries, 2 references"
    assert "unmatched_queries" not in run("clamp3_score", query, reference, "--group", "--json")[1]
    assert run("frechet", query, reference, "--estimator", "oas")[0] == 0
    (tmp_path / "pairs.jsonl").write_text("kept")
    with pytest.raises(ConfigError, match="--group compares no pairs"):
        run("clamp3_score", query, reference, "--group", "--pairs", tmp_path / "pairs.jsonl")
    assert (tmp_path / "pairs.jsonl").read_text() == "kept"


# frechet


def test_frechet_prints_what_the_functions_say(vectors, run, tmp_path):
    rng = np.random.default_rng(2)
    test, reference = rng.standard_normal((30, 3)), rng.standard_normal((40, 3)) + 1
    test_dir = vectors("t", **{f"t{i:02d}": row for i, row in enumerate(test)})
    reference_dir = vectors("r", **{f"r{i:02d}": row for i, row in enumerate(reference)})
    test, reference = test.astype(np.float32), reference.astype(np.float32)
    args = ("frechet", test_dir, reference_dir, "--infinite", "--min_size", 15, "--songs", tmp_path / "songs.jsonl")
    code, found, said = run(*args, "--json")
    assert code == 0 and said == "" and (found["n_test"], found["n_reference"]) == (30, 40)
    assert found["frechet_distance"] == frechet.frechet_distance(test, reference)
    assert found["infinite"]["distance"] == frechet.extrapolate(test, reference, min_size=15).distance
    rows = [json.loads(line) for line in (tmp_path / "songs.jsonl").read_text().splitlines()]
    assert [row["name"] for row in rows] == [f"t{i:02d}.npy" for i in range(30)]
    assert [row["distance"] for row in rows] == frechet.song_distances(test, reference).tolist()
    text = run(*args, "--estimator", "oas")[1]
    assert f"{frechet.frechet_distance(test, reference, estimator='oas'):.4f}" in text and "estimator oas" in text
    with pytest.raises(ConfigError, match="choose one of"):
        run(*args, "--estimator", "none")


def test_one_song_has_a_distance_and_is_no_distribution(vectors, run, tmp_path):
    test, reference = vectors("t", a=[1, 2]), vectors("r", a=[1, 0], b=[2, 1], c=[0, 2])
    args = ("frechet", test, reference)
    code, found, _ = run(*args, "--songs", tmp_path / "s.jsonl", "--json")
    assert code == 0 and "frechet_distance" not in found
    assert json.loads((tmp_path / "s.jsonl").read_text()) == {"name": "a.npy", "distance": pytest.approx(1)}
    assert run(*args, "--songs", tmp_path / "s.jsonl")[1].splitlines() == ["1 test files, 3 references, estimator mle"]
    with pytest.raises(DataError, match="the test set has 1 vectors"):
        run(*args)
