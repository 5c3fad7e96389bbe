"""Evaluation on the folders for which the released scripts' output is known (CLaMP 3 at 9016d2b).

``eval_mrr.py`` printed 240 keys, 300 queries, MRR 0.6004, Hit@1 0.4833, Hit@10 0.8333, Hit@100 0.9967;
``clamp3_score.py`` 0.4512, and 0.7464 with ``--group``.
"""

import json

import numpy as np
import pytest
from feature_maker import make_features

pytestmark = pytest.mark.kernels


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    return make_features(tmp_path_factory.mktemp("features"))


@pytest.mark.parametrize("ties", ["worst", "best"])
def test_the_released_rates(features, script, capsys, ties):
    main = script("retrieval/eval_mrr.py").main
    assert main([str(features / "query"), str(features / "ref"), "--ties", ties, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    metrics = found["query_to_reference"]["metrics"]
    assert (metrics["queries"], metrics["references"]) == (300, 240)
    released = {"mrr": 0.6004, "hit@1": 0.4833, "hit@10": 0.8333, "hit@100": 0.9967}
    assert {name: round(metrics[name], 4) for name in released} == released
    assert found["query_to_reference"]["n_tied"] == 0
    assert found["unmatched_queries"] == found["unmatched_references"] == found["failures"] == []
    for low, high in found["query_to_reference"]["intervals_95"].values():
        assert low < high


def test_the_released_lines(features, script, capsys):
    assert script("retrieval/eval_mrr.py").main([str(features / "query"), str(features / "ref")]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0][3:] == ["300", "queries,", "240", "references"]
    figures = {line[0]: line[1] for line in lines[1:]}
    assert (figures["MRR"], figures["Hit@1"], figures["Hit@10"], figures["Hit@100"]) == (
        "0.6004",
        "0.4833",
        "0.8333",
        "0.9967",
    )


def test_the_released_scores(features, script, capsys):
    main = script("retrieval/clamp3_score.py").main
    folders = [str(features / "query"), str(features / "ref")]
    assert main([*folders, "--json"]) == 0
    pairwise = json.loads(capsys.readouterr().out)["scores"]
    assert round(pairwise["pairwise_similarity"], 4) == 0.4512
    assert main([*folders, "--group", "--json"]) == 0
    group = json.loads(capsys.readouterr().out)["scores"]
    assert round(group["group_similarity"], 4) == 0.7464
    query, reference = (
        np.concatenate([np.load(path) / np.linalg.norm(np.load(path)) for path in (features / kind).rglob("*.npy")])
        for kind in ("query", "ref")
    )
    assert group["mean_similarity_of_all_pairs"] == pytest.approx((query @ reference.T).mean(), abs=1e-6)


def test_constant_vectors_gain_nothing(features, script, capsys, tmp_path):
    for path in sorted(features.rglob("*.npy")):
        constant = tmp_path / path.relative_to(features)
        constant.parent.mkdir(parents=True, exist_ok=True)
        np.save(constant, np.full((1, 32), 0.5, np.float32))
    main = script("retrieval/eval_mrr.py").main
    folders = [str(tmp_path / "query"), str(tmp_path / "ref"), "--json"]
    assert main(folders) == 0
    found = json.loads(capsys.readouterr().out)["query_to_reference"]
    assert found["metrics"]["mrr"] == pytest.approx(1 / 240) and found["n_tied"] == 300
    assert main([*folders, "--ties", "best"]) == 0
    assert (
        json.loads(capsys.readouterr().out)["query_to_reference"]["metrics"]["mrr"] == 1
    )  # as the released script says
