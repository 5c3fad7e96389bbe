"""The one rule for equal scores, in results and in metrics.

Two cosines are equal if they differ by no more than `TIE`: so much comes from the rounding of stored single-precision
vectors and from the order of additions.

- *In results* scores are rounded to `SCORE_DECIMALS`, and equal ones are ordered by name: `best_first`.
- *In metrics* the rank of a target among equal scores is ``"worst"`` (the default) or ``"best"``: all others of its
  score come before it, or none does: `precedes`. So a model that gives everything the same vector gets rank N and not
  rank 1. The right references of one query never push each other down: `ranks_of_pairs`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clamp3.embedding.cosines import SCORE_DECIMALS as SCORE_DECIMALS
from clamp3.errors import DataError

TIE = 1e-7
TIES = ("worst", "best")


def best_first(scores: Mapping[int, float], names: Sequence[str] | None = None) -> list[int]:
    """Return rows in the order of results: falling scores, equal ones by name.

    Parameters
    ----------
    scores : mapping from int to float
        Rounded scores by row.
    names : sequence of str, optional
        Names by row; without them the row number decides.

    Examples
    --------
    >>> best_first({0: 0.5, 1: 0.9, 2: 0.9}, ["a", "c", "b"])
    [2, 1, 0]
    """
    return sorted(scores, key=lambda row: (-scores[row], names[row] if names is not None else row))


def precedes(scores: Any, target: Any, ties: str = "worst", *, within: float = 0.0) -> Any:
    """Return where scores count as ranked before a target's; the rank is their number (+ 1 with ``"best"``).

    Parameters
    ----------
    scores, target : float arrays or tensors that broadcast
        With ``"worst"`` the target's own score counts too.
    ties : {"worst", "best"}
    within : float
        Scores that differ by no more than this are equal.

    Examples
    --------
    >>> scores = np.array([0.9, 0.5, 0.5, 0.1])
    >>> int(precedes(scores, 0.5).sum()), int(precedes(scores, 0.5, "best").sum()) + 1
    (3, 2)
    """
    return scores >= target - within if ties == "worst" else scores > target + within


def ranks_of_pairs(
    counted: NDArray[np.int64], own: NDArray[np.floating], queries: NDArray[np.int64], *, ties: str, within: float = 0.0
) -> NDArray[np.int64]:
    """Return the ranks of pairs from how many references precede them, wrong and right ones together.

    Of a query's right references the best gets its place among the wrong ones, the second that plus one, and so on.

    Parameters
    ----------
    counted : array of int, shape (P,)
        References that precede the pair's own, as `precedes` says.
    own : array of float, shape (P,)
        Scores of the pairs.
    queries : array of int, shape (P,)
    ties : {"worst", "best"}
    within : float
        Scores that differ by no more than this are equal.

    Returns
    -------
    array of int64, shape (P,)
        From 1.
    """
    rank = counted + (ties == "best")
    if len(np.unique(queries)) == len(queries):
        return rank
    order = np.lexsort((-own, queries))
    starts = np.flatnonzero(np.diff(queries[order])) + 1
    for group in np.split(order, starts):
        rising = own[group[::-1]]
        behind = (
            rising.searchsorted(rising - within) if ties == "worst" else rising.searchsorted(rising + within, "right")
        )
        right = len(group) - behind[::-1]  # as many as `precedes` counts, of the right ones alone
        rank[group] = counted[group] - right + np.arange(1, len(group) + 1)
    return rank


def check_ties(ties: str) -> None:
    """Raise `DataError` for an unknown rule."""
    if ties not in TIES:
        raise DataError(f"ties must be one of {', '.join(TIES)}, got {ties!r}.")
