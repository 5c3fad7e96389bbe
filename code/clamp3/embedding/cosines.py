"""Cosines of vectors, in double precision: what results, metrics and the notebook API agree on."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clamp3.errors import DataError

SCORE_DECIMALS = 7
"""To which scores in results are rounded; `clamp3.index.ties` says why."""
_SHORT, _LONG = 1e-140, 1e140  # of vectors whose squares are computed as they are
_CHUNK_ROWS = 8192  # bounds the float64 copy to 50 MB at width 768


def cosine(query: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the cosine of one query to each reference.

    Parameters
    ----------
    query : float array, shape (D,) or (1, D)
    reference : float array, shape (N, D)

    Returns
    -------
    float64 array, shape (N,)
        Rounded to `SCORE_DECIMALS`; a vector of zeros has cosine 0 with everything.

    Raises
    ------
    DataError
        If the shapes disagree.
    """
    query = np.asarray(query, np.float64)
    reference = np.asarray(reference)
    if query.ndim > 2 or query.size == 0 or query.shape[-1] != query.size:
        raise DataError(f"the query has shape {query.shape}; one vector, (D,) or (1, D), is needed.")
    query = query.reshape(-1)
    if reference.ndim != 2 or reference.shape[1] != query.size:
        raise DataError(
            f"the query has width {query.size} but the references have shape {reference.shape}; "
            "both must come from the same model."
        )
    query = unit_rows(query[None])[0]
    scores = np.empty(len(reference))
    for start in range(0, len(reference), _CHUNK_ROWS):
        scores[start : start + _CHUNK_ROWS] = unit_rows(reference[start : start + _CHUNK_ROWS]) @ query
    return np.round(scores, SCORE_DECIMALS)


def unit_rows(vectors: ArrayLike) -> NDArray[np.float64]:
    """Return the rows scaled to length 1; zero rows stay zero.

    Raises
    ------
    DataError
        If the array is not two-dimensional, or holds NaN or infinity.
    """
    values = np.asarray(vectors, dtype=np.float64)
    if values.ndim != 2:
        raise DataError(f"vectors must have shape (items, width), got {values.shape}.")
    with np.errstate(over="ignore", under="ignore"):
        lengths = np.linalg.norm(values, axis=1, keepdims=True)
    if not ((lengths > _SHORT) & (lengths < _LONG)).all():  # squares of some pass the range of double precision
        if not np.isfinite(values).all():
            raise DataError("vectors hold NaN or infinity; leave inputs that failed to encode out.")
        largest = np.abs(values).max(axis=1, keepdims=True, initial=0.0)
        values = np.divide(values, largest, out=np.zeros_like(values), where=largest > 0)
        lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.divide(values, lengths, out=np.zeros_like(values), where=lengths > 0)
