"""95 % intervals of retrieval metrics: what other queries and references of the same kind would give.

Conventions
-----------
- What is drawn again are groups: queries that share a reference, such as the captions of one recording, are one draw,
  since they succeed and fail together.
- Hit@k: Wilson's interval, with the queries counted as so many independent ones as explain the spread between groups.
- Means such as MRR: Bayesian bootstrap over groups. A tenth of the draws also have one group that was not observed, of
  value 0 for the lower end and 1 for the upper: a sample without a hit cannot show how good one would be. (With all
  draws this is Gaffke's bound, which is wider than need be.) `benchmarks/coverage_of_intervals.py` measures how often
  these intervals hold the truth, and those of percentile, BCa and studentised bootstrap beside them.
- Median rank: percentile bootstrap over groups.

References
----------
E. B. Wilson: Probable Inference, the Law of Succession, and Statistical Inference, 1927.
L. Kish: Survey Sampling, 1965, section 5.4 (effective number of observations).
D. B. Rubin: The Bayesian Bootstrap, 1981.
N. Gaffke: Three Test Statistics for a Nonparametric One-Sided Hypothesis on the Mean of a Nonnegative Variable, 2005.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clamp3.errors import DataError
from clamp3.retrieval.metrics import HITS

Ends = tuple[float, float]

FEW = 30  # groups; below, intervals of means are too narrow
MANY = 20_000  # groups; above, the distribution of their mean is normal
UNSEEN = 0.1  # share of draws with a group that was not observed
N_DRAWS = 2000
_DRAWS_AT_ONCE = 1 << 22  # bounds memory to 32 MB


def intervals(rank: ArrayLike, *, hits: Sequence[int] = HITS, groups: ArrayLike | None = None) -> dict[str, Ends]:
    """Return 95 % intervals of MRR, Hit@k and the median rank.

    Parameters
    ----------
    rank : array of int, shape (Q,)
        One per query, as from `clamp3.retrieval.metrics.ranks` or `first_ranks`.
    hits : sequence of int
        The k of Hit@k.
    groups : array of int, shape (Q,), optional
        Which queries belong together, such as the number of their reference; default: none.

    Examples
    --------
    >>> low, high = intervals([1] * 40, hits=(1,))["hit@1"]
    >>> round(low, 2), high
    (0.91, 1.0)
    """
    values = np.asarray(rank, np.float64)
    if values.ndim != 1 or (values.size and not (values >= 1).all()):
        raise DataError("ranks must be a flat array of numbers from 1; did you pass scores?")
    if any(k < 1 for k in hits):
        raise DataError(f"k must be at least 1, got {min(hits)}.")
    found = {"mrr": mean_interval(1 / values, groups)}
    found |= {f"hit@{k}": share_interval(values <= k, groups) for k in hits}
    return {**found, "median_rank": median_interval(values, groups)}


def share_interval(hit: ArrayLike, groups: ArrayLike | None = None, *, level: float = 0.95) -> Ends:
    """Return Wilson's interval of a share; (0, 0) without queries.

    Parameters
    ----------
    hit : array of bool, shape (Q,)
    groups : array of int, shape (Q,), optional
    level : float
    """
    values = np.asarray(hit, np.float64)
    sums, sizes = _by_group(values, groups, level)
    n = len(values)
    if not n:
        return 0.0, 0.0
    share = float(values.mean())
    binomial, between = n * share * (1 - share), float(((sums - share * sizes) ** 2).sum())
    # Without a hit, or without a miss, nothing shows how alike the queries of a group are: as alike as can be.
    effect = max(1.0, between / binomial if binomial else float((sizes**2).sum()) / n)
    n_effective, z = n / effect, NormalDist().inv_cdf((1 + level) / 2)
    middle = (share + z * z / (2 * n_effective)) / (1 + z * z / n_effective)
    half = z * sqrt(share * (1 - share) / n_effective + (z / (2 * n_effective)) ** 2) / (1 + z * z / n_effective)
    return (middle - half if share > 0 else 0.0), (middle + half if share < 1 else 1.0)


def mean_interval(values: ArrayLike, groups: ArrayLike | None = None, *, level: float = 0.95, seed: int = 0) -> Ends:
    """Return a Bayesian bootstrap interval of the mean of values between 0 and 1; (0, 0) without any.

    Parameters
    ----------
    values : array of float, shape (Q,)
        Such as reciprocal ranks.
    groups : array of int, shape (Q,), optional
    level : float
    seed : int
        Of the draws.

    Examples
    --------
    >>> low, high = mean_interval([0.0, 1.0] * 50)
    >>> 0.35 < low < 0.5 < high < 0.65
    True
    """
    data = np.asarray(values, np.float64)
    sums, sizes = _by_group(data, groups, level)
    if not len(sums):
        return 0.0, 0.0
    if data.min() < 0 or data.max() > 1:
        raise DataError("these values do not lie between 0 and 1.")
    if len(sums) > MANY:
        mean = float(data.mean())
        half = NormalDist().inv_cdf((1 + level) / 2) * float(np.sqrt(((sums - mean * sizes) ** 2).sum())) / len(data)
        return max(mean - half, 0.0), min(mean + half, 1.0)
    rng = np.random.default_rng(seed)
    at_once = max(1, _DRAWS_AT_ONCE // len(sums))
    low, high = np.empty(N_DRAWS), np.empty(N_DRAWS)
    unseen = rng.standard_exponential(N_DRAWS) * sizes.mean() * (np.arange(N_DRAWS) < UNSEEN * N_DRAWS)
    for start in range(0, N_DRAWS, at_once):
        part = slice(start, min(start + at_once, N_DRAWS))
        weights = rng.standard_exponential((part.stop - part.start, len(sums)))
        total, size = weights @ sums, weights @ sizes
        low[part] = total / (size + unseen[part])
        high[part] = (total + unseen[part]) / (size + unseen[part])
    ends = (1 - level) / 2, (1 + level) / 2
    return float(np.quantile(low, ends[0])), float(np.quantile(high, ends[1]))


def bootstrap_interval(
    values: ArrayLike, *, n_resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Return a percentile bootstrap interval of the mean of any numbers, such as differences of two systems.

    Parameters
    ----------
    values : array of float, shape (Q,)
    n_resamples : int
        Draws of Q values with replacement.
    seed : int
        Of the draws.
    level : float

    Raises
    ------
    DataError
        If ``values`` is not flat, ``level`` not between 0 and 1, or ``n_resamples`` below 1.
    """
    data, _ = _by_group(np.asarray(values, np.float64), None, level)
    if n_resamples < 1:
        raise DataError(f"an interval needs resamples, got {n_resamples}.")
    if not len(data):
        return 0.0, 0.0
    rng = np.random.default_rng(seed)
    at_once = max(1, _DRAWS_AT_ONCE // len(data))
    sizes = [min(at_once, n_resamples - start) for start in range(0, n_resamples, at_once)]
    drawn = [data[rng.integers(len(data), size=(size, len(data)))].mean(axis=1) for size in sizes]
    low, high = np.quantile(np.concatenate(drawn), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def median_interval(values: ArrayLike, groups: ArrayLike | None = None, *, level: float = 0.95, seed: int = 0) -> Ends:
    """Return a percentile bootstrap interval of the median; (0, 0) without values.

    Parameters
    ----------
    values : array of float, shape (Q,)
    groups : array of int, shape (Q,), optional
    level : float
    seed : int
        Of the draws.
    """
    data = np.asarray(values, np.float64)
    _, sizes = _by_group(data, groups, level)
    if not len(sizes):
        return 0.0, 0.0
    order = np.argsort(data, kind="stable")
    owners = np.arange(len(data)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    rng = np.random.default_rng(seed)
    n = len(sizes)
    drawn = []
    for _ in range(N_DRAWS // 2):
        times = np.bincount(rng.integers(n, size=n), minlength=n)[owners[order]]  # of each value, in their order
        half = np.cumsum(times)
        at = np.searchsorted(half, [(half[-1] + 1) // 2, half[-1] // 2 + 1])  # the two in the middle
        drawn.append(data[order[at]].mean())
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def caution(n_groups: int) -> str:
    """Return a sentence where there are too few groups for intervals to be trusted, else "".

    >>> caution(706)
    ''
    """
    if n_groups >= FEW:
        return ""
    return f"{n_groups} independent queries are too few: intervals are too narrow below {FEW}."


def _by_group(
    values: NDArray[np.float64], groups: ArrayLike | None, level: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the sum and the number of the values of each group."""
    if values.ndim != 1:
        raise DataError(f"values must be flat, one per query, got shape {values.shape}.")
    if not 0 < level < 1:
        raise DataError(f"an interval needs a level between 0 and 1, got {level}.")
    if groups is None:
        return values, np.ones(len(values))
    owners = np.asarray(groups)
    if owners.shape != values.shape:
        raise DataError(f"{len(owners)} groups for {len(values)} queries.")
    rows = np.unique(owners, return_inverse=True)[1]
    return np.bincount(rows, values).astype(np.float64), np.bincount(rows).astype(np.float64)
