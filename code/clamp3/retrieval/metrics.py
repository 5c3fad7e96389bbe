"""How well queries find their references: ranks, reciprocal rank, hit rates, recall, average precision, intervals.

Conventions
-----------
- ``scores`` is a float array of shape (Q, N): query q's similarity to reference n, higher is better.
- The ground truth is either ``targets``, an int array of shape (Q,), one column per query, or ``pairs``, an int array
  of shape (P, 2) of (query, reference), where queries may have several references and references several queries. The
  other direction is ``scores.T`` with ``pairs[:, ::-1]``.
- Ranks start at 1; `clamp3.index.ties` has the rule for equal scores. ``ties="worst"`` is the default, ``"best"`` is
  what the released evaluation does.
- Queries without any right reference do not count.
- All functions are pure numpy on the CPU. For vectors too many for one matrix see `clamp3.retrieval.cosine`.

Metrics
-------
- Mean reciprocal rank (MRR): mean of 1 / rank of the first right reference.
- Hit@k: share of queries with a right reference among the first k.
- Recall@k: share of a query's right references among the first k, averaged over queries; with one each it is Hit@k.
- NDCG@k: the gain 1 / log2(rank + 1) of right references up to k, relative to the best possible order.
- Mean average precision (mAP): for each query the mean of j / rank of its j-th right reference, averaged; with one
  right reference each it is MRR.
- Median rank of the first right reference.
- Chance MRR: the expected MRR of a random order of N references.
- Intervals: `clamp3.retrieval.confidence`.

Without queries every metric is 0, and a warning says so.

References
----------
E. M. Voorhees: The TREC-8 Question Answering Track Report, 1999 (mean reciprocal rank).
C. D. Manning, P. Raghavan, H. Schütze: Introduction to Information Retrieval, 2008, chapter 8 (average precision).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clamp3.errors import DataError
from clamp3.index.ties import check_ties, precedes, ranks_of_pairs
from clamp3.retrieval.checks import as_pairs, as_scores, check_pairs, check_rows, warn_if_empty

HITS = (1, 10, 100)


def ranks(scores: ArrayLike, targets: ArrayLike, *, ties: str = "worst") -> NDArray[np.int64]:
    """Return the rank of every query's target.

    Parameters
    ----------
    scores : array of float, shape (Q, N)
        Similarities, higher is better.
    targets : array of int, shape (Q,)
        Column of each query's right reference.
    ties : {"worst", "best"}
        Whether references with exactly the target's score come before or after it.

    Returns
    -------
    array of int64, shape (Q,)
        From 1.

    Raises
    ------
    DataError
        If scores are no finite matrix, targets are not one column per query, or ``ties`` is unknown.

    Examples
    --------
    >>> ranks([[0.9, 0.1, 0.5], [0.2, 0.2, 0.2]], [2, 1])
    array([2, 3])
    >>> ranks([[0.9, 0.1, 0.5], [0.2, 0.2, 0.2]], [2, 1], ties="best")
    array([2, 1])
    """
    values, columns = as_scores(scores), np.asarray(targets)
    if columns.shape != values.shape[:1]:
        raise DataError(
            f"targets must have shape {values.shape[:1]}, one per query, got {columns.shape}; "
            "did you transpose the scores?"
        )
    if columns.size:
        check_rows(columns, values.shape[1], "targets")
    return pair_ranks(values, columns, ties=ties)


def pair_ranks(scores: ArrayLike, pairs: ArrayLike, *, ties: str = "worst") -> NDArray[np.int64]:
    """Return for every pair the rank of its reference in the order of its query.

    Parameters
    ----------
    scores : array of float, shape (Q, N)
    pairs : array of int, shape (P, 2)
        All right references of every query.
    ties : {"worst", "best"}
        Whether wrong references with exactly a right one's score come before or after it.

    Returns
    -------
    array of int64, shape (P,)
        From 1; no two alike within a query.

    Raises
    ------
    DataError
        If scores are no finite matrix, pairs are no rows of it or occur twice, or ``ties`` is unknown.

    Examples
    --------
    >>> pair_ranks([[0.9, 0.1, 0.5]], [[0, 1], [0, 2]])
    array([3, 2])
    """
    check_ties(ties)
    values, rows = as_scores(scores), as_pairs(pairs)
    check_pairs(rows, *values.shape)
    warn_if_empty(rows)
    own = values[rows[:, 0], rows[:, 1]]  # (P,)
    counted = np.empty(len(rows), np.int64)
    for place, (query, score) in enumerate(zip(rows[:, 0], own, strict=True)):
        counted[place] = np.count_nonzero(precedes(values[query], score, ties))
    return ranks_of_pairs(counted, own, rows[:, 0], ties=ties)


def mrr(rank: ArrayLike) -> float:
    """Return the mean reciprocal rank; 0 without queries.

    >>> mrr([1, 2, 4, 4])
    0.5
    """
    return _mean(1 / _checked(rank))


def hit_at_k(rank: ArrayLike, k: int) -> float:
    """Return the share of ranks up to ``k``; 0 without queries.

    Parameters
    ----------
    rank : array of int, shape (Q,)
    k : int

    Raises
    ------
    DataError
        If ``k`` is less than 1.

    Examples
    --------
    >>> hit_at_k([1, 2, 4, 4], 3)
    0.5
    """
    return _mean(_checked(rank) <= _checked_k(k))


def median_rank(rank: ArrayLike) -> float:
    """Return the median rank; 0 without queries.

    >>> median_rank([1, 2, 4, 4])
    3.0
    """
    values = _checked(rank)
    return float(np.median(values)) if values.size else 0.0


def first_ranks(pair_rank: ArrayLike, queries: ArrayLike) -> NDArray[np.float64]:
    """Return the rank of each query's best right reference, in the order of queries.

    Parameters
    ----------
    pair_rank : array of int, shape (P,)
        From `pair_ranks`.
    queries : array of int, shape (P,)
        First column of ``pairs``.

    Returns
    -------
    array of float64, shape (queries that have a pair,)

    Examples
    --------
    >>> first_ranks([5, 1, 2], [7, 3, 7])
    array([1., 2.])
    """
    return by_query(pair_rank, queries, lambda rank: rank[0])


def recall_at_k(pair_rank: ArrayLike, queries: ArrayLike, k: int) -> float:
    """Return the share of right references up to rank ``k``, averaged over queries.

    Parameters
    ----------
    pair_rank, queries
        As in `first_ranks`.
    k : int

    Examples
    --------
    >>> recall_at_k([5, 1, 2], [7, 3, 7], 4)
    0.75
    """
    _checked_k(k)
    return _mean(by_query(pair_rank, queries, lambda rank: (rank <= k).mean()))


def mean_average_precision(pair_rank: ArrayLike, queries: ArrayLike) -> float:
    """Return the mean average precision (mAP).

    Parameters
    ----------
    pair_rank, queries
        As in `first_ranks`.

    Examples
    --------
    >>> mean_average_precision([5, 1, 2], [7, 3, 7])  # query 3: 1; query 7: (1 / 2 + 2 / 5) / 2
    0.725
    """
    return _mean(by_query(pair_rank, queries, lambda rank: (np.arange(1, len(rank) + 1) / rank).mean()))


def ndcg_at_k(pair_rank: ArrayLike, queries: ArrayLike, k: int) -> float:
    """Return the normalised discounted cumulative gain up to rank ``k``, averaged over queries.

    Every right reference gains 1 / log2(rank + 1); the sum is divided by that of the best possible order.

    Parameters
    ----------
    pair_rank, queries
        As in `first_ranks`.
    k : int

    Examples
    --------
    >>> round(ndcg_at_k([1, 3, 2], [0, 0, 1], 10), 4)  # query 0: 1.5 / 1.6309; query 1: 0.6309 / 1
    0.7753
    """
    return _mean(by_query(pair_rank, queries, lambda rank: ndcg_of(rank, _checked_k(k))))


def ndcg_of(rank: NDArray[np.float64], k: int) -> float:
    """Return the gain of one query from the ranks of its right references; see `ndcg_at_k`."""
    best = 1 / np.log2(np.arange(min(k, len(rank))) + 2)
    return float((1 / np.log2(rank[rank <= k] + 1)).sum() / best.sum())


def chance_mrr(n_references: int, n_right: int = 1) -> float:
    """Return the expected MRR of a random order.

    With one right reference it is the harmonic number H(N) over N.

    Parameters
    ----------
    n_references : int
        N.
    n_right : int
        How many of them are right.

    Raises
    ------
    DataError
        If there is no reference, or none or more than all are right.

    Examples
    --------
    >>> chance_mrr(2), chance_mrr(3, 3)
    (0.75, 1.0)
    """
    if n_references < 1:
        raise DataError(f"chance needs at least one reference, got {n_references}.")
    if not 1 <= n_right <= n_references:
        raise DataError(f"{n_right} of {n_references} references cannot be right.")
    if n_right == 1 and n_references > 10_000:  # ln N + Euler's constant, then off by less than 1e-4 of the value
        return (math.log(n_references) + np.euler_gamma + 0.5 / n_references) / n_references
    # P(first right at k + 1) = P(first right at k) (N - k - R + 1) / (N - k)
    k = np.arange(1, n_references - n_right + 1)
    later = np.cumprod((n_references - k - n_right + 1) / (n_references - k))
    first = n_right / n_references * np.concatenate([[1.0], later])
    return math.fsum(first / np.arange(1, len(first) + 1))


def evaluate(
    rank: ArrayLike, n_references: int, *, hits: Sequence[int] = HITS, queries: ArrayLike | None = None
) -> dict[str, float]:
    """Return all metrics of one retrieval task.

    Parameters
    ----------
    rank : array of int, shape (Q,) or (P,)
        From `ranks` or `pair_ranks`.
    n_references : int
        How many references were ranked.
    hits : sequence of int
        The k of Hit@k.
    queries : array of int, shape (P,), optional
        Query of each rank, where queries may have several right references.

    Returns
    -------
    dict
        ``queries references mrr hit@k… median_rank chance_mrr times_chance``, in this order; with ``queries`` also
        ``recall@k… map``.

    Examples
    --------
    >>> found = evaluate([1, 2, 4, 4], 10, hits=(1, 3))
    >>> found["mrr"], found["hit@1"], found["hit@3"], found["median_rank"]
    (0.5, 0.25, 0.5, 3.0)
    """
    values = _checked(rank)
    if values.size and values.max() > n_references:
        raise DataError(f"a rank of {int(values.max())} among {n_references} references is impossible.")
    owners = np.arange(len(values)) if queries is None else np.asarray(queries)
    first = first_ranks(values, owners)
    chance = _chance(owners, n_references)
    found = {"queries": float(len(first)), "references": float(n_references), "mrr": mrr(first)}
    found.update({f"hit@{k}": hit_at_k(first, k) for k in hits})
    found.update({"median_rank": median_rank(first), "chance_mrr": chance, "times_chance": mrr(first) / chance})
    if queries is not None:
        found.update({f"recall@{k}": recall_at_k(values, owners, k) for k in hits})
        found["map"] = mean_average_precision(values, owners)
    return found


def _checked(rank: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(rank, dtype=np.float64)
    if values.ndim != 1 or (values.size and not (values >= 1).all()):
        raise DataError("ranks must be a flat array of numbers from 1; did you pass scores?")
    return values


def _checked_k(k: int) -> int:
    if k < 1:
        raise DataError(f"k must be at least 1, got {k}.")
    return k


def _mean(values: NDArray[np.generic]) -> float:
    return float(values.mean()) if values.size else 0.0


def by_query(
    pair_rank: ArrayLike, queries: ArrayLike, measure: Callable[[NDArray[np.float64]], float]
) -> NDArray[np.float64]:
    """Return a measure of every query, in the order of queries.

    Parameters
    ----------
    pair_rank, queries
        As in `first_ranks`.
    measure : callable
        Takes a query's ranks, rising.
    """
    values, owners = _checked(pair_rank), np.asarray(queries)
    if owners.shape != values.shape:
        raise DataError(f"{len(owners)} queries for {len(values)} ranks.")
    if not values.size:
        return np.zeros(0)
    order = np.lexsort((values, owners))
    groups = np.split(values[order], np.flatnonzero(np.diff(owners[order])) + 1)
    return np.array([measure(group) for group in groups], np.float64)


def _chance(owners: NDArray[np.integer], n_references: int) -> float:
    """Return the chance MRR of queries with so many right references each."""
    if not owners.size:
        return chance_mrr(n_references)
    n_right, n_queries = np.unique(np.unique(owners, return_counts=True)[1], return_counts=True)
    chances = [chance_mrr(n_references, int(n)) for n in n_right]
    return float(np.average(chances, weights=n_queries))
