"""Search on the folders for which the released script's output is known.

Printed by the released ``semantic_search.py`` (CLaMP 3 at 9016d2b) for the query ``en/song003`` in ``ref/en`` of the
features that ``feature_maker.py`` makes.
"""

import json

import numpy as np
import pytest
from feature_maker import make_features

RELEASED = [("song141", 0.4694), ("song054", 0.384), ("song003", 0.3541), ("song051", 0.299), ("song018", 0.2594)]


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    return make_features(tmp_path_factory.mktemp("features"))


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
