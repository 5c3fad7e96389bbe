"""Search on the folders for which the released script's output is known.

The features are made as the golden's generator makes them: numpy's Philox(21), 240 references of width 32, queries
that are references with noise of twice their size. Printed by the released ``semantic_search.py`` (CLaMP 3 at 9016d2b)
for the query ``en/song003`` in ``ref/en``.
"""

import json

import numpy as np
import pytest

RELEASED = [("song141", 0.4694), ("song054", 0.384), ("song003", 0.3541), ("song051", 0.299), ("song018", 0.2594)]


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    root = tmp_path_factory.mktemp("features")
    rng = np.random.Generator(np.random.Philox(21))
    for i in range(240):
        language = ["en", "zh", "fr"][i % 3]
        reference = rng.standard_normal((1, 32), dtype=np.float32)
        several = i % 4 == 0
        for kind in ("ref", "query"):
            (root / kind / language).mkdir(parents=True, exist_ok=True)
        np.save(root / "ref" / language / f"song{i:03d}.npy", reference)
        for j in range(1 + several):
            query = reference + 2.0 * rng.standard_normal((1, 32), dtype=np.float32)
            np.save(root / "query" / language / (f"song{i:03d}" + (f".{j}" if several else "") + ".npy"), query)
    assert len(list((root / "query").rglob("*.npy"))) == 300
    return root


def test_the_released_ranking(features, script, capsys):
    main = script("retrieval/semantic_search.py").main
    query = str(features / "query" / "en" / "song003.npy")
    assert main([query, str(features / "ref" / "en"), "--top_k", "5", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert [hit["name"] for hit in results] == [name for name, _ in RELEASED]
    np.testing.assert_allclose([hit["score"] for hit in results], [score for _, score in RELEASED], atol=5.1e-5)
    assert main(["--top_k", "5", query, str(features / "ref" / "en")]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [(name, round(float(score), 4)) for name, score in lines] == RELEASED


def test_sub_folders_are_searched_too(features, script, capsys):
    main = script("retrieval/semantic_search.py").main
    query = str(features / "query" / "en" / "song003.npy")
    assert main([query, str(features / "ref"), "--top_k", "240"]) == 0
    names = [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()]
    assert len(set(names)) == 240 and {name.split("/")[0] for name in names} == {"en", "zh", "fr"}
    assert [name for name in names if name.startswith("en/")][:5] == [f"en/{name}" for name, _ in RELEASED]
