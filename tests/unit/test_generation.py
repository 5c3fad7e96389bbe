"""Figures of generated music against definitions, prompts from tables and names, and the script."""

import json

import numpy as np
import pytest

from clamp3.errors import ConfigError, DataError, FormatError
from clamp3.retrieval import generation
from clamp3.retrieval.pairing import match
from clamp3.retrieval.prompts import prompts_in, read_prompts

WIDTH = 8


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def test_the_score_beside_random_pairs(rng):
    prompts = rng.standard_normal((40, WIDTH))
    music = prompts + 0.5 * rng.standard_normal((40, WIDTH))
    found = generation.prompt_scores(prompts, music, match(range(40), range(40)))
    unit = [values / np.linalg.norm(values, axis=1, keepdims=True) for values in (prompts, music)]
    cosines = unit[0] @ unit[1].T
    assert found["score"] == pytest.approx(np.trace(cosines) / 40)
    assert found["random_pairs"] == pytest.approx((cosines.sum() - np.trace(cosines)) / (40 * 39))
    low, high = found["interval_95"]
    assert low < found["score"] < high and low > found["random_pairs"] and found["caution"] == ""
    assert found["retrieval"]["mrr"] > 0.8
    few = generation.prompt_scores(prompts[:3], music[:3], match(range(3), range(3)))
    assert "too few" in few["caution"]


def test_diversity_has_its_extremes_and_both_ways_agree(rng):
    assert generation.diversity(np.eye(5)) == {"mean_distance": 1.0, "vendi_score": pytest.approx(5)}
    assert generation.diversity(np.ones((4, 3)))["vendi_score"] == pytest.approx(1)
    values = rng.standard_normal((20, WIDTH))  # more pieces than width: by the other product
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    eigenvalues = np.linalg.eigvalsh(unit @ unit.T / 20)
    kept = eigenvalues[eigenvalues > 1e-12]
    found = generation.diversity(values)
    assert found["vendi_score"] == pytest.approx(np.exp(-(kept * np.log(kept)).sum()))
    pairs = [1 - unit[a] @ unit[b] for a in range(20) for b in range(a)]
    assert found["mean_distance"] == pytest.approx(np.mean(pairs))


def test_copies_are_found_and_new_music_is_not(rng):
    training, real, new = (rng.standard_normal((60, WIDTH)) for _ in range(3))
    names = [str(row) for row in range(60)]
    copied = generation.memorisation(training[::-1] * 2, training, real, names, names)
    assert copied["share_above_limit"] == 1 and copied["closest"][0]["similarity"] == 1
    assert all(int(row["name"]) == 59 - int(row["training"]) for row in copied["closest"])
    assert generation.memorisation(new, training, real, names, names)["share_above_limit"] < 0.1
    assert generation.memorisation(new, training, None, names, names)["share_above_limit"] < 0.1


def test_distance_to_the_reference_and_between_its_halves(rng):
    real = rng.standard_normal((80, WIDTH))
    near, far = rng.standard_normal((40, WIDTH)), 3 + rng.standard_normal((40, WIDTH))
    found = [generation.distribution(music, real, min_size=20) for music in (near, far)]
    assert found[0]["frechet_distance"] < found[1]["frechet_distance"] / 5
    assert found[0]["group_similarity"] < found[1]["group_similarity"] + 2 and "infinite" in found[0]
    assert found[0]["frechet_distance_of_real_halves"] < found[1]["frechet_distance"] / 5
    rows = generation.songs(np.concatenate([near[:2], far[:1]]), real, ["a", "b", "c"])
    assert rows[0]["name"] == "c" and rows[0]["distance"] > rows[1]["distance"]


def test_advice_counts_files():
    assert len(generation.advice(20, 768, 100)) == 2 and generation.advice(2000, 768, 2000) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.csv", "file,prompt\na.mid,a slow air\nsub/b.mid,a jig\n"),
        ("p.tsv", "name\tcaption\na.mid\ta slow air\nsub/b.mid\ta jig\n"),
        ("p.jsonl", '{"id": "a.mid", "text": "a slow air"}\n{"path": "sub/b.mid", "description": "a jig"}\n'),
        ("p.json", '{"a.mid": "a slow air", "sub/b.mid": "a jig"}'),
    ],
)
def test_prompts_of_tables(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert read_prompts(tmp_path / name) == [("a.mid", "a slow air"), ("sub/b.mid", "a jig")]


def test_a_row_without_a_prompt_is_named(tmp_path):
    (tmp_path / "p.csv").write_text("file,mood\na.mid,slow\n")
    with pytest.raises(FormatError, match=r"p\.csv, row 1: a prompt needs a name .* has file, mood"):
        read_prompts(tmp_path / "p.csv")


def test_names_as_prompts():
    assert prompts_in(["x/a_slow-air.01.mid", "003.mid", "jig_12.abc"]) == [
        ("x/a_slow-air.01.mid", "a slow air"),
        ("jig_12.abc", "jig"),
    ]


@pytest.fixture
def folders(tmp_path, rng):
    for name, shift in (("real", 0.0), ("generated", 0.2), ("training", 0.0)):
        (tmp_path / name).mkdir()
        for row in range(12):
            vector = rng.standard_normal(256).astype(np.float32) + np.float32(shift)
            np.save(tmp_path / name / f"a_slow_air_{row:02d}.npy", vector)
    (tmp_path / "prompts.csv").write_text(
        "file,prompt\n" + "".join(f"a_slow_air_{row:02d}.mid,a slow air number {row}\n" for row in range(12))
    )
    return tmp_path


def test_the_script_has_all_figures(script, folders, capsys):
    main = script("retrieval/evaluate_generation.py").main
    arguments = [
        str(folders / "generated"),
        "--reference",
        str(folders / "real"),
        "--training",
        str(folders / "training"),
    ]
    arguments += ["--prompts", str(folders / "prompts.csv"), "--model", "mini", "--min_size", "4"]
    arguments += ["--json", str(folders / "r.json"), "--songs", str(folders / "songs.jsonl")]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    for label in ("CLaMP 3 score", "random pairs", "Fréchet distance", "infinitely many", "Vendi", "possible copies"):
        assert label in out
    result = json.loads((folders / "r.json").read_text())
    assert result["prompts"]["n_pairs"] == 12 and result["reference"]["infinite"]["sizes"][-1] == 12
    assert len((folders / "songs.jsonl").read_text().splitlines()) == 12
    assert main([str(folders / "generated"), "--prompts", "names", "--model", "mini"]) == 0


def test_prompts_of_a_table_in_score_and_mrr(script, folders, capsys):
    table, music = str(folders / "prompts.csv"), str(folders / "generated")
    assert script("retrieval/clamp3_score.py").main([table, music, "--model", "mini", "--json"]) == 0
    score = json.loads(capsys.readouterr().out)["scores"]["pairwise_similarity"]
    script("retrieval/evaluate_generation.py").main(
        [music, "--prompts", table, "--model", "mini", "--json", str(folders / "r.json")]
    )
    assert json.loads((folders / "r.json").read_text())["prompts"]["score"] == pytest.approx(score, abs=1e-6)
    capsys.readouterr()
    assert script("retrieval/eval_mrr.py").main([table, music, "--model", "mini", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["query_to_reference"]
    assert found["metrics"]["queries"] == 12 and "12 independent queries are too few" in found["caution"]


def test_what_cannot_be_judged_is_one_sentence(script, folders):
    main, music = script("retrieval/evaluate_generation.py").main, str(folders / "generated")
    with pytest.raises(ConfigError, match="nothing to compare with"):
        main([music])
    with pytest.raises(ConfigError, match="no such table or folder"):
        main([music, "--prompts", "nowhere.csv"])
    (folders / "other.csv").write_text("file,prompt\nx.mid,a jig\n")
    with pytest.raises(DataError, match=r"no prompt belongs to a generated file: x\.mid is unlike"):
        main([music, "--prompts", str(folders / "other.csv"), "--model", "mini"])
