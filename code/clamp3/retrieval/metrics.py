"""How well queries find their references: ranks, mean reciprocal rank, hit rates.

Conventions
-----------
- ``scores`` is a float array of shape (Q, N): query q's similarity to reference n, higher is better.
- ``targets`` is an int array of shape (Q,): the column that answers each query. Several queries may
  share one reference; a query has exactly one.
- Ranks start at 1. Where other references score exactly as much as the target, ``ties="worst"`` (the
  default) counts all of them as better, so a model that gives everything the same vector gets rank N
  and not rank 1; ``ties="best"`` counts none, as sorting by score with the target first does.
- All functions are pure numpy on the CPU; ranks do not depend on the chunk size.

Metrics
-------
- Mean reciprocal rank (MRR): mean of 1 / rank.
- Hit@k: share of queries whose target is among the first k.
- Median rank.
- Chance MRR: what a random order of N references gets, the mean of 1 / 1 … 1 / N.

References
----------
E. M. Voorhees: The TREC-8 Question Answering Track Report, 1999 (mean reciprocal rank).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clamp3.errors import DataError

TIES = ("worst", "best")
CHUNK = 1024
EULER = 0.5772156649015329


def validate(scores: NDArray[np.floating], targets: NDArray[np.integer]) -> None:
    """Check that scores and targets belong together.

    Raises
    ------
    DataError
        If ``scores`` is no (Q, N) array of finite numbers, if ``targets`` is no (Q,) array of whole
        numbers, or if a target is no column of ``scores``.
    """
    if scores.ndim != 2:
        raise DataError(f"scores must have shape (queries, references), got {scores.shape}.")
    if targets.shape != scores.shape[:1]:
        raise DataError(
            f"targets must have shape {scores.shape[:1]}, one per query, got {targets.shape}; "
            "did you transpose the scores?"
        )
    if not np.issubdtype(targets.dtype, np.integer):
        raise DataError(f"targets must be whole numbers (columns of scores), got {targets.dtype}.")
    if targets.size and (targets.min() < 0 or targets.max() >= scores.shape[1]):
        raise DataError(f"targets must lie in 0 to {scores.shape[1] - 1}, got {targets.min()} to {targets.max()}.")
    if not np.isfinite(scores).all():
        raise DataError("scores hold NaN or infinity; leave inputs that failed to encode out of the evaluation.")
    if not targets.size:
        warnings.warn("no queries: every metric is 0.", stacklevel=3)


def _rows(scores: ArrayLike, targets: ArrayLike) -> tuple[NDArray[np.floating], NDArray[np.integer]]:
    values, columns = np.asarray(scores), np.asarray(targets)
    if not np.issubdtype(values.dtype, np.floating):
        values = values.astype(np.float64)
    if not columns.size:
        columns = columns.astype(np.int64)
    validate(values, columns)
    return values, columns


def ranks(scores: ArrayLike, targets: ArrayLike, *, ties: str = "worst") -> NDArray[np.int64]:
    """Return the rank of every query's target.

    Parameters
    ----------
    scores : array of float, shape (Q, N)
        Similarities, higher is better.
    targets : array of int, shape (Q,)
        Column of each query's answer.
    ties : {"worst", "best"}
        Whether references with exactly the target's score come before or after it.

    Returns
    -------
    array of int64, shape (Q,)
        From 1.

    Raises
    ------
    DataError
        As `validate`, and for an unknown ``ties``.
    """
    if ties not in TIES:
        raise DataError(f"ties must be one of {', '.join(TIES)}, got {ties!r}.")
    values, columns = _rows(scores, targets)
    own = values[np.arange(len(columns)), columns][:, None]  # (Q, 1)
    if ties == "worst":
        return (values >= own).sum(axis=1, dtype=np.int64)  # the target itself counts, hence from 1
    return (values > own).sum(axis=1, dtype=np.int64) + 1


def cosine_ranks(
    queries: ArrayLike, references: ArrayLike, targets: ArrayLike, *, ties: str = "worst", chunk: int = CHUNK
) -> NDArray[np.int64]:
    """Return the rank of every query's target by cosine, without the whole (Q, N) matrix in memory.

    Parameters
    ----------
    queries, references : arrays of float, shapes (Q, D) and (N, D)
        Need not be normalised; a zero vector has cosine 0 to everything.
    targets : array of int, shape (Q,)
        Row of ``references`` that answers each query.
    ties : {"worst", "best"}
        See `ranks`.
    chunk : int
        Queries scored at once.

    Raises
    ------
    DataError
        As `ranks`, and if the widths differ.
    """
    left, right = unit_rows(queries), unit_rows(references)
    columns = np.asarray(targets)
    if left.shape[1] != right.shape[1]:
        raise DataError(f"queries are {left.shape[1]} wide, references {right.shape[1]}; are both of one model?")
    if len(columns) != len(left):
        raise DataError(f"{len(columns)} targets for {len(left)} queries.")
    if chunk < 1:
        raise DataError(f"chunk must be at least 1, got {chunk}.")
    # einsum without BLAS adds in one fixed order, so that equal rows tie exactly whatever the chunk.
    parts = [
        ranks(np.einsum("qd,nd->qn", left[at : at + chunk], right), columns[at : at + chunk], ties=ties)
        for at in range(0, len(left), chunk)
    ]
    return np.concatenate(parts) if parts else ranks(np.zeros((0, len(right))), columns, ties=ties)


def unit_rows(vectors: ArrayLike) -> NDArray[np.float64]:
    """Return the rows scaled to length 1; zero rows stay zero.

    Raises
    ------
    DataError
        If the array is not two-dimensional.
    """
    values = np.asarray(vectors, dtype=np.float64)
    if values.ndim != 2:
        raise DataError(f"vectors must have shape (items, width), got {values.shape}.")
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.divide(values, lengths, out=np.zeros_like(values), where=lengths > 0)


def _checked(rank: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(rank, dtype=np.float64)
    if values.ndim != 1 or (values.size and not (values >= 1).all()):
        raise DataError("ranks must be a flat array of numbers from 1; did you pass scores?")
    return values


def mrr(rank: ArrayLike) -> float:
    """Return the mean reciprocal rank; 0 without queries."""
    values = _checked(rank)
    return float((1 / values).mean()) if values.size else 0.0


def hit_at_k(rank: ArrayLike, k: int) -> float:
    """Return the share of ranks up to ``k``; 0 without queries.

    Raises
    ------
    DataError
        If ``k`` is less than 1.
    """
    values = _checked(rank)
    if k < 1:
        raise DataError(f"k must be at least 1, got {k}.")
    return float((values <= k).mean()) if values.size else 0.0


def median_rank(rank: ArrayLike) -> float:
    """Return the median rank; 0 without queries."""
    values = _checked(rank)
    return float(np.median(values)) if values.size else 0.0


def chance_mrr(n_references: int) -> float:
    """Return the expected MRR of a random order of ``n_references``: the harmonic number H(N) over N.

    Raises
    ------
    DataError
        If there is no reference.
    """
    if n_references < 1:
        raise DataError(f"chance needs at least one reference, got {n_references}.")
    if n_references > 10_000:  # ln N + Euler's constant, then off by less than 1e-4 of the value
        return (math.log(n_references) + EULER + 0.5 / n_references) / n_references
    return math.fsum(1 / rank for rank in range(1, n_references + 1)) / n_references


def evaluate(rank: ArrayLike, n_references: int, *, hits: Sequence[int] = (1, 10, 100)) -> dict[str, float]:
    """Return all metrics of one retrieval task.

    Parameters
    ----------
    rank : array of int, shape (Q,)
        From `ranks` or `cosine_ranks`.
    n_references : int
        How many references were ranked.
    hits : sequence of int
        The k of Hit@k.

    Returns
    -------
    dict
        ``queries references mrr hit@k… median_rank chance_mrr times_chance``, in this order.
    """
    values = _checked(rank)
    if values.size and values.max() > n_references:
        raise DataError(f"a rank of {int(values.max())} among {n_references} references is impossible.")
    chance = chance_mrr(n_references)
    found = {"queries": float(len(values)), "references": float(n_references), "mrr": mrr(values)}
    found.update({f"hit@{k}": hit_at_k(values, k) for k in hits})
    found.update({"median_rank": median_rank(values), "chance_mrr": chance, "times_chance": mrr(values) / chance})
    return found
