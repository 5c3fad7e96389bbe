"""Maps: groups stay together, seeds repeat, colours come from where they should, pages need no network."""

import json
import re
import sys

import numpy as np
import pytest

from clamp3.errors import ConfigError, DataError, FormatError
from clamp3.retrieval import map_plots
from clamp3.retrieval.projection import labels_of, project, read_metadata


def groups(seed=0, n=12, width=20):
    """Three groups of vectors around three directions, of any length."""
    rng = np.random.default_rng(seed)
    centres = np.eye(width)[:3] * 5
    vectors = np.concatenate([centre + 0.3 * rng.standard_normal((n, width)) for centre in centres])
    return vectors * rng.uniform(0.1, 10, (3 * n, 1)), np.repeat(np.arange(3), n)


@pytest.fixture
def features(tmp_path):
    vectors, kinds = groups()
    for i, (vector, kind) in enumerate(zip(vectors, kinds, strict=True)):
        path = tmp_path / "features" / "abc"[kind] / f"{'xyz'[kind]}_{i:02d}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, vector[None].astype(np.float32))
    return tmp_path / "features"


@pytest.fixture
def run(script, capsys, tmp_path):
    main = script("retrieval/map.py").main

    def call(*args, method=("pca",)):
        code = main([*map(str, args), "--out", str(tmp_path / "out" / "m.1"), "--json", "--method", *method])
        captured = capsys.readouterr()
        return code, json.loads(captured.out), (tmp_path / "out" / "m.1.html").read_text(encoding="utf-8"), captured.err

    return call


METHODS = ["pca", "tsne", pytest.param("umap", marks=pytest.mark.slow)]


@pytest.mark.parametrize("method", METHODS)
def test_groups_stay_together_and_seeds_repeat(method):
    pytest.importorskip({"umap": "umap"}.get(method, "sklearn"))
    vectors, kinds = groups()
    places = project(vectors, method, seed=1)
    assert places.shape == (36, 2) and np.isfinite(places).all()
    np.testing.assert_array_equal(project(vectors, method, seed=1), places)
    distances = np.linalg.norm(places[:, None] - places[None], axis=2) + 1e9 * np.eye(36)
    assert (kinds[distances.argmin(axis=1)] == kinds).all()


@pytest.mark.parametrize("method", METHODS)
def test_few_points_make_a_map(method):
    pytest.importorskip({"umap": "umap"}.get(method, "sklearn"))
    assert np.isfinite(project(groups()[0][:4], method)).all()
    with pytest.raises(DataError, match="at least 4"):
        project(groups()[0][:3], method)


def test_unknown_methods_and_absent_packages(monkeypatch):
    with pytest.raises(ConfigError, match="choose one of pca"):
        project(groups()[0], "som")
    for method, package in (("pca", "sklearn"), ("umap", "umap")):
        monkeypatch.setitem(sys.modules, f"{package}.decomposition" if method == "pca" else package, None)
        with pytest.raises(ConfigError, match=r"clamp3\[eval\]"):
            project(groups()[0], method)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "plotly", None)
    points = {"pca": np.zeros((4, 2))}
    with pytest.raises(ConfigError, match=r"clamp3\[eval\]"):
        map_plots.as_png(points, ["a"] * 4, title="t")
    with pytest.raises(ConfigError, match=r"clamp3\[eval\]"):
        map_plots.as_html(points, ["a"] * 4, ["n"] * 4, title="t")


def test_picture_and_page(features, run, tmp_path):
    code, found, page, _ = run(features, "--color", "folder", method=("pca", "tsne"))
    assert code == 0 and {point["label"] for point in found["points"]} == set("abc") and len(found["points"]) == 36
    assert found["points"][0].keys() == {"name", "label", "pca", "tsne"}
    assert (tmp_path / "out" / "m.1.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    # Everything is inside: no script, style sheet or picture is fetched.
    assert not re.findall(r"<(?:script|link|img)[^>]*(?:src|href)\s*=", page) and len(page) > 1_000_000
    assert "plotly.js v" in page and all(f"{'xyz'[i // 12]}_{i:02d}.npy" in page for i in range(36))
    assert page.count('"label":"PCA"') == page.count('"label":"t-SNE"') == 1
    assert run(features, "--color", "folder", method=("pca", "tsne"))[1:3] == (found, page)


def test_names_and_labels_cannot_become_markup(features, run, tmp_path):
    (features / "a" / "x_00.npy").rename(features / "a" / "x_<b>00.npy")
    rows = [{"name": "x_01.npy", "mood": '</script><script>alert("x")</script>'}, {"name": "x_02.npy", "mood": "calm"}]
    (tmp_path / "moods.json").write_text(json.dumps(rows))
    _, found, page, _ = run(features, "--metadata", tmp_path / "moods.json", "--color", "mood")
    assert "alert(" in page and "<script>alert" not in page and "x_<b>" not in page
    assert "alert(&quot;" not in page, "plotly would show the entity"
    labels = {point["name"].split("/")[1]: point["label"] for point in found["points"]}
    assert labels["x_02.npy"] == "calm" and labels["y_13.npy"] == "unknown"


def test_a_name_that_is_none_is_refused_before_encoding(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (".", "..", "/"):
        with pytest.raises(ConfigError, match=f"--out {name} names no file"):
            script("retrieval/map.py").main([str(tmp_path), "--out", name])


def test_dollars_make_no_formulas():
    points = {"pca": np.random.default_rng(0).random((14, 2))}
    assert map_plots.as_png(points, [r"A$\foo$"] * 14, title=r"$\bar$")[:4] == b"\x89PNG"
    assert map_plots.as_png(points, [str(i) for i in range(14)], title=r"$\bar$")[:4] == b"\x89PNG"


def test_several_folders_are_told_apart(features, run, tiny_weights, music):
    code, found, _, _ = run(features, features.parent / "features" / "a")
    names = [point["name"] for point in found["points"]]
    assert code == 0 and found["color"] == "source" and "features/a/x_00.npy" in names and "a/x_00.npy" in names
    assert {point["label"] for point in found["points"]} == {"features", "a"}
    with pytest.raises(DataError, match="width 20, the other's 24"):
        run(features, music, "--model", tiny_weights)


def test_modalities_of_raw_files_and_of_extracted_ones(run, script, music, tiny_weights, tmp_path, capsys):
    expected = {"audio": "audio", "long": "symbolic", "play": "symbolic", "song": "text", "sub/tune": "symbolic"}
    (music / "bad.mid").write_bytes(b"MThd")
    code, found, _, said = run(music, "--model", tiny_weights)
    assert code == 1 and "left out: bad.mid" in said
    assert {point["name"].split(".")[0]: point["label"] for point in found["points"]} == expected
    (music / "bad.mid").unlink()
    out = tmp_path / "extracted"
    extract = script("code/extract_clamp3.py").main
    assert extract([str(music), str(out), "--get_global", "--model", str(tiny_weights)]) == 0
    capsys.readouterr()
    found = run(out)[1]
    assert {point["name"].split(".")[0]: point["label"] for point in found["points"]} == expected


def test_colours_of_metadata(tmp_path):
    names = ["a/one.mid", "b/two.1.npy", "three.npy"]
    tables = {
        "t.csv": "file,genre\na/one,jazz\ntwo,folk\n",
        "t.tsv": "file\tgenre\nb/two.1.npy\tfolk\none.mid\tjazz\n",
        "t.json": '{"one": {"genre": "jazz"}, "two": {"genre": "folk"}}',
        "t.jsonl": '{"id": "one", "genre": "jazz"}\n{"id": "two.1", "genre": "folk"}\n',
    }
    for file, text in tables.items():
        (tmp_path / file).write_text(text)
        assert labels_of(names, "genre", read_metadata(tmp_path / file)) == ["jazz", "folk", "unknown"], file
    (tmp_path / "odd.csv").write_text("file,genre,more\none\ntwo,folk,x,y,z\n")
    assert labels_of(names, "genre", read_metadata(tmp_path / "odd.csv")) == ["unknown", "folk", "unknown"]
    with pytest.raises(ConfigError, match=r"class, file, genre, more\.$"):
        labels_of(names, "mood", read_metadata(tmp_path / "odd.csv"))
    assert labels_of(names, "folder") == ["a", "b", "."]
    assert labels_of(["d/happy_1.npy", "sad.npy"], "class") == ["happy", "unknown"]
    for names in ([f"tune{i}.abc" for i in range(500)], [f"{i}_tune.abc" for i in range(500)], ["a.abc"]):
        with pytest.raises(ConfigError, match=rf"makes (0|500) classes of {len(names)} files; colour by folder"):
            labels_of(names, "class")
    names = ["a/one.mid", "b/two.1.npy", "three.npy"]
    with pytest.raises(ConfigError, match=r"there is modality, source, folder, class, file, genre"):
        labels_of(names, "mood", read_metadata(tmp_path / "t.csv"))
    (tmp_path / "bare.csv").write_text("one.mid,jazz\ntwo.mid,folk\n")
    with pytest.raises(FormatError, match="has no header"):
        read_metadata(tmp_path / "bare.csv")
    (tmp_path / "bad.jsonl").write_text('{"genre": "jazz"}\n')
    with pytest.raises(FormatError, match="without name or file"):
        read_metadata(tmp_path / "bad.jsonl")
    with pytest.raises(FormatError, match="cannot be read"):
        read_metadata(tmp_path / "absent.json")


def test_many_numbers_make_a_scale_and_many_classes_a_rest():
    assert map_plots.numbers(["1", "2.5", "-3"]) is None and map_plots.numbers(["a"] * 20) is None
    assert map_plots.numbers([str(i) for i in range(12)]).tolist() == list(range(12))
    assert map_plots.numbers([*map(str, range(12)), "nan"]) is None
    labels = [f"c{i:02d}" for i in range(30) for _ in range(1 + (i < 19))]
    found = map_plots.classes(labels)
    assert list(found) == [*(f"c{i:02d}" for i in range(19)), "other (11 kinds)"]
    assert sorted(row for rows in found.values() for row in rows) == list(range(len(labels)))
    points = {"pca": np.random.default_rng(0).random((12, 2))}
    page = map_plots.as_html(points, [str(i) for i in range(12)], ["n"] * 12, title="bpm")
    assert '"showscale":true' in page
    assert map_plots.as_png(points, [str(i) for i in range(12)], title="bpm")[:4] == b"\x89PNG"
