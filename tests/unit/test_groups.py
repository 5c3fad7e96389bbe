"""Comparison of groups: similarities against loops, tests under and against the null, words, files."""

import json

import numpy as np
import pytest

from clamp3.errors import ConfigError, DataError
from clamp3.retrieval.groups import (
    distinctive_words,
    group,
    neighbours,
    permutation_tests,
    similarities,
)

NAMES = ("north", "south", "west")


def pieces(shift, n_each=12, width=6, seed=0):
    """Normal vectors around a common one; those of a group are moved along an axis of its own."""
    rng = np.random.default_rng(seed)
    labels = [name for name in NAMES for _ in range(n_each)]
    vectors = rng.standard_normal((len(labels), width)) + np.full(width, 4.0)
    for row, label in enumerate(labels):
        vectors[row, NAMES.index(label)] += shift
    return [f"{label}/{row}.npy" for row, label in enumerate(labels)], vectors, labels


def test_similarities_are_means_over_pairs():
    found = group(*pieces(3.0))
    assert found.groups == list(NAMES)
    table = similarities(found)
    for first in range(3):
        for second in range(3):
            cosines = [
                found.unit[a] @ found.unit[b]
                for a in np.flatnonzero(found.of == first)
                for b in np.flatnonzero(found.of == second)
                if a != b
            ]
            assert table[first, second] == pytest.approx(np.mean(cosines))
    assert np.diag(table).min() > table[~np.eye(3, dtype=bool)].max()


def test_groups_that_differ_are_told_apart_and_equal_ones_are_not():
    apart = permutation_tests(group(*pieces(3.0)), n_permutations=199)
    assert apart["p"] == pytest.approx(1 / 200) and all(row["p_holm"] <= 0.05 for row in apart["pairs"])
    assert apart == permutation_tests(group(*pieces(3.0)), n_permutations=199)
    below = [permutation_tests(group(*pieces(0.0, seed=seed)), n_permutations=39)["p"] <= 0.05 for seed in range(60)]
    assert np.mean(below) <= 0.15, "of 60 tests under the null about 3 are below .05"


def test_neighbours_across_groups():
    names, vectors, labels = pieces(6.0)
    vectors[0] = vectors[-1] + 1e-3  # a piece of the north like one of the west
    found = neighbours(group(names, vectors, labels))
    assert found["own_group"] > 0.8 and found["chance"] == pytest.approx(3 * 12 * 11 / (36 * 35))
    assert sorted(found["across"][0]["names"]) == sorted([names[0], names[-1]])
    assert np.sum(found["table"]) == 36


def test_words_that_tell_apart_and_one_that_does_not():
    found = group(*pieces(3.0))
    words = np.eye(6)[[1, 5, 0]]
    rows = distinctive_words(found, ["southern", "nothing", "northern"], words, n_permutations=199)
    by_word = {row["word"]: row for row in rows}
    assert rows[-1]["word"] == "nothing" and by_word["nothing"]["p"] > 0.05
    for word, name in (("southern", "south"), ("northern", "north")):
        row = by_word[word]
        assert row["p"] <= 0.05 and max(row["d"], key=row["d"].get) == name and row["d"][name] > 1
        assert 0 < row["eta_squared"] < 1


def test_pieces_without_a_group_are_left_out():
    names, vectors, labels = pieces(1.0)
    found = group(names, vectors, [None, "alone", *labels[2:]])
    assert len(found.names) == 34 and found.groups == list(NAMES)
    with pytest.raises(DataError, match=r"two groups of at least 2 pieces are needed; there are \d+ in one\."):
        group(names, vectors, ["one"] * len(names))


@pytest.fixture
def folder(tmp_path):
    """Vectors of the mini model's width in files, and a table."""
    _, vectors, labels = pieces(3.0, width=256)
    root = tmp_path / "songs"
    root.mkdir()
    rows = ["name,region"]
    for row, (vector, label) in enumerate(zip(vectors, labels, strict=True)):
        np.save(root / f"{row:02d}.npy", vector.astype(np.float32))
        rows.append(f"{row:02d},{label}" if row else "00,")
    (tmp_path / "songs.csv").write_text("\n".join(rows))
    (tmp_path / "words.txt").write_text("a slow air\na jig\n\na jig\n")
    return root


def test_the_script_writes_json_picture_and_page(script, folder, tmp_path, capsys):
    main = script("retrieval/groups.py").main
    arguments = [str(folder), "--labels", str(tmp_path / "songs.csv"), "--by", "region", "--model", "mini"]
    arguments += ["--words", str(tmp_path / "words.txt"), "--permutations", "99", "--out", str(tmp_path / "out")]
    assert main(arguments) == 1, "a file without a region is said"
    said = capsys.readouterr()
    assert "left out: 00.npy: it has no group" in said.err and "not distinguished" in said.out
    result = json.loads((tmp_path / "out" / "groups.json").read_text())
    assert result["groups"] == list(NAMES) and result["sizes"] == [11, 12, 12]
    assert {row["word"] for row in result["words"]} == {"a slow air", "a jig"}
    assert (tmp_path / "out" / "groups.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "out" / "groups.html").read_text()
    assert "data:image/png;base64," in page and "a slow air" in page and "http" not in page.split("base64")[0]
    assert result == main_again(main, arguments, tmp_path)


def main_again(main, arguments, tmp_path):
    main(arguments)
    return json.loads((tmp_path / "out" / "groups.json").read_text())


def test_what_groups_cannot_do_is_one_sentence(script, folder, tmp_path):
    main = script("retrieval/groups.py").main
    with pytest.raises(ConfigError, match="nothing to colour by 'century'"):
        main([str(folder), "--labels", str(tmp_path / "songs.csv"), "--by", "century"])
    (tmp_path / "words.txt").write_text("\n")
    labels = ["--labels", str(tmp_path / "songs.csv"), "--by", "region"]
    with pytest.raises(ConfigError, match="holds no prompt"):
        main([str(folder), *labels, "--words", str(tmp_path / "words.txt"), "--permutations", "9"])
