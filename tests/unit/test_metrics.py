"""Retrieval metrics: each against an oracle, and perfect, reversed, all tied, empty, malformed and in chunks."""

import time
import tracemalloc

import numpy as np
import pytest

from clamp3.errors import DataError
from clamp3.retrieval import metrics
from clamp3.retrieval.cosine import cosine_ranks, group_similarity, mean_similarity, pair_similarity, rank_bounds

pytestmark = pytest.mark.kernels


def sorted_order(row, right, ties):
    """Columns, best first, ties resolved against or for the right ones."""
    return sorted(range(len(row)), key=lambda n: (-row[n], (n in right) == (ties == "worst"), n))


def naive_ranks(scores, pairs, ties):
    """Places of the right columns in the sorted order; the wrong ones before each, plus its turn among the right."""
    found = []
    for query, reference in pairs:
        right = {n for q, n in pairs if q == query}
        order = sorted_order(list(scores[query]), right, ties)
        turn = [n for n in order if n in right]
        found.append((query, reference, order.index(reference) + 1, turn.index(reference)))
    return [rank for _, _, rank, _ in found]


def some_pairs(rng, n_queries, n_references, most=4):
    pairs = []
    for query in range(n_queries):
        for reference in rng.choice(n_references, rng.integers(1, most + 1), replace=False):
            pairs.append((query, int(reference)))
    return np.array(pairs)[rng.permutation(len(pairs))]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


# Oracles


@pytest.mark.parametrize("ties", ["worst", "best"])
def test_ranks_equal_a_sorting_oracle_with_many_ties(rng, ties):
    scores = rng.integers(0, 6, (40, 25)).astype(float)  # six values for 25 references: ties everywhere
    targets = rng.integers(0, 25, 40)
    expected = naive_ranks(scores, list(enumerate(targets)), ties)
    assert metrics.ranks(scores, targets, ties=ties).tolist() == expected


@pytest.mark.parametrize("ties", ["worst", "best"])
def test_pair_ranks_equal_the_oracle_where_queries_have_several_answers(rng, ties):
    scores = rng.integers(0, 6, (30, 20)).astype(float)
    pairs = some_pairs(rng, 30, 20)
    got = metrics.pair_ranks(scores, pairs, ties=ties)
    expected = naive_ranks(scores, [tuple(map(int, pair)) for pair in pairs], ties)
    for query in range(30):  # right references of equal score may swap places among themselves
        mine = pairs[:, 0] == query
        assert sorted(got[mine]) == sorted(np.array(expected)[mine])
        best = np.argsort(got[mine], kind="stable")
        assert (np.diff(scores[query, pairs[mine][best, 1]]) <= 0).all()


def test_average_precision_equals_scikit_learn(rng):
    sklearn = pytest.importorskip("sklearn.metrics")
    scores, pairs = rng.random((15, 40)), some_pairs(rng, 15, 40, most=9)
    truth = np.zeros(scores.shape, bool)
    truth[pairs[:, 0], pairs[:, 1]] = True
    expected = np.mean([sklearn.average_precision_score(truth[q], scores[q]) for q in range(15)])
    got = metrics.mean_average_precision(metrics.pair_ranks(scores, pairs), pairs[:, 0])
    assert got == pytest.approx(expected, abs=1e-12)


def test_hand_derived_ranks():
    scores = [[0.9, 0.1, 0.5], [0.2, 0.2, 0.2], [0.3, 0.8, 0.8]]
    assert metrics.ranks(scores, [2, 1, 1]).tolist() == [2, 3, 2]
    assert metrics.ranks(scores, [2, 1, 1], ties="best").tolist() == [2, 1, 1]
    # Query 0: right are columns 1 and 2, behind the wrong 0. Query 2: right are 0 and 2; wrong 1 ties with 2.
    pairs = [[0, 1], [0, 2], [2, 0], [2, 2]]
    assert metrics.pair_ranks(scores, pairs).tolist() == [3, 2, 3, 2]
    assert metrics.pair_ranks(scores, pairs, ties="best").tolist() == [3, 2, 3, 1]


def test_values_of_known_ranks():
    assert metrics.mrr([1, 2, 4, 4]) == pytest.approx((1 + 0.5 + 0.25 + 0.25) / 4)
    assert metrics.hit_at_k([1, 2, 4, 4], 2) == 0.5
    assert metrics.median_rank([1, 2, 4, 4]) == 3
    rank, query = [5, 1, 2, 10], [7, 3, 7, 7]  # query 3: rank 1; query 7: ranks 2, 5, 10
    assert metrics.first_ranks(rank, query).tolist() == [1, 2]
    assert metrics.recall_at_k(rank, query, 5) == pytest.approx((1 + 2 / 3) / 2)
    assert metrics.mean_average_precision(rank, query) == pytest.approx((1 + (1 / 2 + 2 / 5 + 3 / 10) / 3) / 2)
    found = metrics.evaluate(rank, 10, hits=(1, 5), queries=query)
    assert (found["queries"], found["mrr"], found["hit@1"], found["recall@5"]) == (2, 0.75, 0.5, pytest.approx(5 / 6))
    assert found["map"] == metrics.mean_average_precision(rank, query)


def test_with_one_answer_each_recall_is_hit_and_map_is_mrr(rng):
    rank = metrics.ranks(rng.random((50, 30)), rng.integers(0, 30, 50))
    found = metrics.evaluate(rank, 30, hits=(1, 3, 10), queries=np.arange(50))
    assert found["map"] == pytest.approx(found["mrr"])
    assert [found[f"recall@{k}"] for k in (1, 3, 10)] == pytest.approx([found[f"hit@{k}"] for k in (1, 3, 10)])
    assert found["mrr"] == metrics.evaluate(rank, 30)["mrr"]


def test_both_directions(rng):
    scores = rng.random((12, 9))
    pairs = some_pairs(rng, 12, 9, most=2)
    back = metrics.pair_ranks(scores.T, pairs[:, ::-1])
    # The reverse order of every reference among the queries, sorted by hand.
    for (query, reference), rank in zip(pairs, back, strict=True):
        order = sorted(range(12), key=lambda q: -scores[q, reference])
        assert order.index(query) + 1 == rank


# Perfect, reversed, all tied, empty


def test_perfect_and_reversed_orders():
    n = 12
    perfect = metrics.evaluate(metrics.ranks(np.eye(n), np.arange(n)), n, queries=np.arange(n))
    ones = ("mrr", "hit@1", "recall@1", "map", "median_rank")
    assert [perfect[name] for name in ones] == [1] * 5
    wrong = metrics.ranks(1 - np.eye(n), np.arange(n))
    reversed_ = metrics.evaluate(wrong, n, hits=(1, n - 1, n), queries=np.arange(n))
    assert reversed_["mrr"] == reversed_["map"] == pytest.approx(1 / n) and reversed_["median_rank"] == n
    assert [reversed_[f"hit@{k}"] for k in (1, n - 1, n)] == [0, 0, 1]
    assert [reversed_[f"recall@{k}"] for k in (1, n - 1, n)] == [0, 0, 1]


def test_perfect_and_reversed_with_several_answers():
    scores, pairs = np.array([[5.0, 4, 3, 2, 1]]), [[0, 0], [0, 1]]
    perfect = metrics.pair_ranks(scores, pairs)
    assert metrics.mean_average_precision(perfect, [0, 0]) == 1 and perfect.tolist() == [1, 2]
    last = metrics.pair_ranks(-scores, pairs)
    assert last.tolist() == [5, 4]
    assert metrics.mean_average_precision(last, [0, 0]) == pytest.approx((1 / 4 + 2 / 5) / 2)


@pytest.mark.parametrize("scale", [1, 0.1, 1e-20, 1e20])
def test_a_model_that_says_the_same_of_everything_gains_nothing(rng, scale):
    n = 8
    vector = rng.standard_normal(768).astype(np.float32)
    same = (vector * np.linspace(1, 3, n)[:, None] * scale).astype(np.float32)  # one direction, any length
    best, worst = rank_bounds(same, same, np.arange(n))
    assert worst.tolist() == [n] * n and metrics.mrr(worst) == pytest.approx(1 / n)
    assert best.tolist() == [1] * n and cosine_ranks(same, same, np.arange(n), ties="best").tolist() == [1] * n
    pairs = [[0, 1], [0, 2], [0, 5]]
    assert sorted(cosine_ranks(same, same, pairs)) == [n - 2, n - 1, n]
    assert sorted(cosine_ranks(same, same, pairs, ties="best")) == [1, 2, 3]


def test_no_queries_warn_and_give_zero():
    with pytest.warns(UserWarning, match="no queries"):
        empty = metrics.ranks(np.zeros((0, 5)), [])
    assert empty.shape == (0,)
    with pytest.warns(UserWarning, match="no queries"):
        assert metrics.pair_ranks(np.zeros((3, 5)), np.zeros((0, 2), int)).shape == (0,)
    with pytest.warns(UserWarning, match="no queries"):
        assert cosine_ranks(np.zeros((0, 3)), np.ones((5, 3)), []).shape == (0,)
    found = metrics.evaluate(empty, 5, queries=[])
    measured = [name for name in found if name not in ("references", "chance_mrr")]
    assert len(measured) == 11 and not any(found[name] for name in measured)
    assert pair_similarity(np.ones((2, 3)), np.ones((2, 3)), []).shape == (0,)


# Malformed


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


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([[0, 1, 2]], r"shape \(pairs, 2\)"),
        ([[0, 3]], "references of pairs must lie in 0 to 2"),
        ([[2, 0]], "queries of pairs must lie in 0 to 1"),
        ([[0, 1], [1, 0], [0, 1]], "twice"),
        ([[0.0, 1.0]], "whole numbers"),
    ],
)
def test_malformed_pairs_are_named(pairs, message):
    with pytest.raises(DataError, match=message):
        metrics.pair_ranks(np.ones((2, 3)), pairs)
    with pytest.raises(DataError, match=message):
        cosine_ranks(np.ones((2, 4)), np.ones((3, 4)), pairs)


def test_other_malformed_arguments_are_named():
    with pytest.raises(DataError, match="ties"):
        metrics.ranks([[1.0]], [0], ties="average")
    with pytest.raises(DataError, match="ties"):
        cosine_ranks([[1.0]], [[1.0]], [0], ties="average")
    with pytest.raises(DataError, match="one model"):
        cosine_ranks(np.ones((2, 3)), np.ones((2, 4)), [0, 1])
    with pytest.raises(DataError, match="2 targets for 3 queries"):
        cosine_ranks(np.ones((3, 3)), np.ones((2, 3)), [0, 1])
    with pytest.raises(DataError, match="NaN"):
        cosine_ranks([[1.0, np.inf]], [[1.0, 2.0]], [0])
    with pytest.raises(DataError, match="items, width"):
        cosine_ranks([1.0, 2.0], [[1.0, 2.0]], [0, 0])
    with pytest.raises(DataError, match="chunk"):
        cosine_ranks([[1.0]], [[1.0]], [0], chunk=0)
    with pytest.raises(DataError, match="did you pass scores"):
        metrics.mrr([0.3, 0.7])
    for wrong in (lambda: metrics.hit_at_k([1], 0), lambda: metrics.recall_at_k([1], [0], 0)):
        with pytest.raises(DataError, match="k must be at least 1"):
            wrong()
    with pytest.raises(DataError, match="1 queries for 2 ranks"):
        metrics.mean_average_precision([1, 2], [0])
    with pytest.raises(DataError, match="impossible"):
        metrics.evaluate([7], 5)
    with pytest.raises(DataError, match="at least one reference"):
        metrics.chance_mrr(0)
    with pytest.raises(DataError, match="cannot be right"):
        metrics.chance_mrr(3, 4)
    for measure in (group_similarity, mean_similarity):
        with pytest.raises(DataError, match="without vectors"):
            measure(np.zeros((0, 3)), np.ones((2, 3)))
        with pytest.raises(DataError, match="one model"):
            measure(np.ones((2, 4)), np.ones((2, 3)))


# Cosines in blocks


@pytest.mark.parametrize("ties", ["worst", "best"])
def test_cosine_ranks_equal_those_of_the_whole_matrix(rng, ties):
    references = rng.standard_normal((60, 16)).astype(np.float32)
    queries = references[rng.integers(0, 60, 80)] + rng.standard_normal((80, 16)).astype(np.float32)
    pairs = some_pairs(rng, 80, 60)
    left, right = (values / np.linalg.norm(values.astype(float), axis=1)[:, None] for values in (queries, references))
    expected = metrics.pair_ranks(left @ right.T, pairs, ties=ties)
    assert cosine_ranks(queries, references, pairs, ties=ties).tolist() == expected.tolist()


def test_ranks_do_not_depend_on_the_chunk_size(rng):
    references = np.repeat(rng.normal(size=(10, 6)), 3, axis=0)  # every reference three times: exact ties
    queries, targets = rng.normal(size=(31, 6)), rng.integers(0, 30, 31)
    pairs = some_pairs(rng, 31, 30)
    whole = cosine_ranks(queries, references, targets, chunk=1000)
    several = cosine_ranks(queries, references, pairs, chunk=1000)
    for chunk in (1, 2, 7, 30, 31):
        assert cosine_ranks(queries, references, targets, chunk=chunk).tolist() == whole.tolist()
        assert cosine_ranks(queries, references, pairs, chunk=chunk).tolist() == several.tolist()
    assert (whole >= 3).all()  # two twins always count against the query


def test_what_single_precision_cannot_tell_apart_is_decided_in_double(rng):
    # References that differ from the target by less than single precision resolves in a sum of 768 products.
    target, other = rng.standard_normal((2, 768))
    other -= target * (other @ target) / (target @ target)
    other *= np.linalg.norm(target) / np.linalg.norm(other)
    steps = np.arange(40) * 1.5e-3  # cosines 1 - step² / 2, at least 1e-6 apart
    references = target + steps[:, None] * other
    assert cosine_ranks([target] * 40, references, np.arange(40)).tolist() == list(range(1, 41))


def test_memory_maps_are_read_in_blocks(rng, tmp_path):
    references = rng.standard_normal((50, 8)).astype(np.float32)
    np.save(tmp_path / "references.npy", references)
    mapped = np.load(tmp_path / "references.npy", mmap_mode="r")
    assert cosine_ranks(mapped, mapped, np.arange(50), chunk=7).tolist() == [1] * 50


def test_memory_depends_on_the_chunk_and_not_on_the_references(rng):
    references = rng.standard_normal((40_000, 16), dtype=np.float32)
    queries, targets = references[:300], np.arange(300)
    tracemalloc.start()
    try:
        cosine_ranks(queries, references, targets, chunk=256)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 << 20  # the whole matrix has 46 MiB, a copy of the references 2.4


def test_two_thousand_queries_take_no_time(rng):
    vectors = rng.standard_normal((2000, 768), dtype=np.float32)
    started = time.process_time()
    assert (cosine_ranks(vectors, vectors, np.arange(2000)) == 1).all()
    assert time.process_time() - started < 10  # measured: 0.2; one query at a time took the released script 95 s


def test_cosine_ranks_ignore_lengths_and_survive_zero_vectors(rng):
    references = rng.normal(size=(9, 4))
    stretched = references * rng.uniform(0.1, 50, (9, 1))
    assert cosine_ranks(references, stretched, np.arange(9)).tolist() == [1] * 9
    references[4] = 0
    assert cosine_ranks(references[4:5], references, [4]).tolist() == [9]


def test_similarities_by_hand():
    queries, references = np.array([[3.0, 4.0], [1.0, 0.0]]), np.array([[0.0, 2.0], [5.0, 0.0]])
    assert pair_similarity(queries, references, [[0, 0], [1, 1], [1, 0]]) == pytest.approx([0.8, 1, 0])
    # Means (2, 2) and (2.5, 1): lengths count. All four cosines: 0.8, 0.6, 0, 1.
    assert group_similarity(queries, references) == pytest.approx(7 / (np.sqrt(8) * np.sqrt(7.25)))
    assert mean_similarity(queries, references) == pytest.approx((0.8 + 0.6 + 0 + 1) / 4)


def test_similarity_of_pairs_equals_one_at_a_time(rng):
    queries, references = rng.standard_normal((20, 5)), rng.standard_normal((30, 5))
    pairs = some_pairs(rng, 20, 30)
    one = [
        queries[q] @ references[r] / np.sqrt(queries[q] @ queries[q]) / np.sqrt(references[r] @ references[r])
        for q, r in pairs
    ]
    np.testing.assert_allclose(pair_similarity(queries, references, pairs), one, atol=1e-14)


# Chance


def test_chance_is_the_harmonic_mean_of_a_random_order(rng):
    assert metrics.chance_mrr(1) == 1
    assert metrics.chance_mrr(3) == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    exact = sum(1 / rank for rank in range(1, 10_002)) / 10_001
    assert metrics.chance_mrr(10_001) == pytest.approx(exact, rel=1e-8)
    drawn = metrics.mrr(metrics.ranks(rng.random((4000, 50)), rng.integers(0, 50, 4000)))
    assert drawn == pytest.approx(metrics.chance_mrr(50), rel=0.1)


def test_chance_with_several_right_answers(rng):
    assert metrics.chance_mrr(3, 3) == 1
    # Two of three: the wrong one comes first in a third of the orders.
    assert metrics.chance_mrr(3, 2) == pytest.approx(2 / 3 * 1 + 1 / 3 * 1 / 2)
    pairs = [(q, r) for q in range(3000) for r in range(4)]
    found = metrics.evaluate(metrics.pair_ranks(rng.random((3000, 20)), pairs), 20, queries=np.array(pairs)[:, 0])
    assert found["chance_mrr"] == metrics.chance_mrr(20, 4)
    assert found["times_chance"] == pytest.approx(1, abs=0.05)
