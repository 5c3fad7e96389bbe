import numpy as np
import pytest

from clamp3.errors import DataError
from clamp3.retrieval import metrics


def naive_rank(row, target, ties):
    order = sorted(range(len(row)), key=lambda n: (-row[n], (n == target) if ties == "worst" else (n != target)))
    return order.index(target) + 1


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.mark.parametrize("ties", ["worst", "best"])
def test_ranks_equal_a_sorting_oracle_with_many_ties(rng, ties):
    scores = rng.integers(0, 6, (40, 25)).astype(float)  # six values for 25 references: ties everywhere
    targets = rng.integers(0, 25, 40)
    expected = [naive_rank(list(row), target, ties) for row, target in zip(scores, targets, strict=True)]
    assert metrics.ranks(scores, targets, ties=ties).tolist() == expected


def test_hand_derived_ranks():
    scores = [[0.9, 0.1, 0.5], [0.2, 0.2, 0.2], [0.3, 0.8, 0.8]]
    assert metrics.ranks(scores, [2, 1, 1]).tolist() == [2, 3, 2]
    assert metrics.ranks(scores, [2, 1, 1], ties="best").tolist() == [2, 1, 1]


def test_perfect_and_reversed_orders():
    n = 12
    perfect = metrics.evaluate(metrics.ranks(np.eye(n), np.arange(n)), n)
    assert perfect["mrr"] == perfect["hit@1"] == 1 and perfect["median_rank"] == 1
    reversed_ = metrics.evaluate(metrics.ranks(1 - np.eye(n), np.arange(n)), n, hits=(1, n - 1, n))
    assert reversed_["mrr"] == pytest.approx(1 / n)
    assert (reversed_["hit@1"], reversed_[f"hit@{n - 1}"], reversed_[f"hit@{n}"]) == (0, 0, 1)


def test_a_model_that_says_the_same_of_everything_gains_nothing():
    n = 8
    same = np.ones((n, 5), np.float32)
    assert metrics.mrr(metrics.cosine_ranks(same, same, np.arange(n))) == pytest.approx(1 / n)
    assert metrics.mrr(metrics.cosine_ranks(same, same, np.arange(n), ties="best")) == 1


def test_mrr_and_hits_of_known_ranks():
    assert metrics.mrr([1, 2, 4, 4]) == pytest.approx((1 + 0.5 + 0.25 + 0.25) / 4)
    assert metrics.hit_at_k([1, 2, 4, 4], 2) == 0.5
    assert metrics.median_rank([1, 2, 4, 4]) == 3


def test_no_queries_warn_and_give_zero():
    with pytest.warns(UserWarning, match="no queries"):
        empty = metrics.ranks(np.zeros((0, 5)), [])
    assert empty.shape == (0,)
    with pytest.warns(UserWarning, match="no queries"):
        assert metrics.cosine_ranks(np.zeros((0, 3)), np.ones((5, 3)), []).shape == (0,)
    found = metrics.evaluate(empty, 5)
    assert found["mrr"] == found["hit@1"] == found["median_rank"] == 0


@pytest.mark.parametrize(
    ("scores", "targets", "message"),
    [
        ([1.0, 2.0], [0], "shape"),
        ([[1.0, 2.0], [3.0, 4.0]], [0], "one per query"),
        ([[1.0, 2.0]], [2], "lie in 0 to 1"),
        ([[1.0, 2.0]], [-1], "lie in 0 to 1"),
        ([[1.0, np.nan]], [0], "NaN"),
        ([[1.0, 2.0]], [0.5], "whole numbers"),
    ],
)
def test_malformed_input_is_named(scores, targets, message):
    with pytest.raises(DataError, match=message):
        metrics.ranks(scores, targets)


def test_other_malformed_arguments_are_named():
    with pytest.raises(DataError, match="ties"):
        metrics.ranks([[1.0]], [0], ties="average")
    with pytest.raises(DataError, match="one model"):
        metrics.cosine_ranks(np.ones((2, 3)), np.ones((2, 4)), [0, 1])
    with pytest.raises(DataError, match="2 targets for 3 queries"):
        metrics.cosine_ranks(np.ones((3, 3)), np.ones((2, 3)), [0, 1])
    with pytest.raises(DataError, match="did you pass scores"):
        metrics.mrr([0.3, 0.7])
    with pytest.raises(DataError, match="at least 1"):
        metrics.hit_at_k([1], 0)
    with pytest.raises(DataError, match="impossible"):
        metrics.evaluate([7], 5)
    with pytest.raises(DataError, match="at least one reference"):
        metrics.chance_mrr(0)


def test_ranks_do_not_depend_on_the_chunk_size(rng):
    references = np.repeat(rng.normal(size=(10, 6)), 3, axis=0)  # every reference three times: exact ties
    queries, targets = rng.normal(size=(31, 6)), rng.integers(0, 30, 31)
    whole = metrics.cosine_ranks(queries, references, targets, chunk=1000)
    for chunk in (1, 2, 7, 30, 31):
        assert metrics.cosine_ranks(queries, references, targets, chunk=chunk).tolist() == whole.tolist()
    assert (whole >= 3).all()  # two twins always count against the query


def test_cosine_ranks_ignore_lengths_and_survive_zero_vectors(rng):
    references = rng.normal(size=(9, 4))
    stretched = references * rng.uniform(0.1, 50, (9, 1))
    assert metrics.cosine_ranks(references, stretched, np.arange(9)).tolist() == [1] * 9
    references[4] = 0
    assert metrics.cosine_ranks(references[4:5], references, [4]).tolist() == [9]


def test_chance_is_the_harmonic_mean_of_a_random_order(rng):
    assert metrics.chance_mrr(1) == 1
    assert metrics.chance_mrr(3) == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    exact = sum(1 / rank for rank in range(1, 10_002)) / 10_001
    assert metrics.chance_mrr(10_001) == pytest.approx(exact, rel=1e-8)
    drawn = metrics.mrr(metrics.ranks(rng.random((4000, 50)), rng.integers(0, 50, 4000)))
    assert drawn == pytest.approx(metrics.chance_mrr(50), rel=0.1)
