"""Cosines of many vectors: ranks among millions in bounded memory, and similarity of pairs and of groups.

Conventions
-----------
- ``queries`` (Q, D) and ``references`` (N, D) are float arrays of any length of rows; a zero vector has cosine 0 to
  everything. They may be memory-mapped: a block of each is read at a time.
- Cosines that differ by no more than `clamp3.index.ties.TIE` are equal.
- Ranks are those of double precision, whatever the block size. Blocks are multiplied in single precision, and what its
  rounding leaves undecided is computed again in double precision.

References
----------
N. J. Higham: Accuracy and Stability of Numerical Algorithms, 2002, section 3.1 (the bound on a dot product's rounding).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clamp3.errors import DataError
from clamp3.index.ranking import unit_rows
from clamp3.index.ties import TIE, check_ties, precedes, ranks_of_pairs
from clamp3.retrieval.checks import as_pairs, check_pairs, warn_if_empty

BLOCK = 4096  # 64 MB of single-precision cosines
_PAIRS_AT_ONCE = 4096
_UNIT = 2.0**-24  # rounding of one operation in single precision


def cosine_ranks(
    queries: ArrayLike, references: ArrayLike, targets: ArrayLike, *, ties: str = "worst", chunk: int = BLOCK
) -> NDArray[np.int64]:
    """Return the rank of every query's target by cosine, without the whole (Q, N) matrix in memory.

    Parameters
    ----------
    queries, references : arrays of float, shapes (Q, D) and (N, D)
    targets : array of int, shape (Q,) or (P, 2)
        Row of ``references`` that answers each query, or pairs of (query, reference).
    ties : {"worst", "best"}
        As in `clamp3.retrieval.metrics`.
    chunk : int
        Rows of queries and of references multiplied at once.

    Returns
    -------
    array of int64, shape (Q,) or (P,)
        From 1.

    Raises
    ------
    DataError
        If the widths differ, numbers are not finite, a target is no row, or an argument is out of range.

    Examples
    --------
    >>> references = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> cosine_ranks([[2.0, 1.0], [1.0, 3.0]], references, [0, 1])
    array([2, 1])
    """
    check_ties(ties)
    best, worst = rank_bounds(queries, references, targets, chunk=chunk)
    return worst if ties == "worst" else best


def rank_bounds(
    queries: ArrayLike, references: ArrayLike, targets: ArrayLike, *, chunk: int = BLOCK
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the ranks with ties resolved for and against the queries; where they differ, there are ties.

    Parameters
    ----------
    queries, references, targets, chunk
        As in `cosine_ranks`.

    Returns
    -------
    best, worst : arrays of int64, shape (Q,) or (P,)
    """
    left, right, pairs = _checked(queries, references, targets)
    if chunk < 1:
        raise DataError(f"chunk must be at least 1, got {chunk}.")
    warn_if_empty(pairs)
    own = pair_similarity(left, right, pairs)
    more, most = np.zeros(len(pairs), np.int64), np.zeros(len(pairs), np.int64)
    order = np.argsort(pairs[:, 0], kind="stable")
    asked = np.unique(pairs[:, 0])
    for start in range(0, len(asked), chunk):
        rows = asked[start : start + chunk]
        first, last = np.searchsorted(pairs[order, 0], [rows[0], rows[-1] + 1])
        slots = _slots(order[first:last], np.searchsorted(rows, pairs[order[first:last], 0]))
        unit = unit_rows(left[rows])
        for begin in range(0, len(right), chunk):
            block = _Block(unit, unit_rows(right[begin : begin + chunk]))
            for members, lines in slots:
                greater, at_least = block.count(lines, own[members])
                more[members] += greater
                most[members] += at_least
    best = ranks_of_pairs(more, own, pairs[:, 0], ties="best", within=TIE)
    worst = ranks_of_pairs(most, own, pairs[:, 0], ties="worst", within=TIE)
    return best, worst


def pair_similarity(queries: ArrayLike, references: ArrayLike, pairs: ArrayLike) -> NDArray[np.float64]:
    """Return the cosine of every pair.

    Parameters
    ----------
    queries, references : arrays of float, shapes (Q, D) and (N, D)
    pairs : array of int, shape (P, 2)

    Returns
    -------
    array of float64, shape (P,)
    """
    left, right, rows = _checked(queries, references, pairs)
    found = np.empty(len(rows))
    for start in range(0, len(rows), _PAIRS_AT_ONCE):
        part = rows[start : start + _PAIRS_AT_ONCE]
        found[start : start + len(part)] = _dots(unit_rows(left[part[:, 0]]), unit_rows(right[part[:, 1]]))
    return found


def group_similarity(queries: ArrayLike, references: ArrayLike) -> float:
    """Return the cosine of the mean query and the mean reference, vectors not normalised (the released ``--group``).

    Parameters
    ----------
    queries, references : arrays of float, shapes (Q, D) and (N, D)

    Raises
    ------
    DataError
        If the widths differ or a group is empty.
    """
    left, right = _groups(queries, references)
    means = unit_rows(np.stack([left.mean(axis=0, dtype=np.float64), right.mean(axis=0, dtype=np.float64)]))
    return float(means[0] @ means[1])


def mean_similarity(queries: ArrayLike, references: ArrayLike) -> float:
    """Return the mean cosine over all Q times N pairs of a query and a reference.

    Parameters
    ----------
    queries, references : arrays of float, shapes (Q, D) and (N, D)

    Raises
    ------
    DataError
        If the widths differ or a group is empty.
    """
    left, right = _groups(queries, references)
    return float(unit_rows(left).mean(axis=0) @ unit_rows(right).mean(axis=0))


class _Block:
    """Cosines of some queries to some references, both of unit length and double precision."""

    def __init__(self, left: NDArray[np.float64], right: NDArray[np.float64]) -> None:
        self.left, self.right = left, right
        self.scores = left.astype(np.float32) @ right.astype(np.float32).T  # (q, n)
        # Rounding of the factors, of each of D products and of the sums, and of the bounds compared with.
        self.slack = TIE + (left.shape[1] + 4) * _UNIT

    def count(self, lines: NDArray[np.int64], own: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return how many references are better than ``own``, and how many at least equal, for some lines."""
        scores = self.scores if len(lines) == len(self.scores) else self.scores[lines]
        low = (own - self.slack).astype(np.float32)[:, None]
        high = (own + self.slack).astype(np.float32)[:, None]
        above = scores > high
        greater = _count_rows(above)
        at_least = greater.copy()
        near = np.logical_xor(scores >= low, above)
        cells = np.flatnonzero(near)
        if near.size < 16 * len(cells):  # dense, as where all vectors are alike: rather all of them
            exact = self.left[lines] @ self.right.T
            greater += _count_rows(near & precedes(exact, own[:, None], "best", within=TIE))
            at_least += _count_rows(near & precedes(exact, own[:, None], "worst", within=TIE))
            return greater, at_least
        rows, columns = np.divmod(cells, near.shape[1])
        for start in range(0, len(rows), _PAIRS_AT_ONCE):
            row, column = rows[start : start + _PAIRS_AT_ONCE], columns[start : start + _PAIRS_AT_ONCE]
            exact = _dots(self.left[lines[row]], self.right[column])
            greater += np.bincount(row[precedes(exact, own[row], "best", within=TIE)], minlength=len(own))
            at_least += np.bincount(row[precedes(exact, own[row], "worst", within=TIE)], minlength=len(own))
        return greater, at_least


def _slots(members: NDArray[np.int64], lines: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return the pairs (ordered by line) in groups in which no line occurs twice: all first ones, all second ones …"""
    starts = np.flatnonzero(np.diff(lines, prepend=-1))
    turn = np.arange(len(lines)) - np.repeat(starts, np.diff(starts, append=len(lines)))
    return [(members[turn == n], lines[turn == n]) for n in range(int(turn.max(initial=-1)) + 1)]


def _dots(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.einsum("pd,pd->p", left, right)


def _count_rows(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the number of True of each row; ten times as fast as ``mask.sum(axis=1)``."""
    return np.fromiter(map(np.count_nonzero, mask), np.int64, count=len(mask))


def _groups(queries: ArrayLike, references: ArrayLike) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    left, right, _ = _checked(queries, references, [])
    if not len(left) or not len(right):
        raise DataError("a group without vectors has no mean.")
    return left, right


def _checked(
    queries: ArrayLike, references: ArrayLike, targets: ArrayLike
) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.int64]]:
    left, right = np.asanyarray(queries), np.asanyarray(references)  # memory maps stay what they are
    for values in (left, right):
        if values.ndim != 2:
            raise DataError(f"vectors must have shape (items, width), got {values.shape}.")
    if left.shape[1] != right.shape[1]:
        raise DataError(f"queries are {left.shape[1]} wide, references {right.shape[1]}; are both of one model?")
    listed = np.asarray(targets)
    if listed.ndim == 1 and listed.size and len(listed) != len(left):
        raise DataError(f"{len(listed)} targets for {len(left)} queries.")
    pairs = as_pairs(listed)
    check_pairs(pairs, len(left), len(right))
    return left, right, pairs
