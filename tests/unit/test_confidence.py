"""Intervals of metrics: how often they hold the truth, which groups they draw, and what they refuse."""

import importlib
import json

import numpy as np
import pytest

from clamp3.errors import DataError
from clamp3.retrieval import confidence
from clamp3.retrieval.confidence import caution, intervals, mean_interval, median_interval, share_interval
from clamp3.retrieval.metrics import evaluate


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_a_mean_of_many_has_nearly_the_normal_interval(rng):
    values = rng.random(400)
    low, high = mean_interval(values, seed=3)
    assert (low, high) == mean_interval(values, seed=3) != mean_interval(values, seed=4)
    error = values.std() / np.sqrt(400)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)
    assert mean_interval(values, level=0.5, seed=3)[0] > low
    many = rng.random(confidence.MANY + 1)
    assert mean_interval(many) == pytest.approx(mean_interval(many[:-1]), abs=2e-4)


def test_shares_have_wilsons_interval():
    """Against the closed form with z = 1.96, written out for 8 of 50 and 0 of 200."""
    low, high = share_interval(np.arange(50) < 8)
    assert (low, high) == pytest.approx((0.0834, 0.2852), abs=1e-3)
    assert share_interval(np.zeros(200)) == (0.0, pytest.approx(3.8415 / 203.8415, abs=1e-4))
    assert share_interval(np.ones(200)) == (pytest.approx(200 / 203.8415, abs=1e-4), 1.0)


def test_queries_of_one_reference_count_as_one(rng):
    """Copies of a query tell nothing new; queries of a group that differ as others do tell as much as these."""
    hit, rank = rng.random(100) < 0.3, rng.integers(1, 40, 100)
    groups = np.repeat(np.arange(100), 4)
    assert share_interval(np.repeat(hit, 4), groups) == pytest.approx(share_interval(hit), abs=1e-9)
    assert share_interval(np.zeros(400), groups) == pytest.approx(share_interval(np.zeros(100)), abs=1e-9)
    assert mean_interval(np.repeat(1 / rank, 4), groups) == pytest.approx(mean_interval(1 / rank), abs=1e-9)
    assert median_interval(np.repeat(rank, 4), groups) == median_interval(rank)
    unlike = share_interval(rng.random(400) < 0.3, groups)
    assert unlike[1] - unlike[0] < 0.6 * (share_interval(hit)[1] - share_interval(hit)[0])


def test_intervals_hold_what_was_measured(rng):
    rank = rng.integers(1, 50, 300)
    found = intervals(rank, hits=(1, 10))
    assert list(found) == ["mrr", "hit@1", "hit@10", "median_rank"]
    for name, (low, high) in found.items():
        assert low <= evaluate(rank, 50, hits=(1, 10))[name] <= high
    assert set(intervals([]).values()) == {(0.0, 0.0)}


def test_differences_have_a_percentile_interval(rng):
    values = rng.standard_normal(500) + 0.2
    low, high = confidence.bootstrap_interval(values)
    error = values.std() / np.sqrt(500)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.2 * error)
    assert confidence.bootstrap_interval([]) == (0.0, 0.0)
    with pytest.raises(DataError, match="resamples"):
        confidence.bootstrap_interval([1.0], n_resamples=0)


def test_draws_at_once_change_nothing(rng, monkeypatch):
    values = rng.random(30)
    whole = mean_interval(values)
    monkeypatch.setattr(confidence, "_DRAWS_AT_ONCE", 100)
    assert mean_interval(values) == pytest.approx(whole, abs=1e-12)


def test_few_queries_are_said():
    assert "29 independent queries are too few" in caution(29) and caution(30) == ""


def test_what_is_refused():
    for wrong, message in (
        (lambda: mean_interval([1.0], level=95), "level between 0 and 1"),
        (lambda: mean_interval([[1.0]]), "flat"),
        (lambda: mean_interval([2.0]), "between 0 and 1"),
        (lambda: mean_interval([1.0, 0.5], [1]), "1 groups for 2 queries"),
        (lambda: intervals([0.5]), "from 1"),
        (lambda: intervals([1], hits=(0,)), "k must be at least 1"),
    ):
        with pytest.raises(DataError, match=message):
            wrong()


def test_the_simulation_counts_what_the_intervals_hold(request, monkeypatch, tmp_path):
    """Few repetitions: the published figures, in benchmarks/results, come from 2,000 each."""
    monkeypatch.syspath_prepend(str(request.config.rootpath / "benchmarks"))
    coverage = importlib.import_module("coverage_of_intervals")
    found = coverage.simulate(coverage.CASES["Song Describer"], n_times=60, seed=1)
    assert 0.85 <= found["mrr"]["ours"] <= 1 and 0.85 <= found["hit@1"]["ours"] <= 1
    assert found["hit@1"]["ours"] >= found["hit@1"]["percentile over queries"]
    results = json.loads((request.config.rootpath / "benchmarks/results/coverage_of_intervals.json").read_text())
    for name, case in results["cases"].items():
        for metric, rates in case["coverage"].items():
            enough = case["groups"] >= confidence.FEW
            assert not enough or 0.93 <= rates["ours"] <= 0.97, (name, metric)
