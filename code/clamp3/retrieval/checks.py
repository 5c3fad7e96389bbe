"""Checks of the arrays that retrieval metrics take; `clamp3.retrieval.metrics` says what they hold."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clamp3.errors import DataError


def as_scores(scores: ArrayLike) -> NDArray[np.floating]:
    """Return scores as an array of floats.

    Raises
    ------
    DataError
        If they are no (Q, N) array of finite numbers.
    """
    values = np.asarray(scores)
    values = values if np.issubdtype(values.dtype, np.floating) else values.astype(np.float64)
    if values.ndim != 2:
        raise DataError(f"scores must have shape (queries, references), got {values.shape}.")
    if not np.isfinite(values).all():
        raise DataError("scores hold NaN or infinity; leave inputs that failed to encode out of the evaluation.")
    return values


def as_pairs(targets: ArrayLike) -> NDArray[np.int64]:
    """Return targets (Q,), or pairs (P, 2), as pairs.

    Raises
    ------
    DataError
        If they are not whole numbers.
    """
    values = np.asarray(targets)
    if not values.size:
        return np.zeros((0, 2), np.int64)
    if not np.issubdtype(values.dtype, np.integer):
        raise DataError(f"targets must be whole numbers (columns of scores), got {values.dtype}.")
    return np.stack([np.arange(len(values)), values], axis=1) if values.ndim == 1 else values.astype(np.int64)


def check_pairs(pairs: NDArray[np.integer], n_queries: int, n_references: int) -> None:
    """Check that pairs are rows of queries and references, each pair once.

    Parameters
    ----------
    pairs : array of int, shape (P, 2)
    n_queries, n_references : int

    Raises
    ------
    DataError
        If not.
    """
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise DataError(f"pairs must have shape (pairs, 2), query and reference, got {pairs.shape}.")
    check_rows(pairs[:, 0], n_queries, "the queries of pairs")
    check_rows(pairs[:, 1], n_references, "the references of pairs")
    if len(np.unique(pairs, axis=0)) != len(pairs):
        raise DataError("pairs must differ; a pair that occurs twice would count twice.")


def check_rows(rows: NDArray[np.integer], n: int, what: str) -> None:
    """Check that numbers are rows of ``n``.

    Parameters
    ----------
    rows : array of int
    n : int
    what : str
        How messages call them.

    Raises
    ------
    DataError
        If not.
    """
    if not np.issubdtype(rows.dtype, np.integer):
        raise DataError(f"{what} must be whole numbers (columns of scores), got {rows.dtype}.")
    if rows.size and (rows.min() < 0 or rows.max() >= n):
        raise DataError(f"{what} must lie in 0 to {n - 1}, got {rows.min()} to {rows.max()}.")


def warn_if_empty(pairs: NDArray[np.integer]) -> None:
    """Warn that there is nothing to measure."""
    if not len(pairs):
        warnings.warn("no queries: every metric is 0.", stacklevel=3)
