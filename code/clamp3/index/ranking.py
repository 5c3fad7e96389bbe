"""Rank stored vectors by their cosine to a query; no torch, so a search costs what numpy costs.

Conventions
-----------
A *reference* is one ``.npy`` file holding one global vector, shape (D,) or (1, D). Its name is its path
relative to the searched folder, with ``/`` and without suffix, so ``Op.27 No.1`` and ``Op.27 No.2`` stay two
pieces. Scores are cosines in [-1, 1]; `clamp3.index.ties` says how they are rounded and how equal ones are ordered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from clamp3.embedding.cosines import cosine, unit_rows
from clamp3.errors import ConfigError, DataError
from clamp3.index.ties import best_first

if TYPE_CHECKING:
    from clamp3.embedding.passages import Passage
    from clamp3.index.vectors import VectorFolder

_ROUNDING = 1e-4  # far above what single precision gets wrong in a cosine


@dataclass(frozen=True)
class Hit:
    """One answer: place (from 1), name, cosine to the query, title if known, passage if asked for, names of copies.

    Of an index also the piece's id, modality (text, score, midi, audio), kind of file, and what else is known of it.
    """

    rank: int
    name: str
    score: float
    title: str = ""
    path: str = ""
    passage: Passage | None = None
    also: tuple[str, ...] = ()
    id: str = ""
    modality: str = ""
    kind: str = ""
    facts: dict[str, Any] = field(default_factory=dict, hash=False)


def rank(
    query: np.ndarray, reference: np.ndarray, top_k: int = 10, names: Sequence[str] | None = None
) -> list[tuple[int, float]]:
    """Return the references closest to a query, best first.

    Parameters
    ----------
    query : float array, shape (D,) or (1, D)
    reference : float array, shape (N, D)
    top_k : int
        How many to return; fewer if there are fewer references.
    names : sequence of str, optional
        Decide the order of equal scores; without them the row number does.

    Returns
    -------
    list of (int, float)
        Row in ``reference`` and cosine.

    Raises
    ------
    ConfigError
        If ``top_k`` is below 1.
    DataError
        If the shapes disagree, or names and references differ in number.

    Examples
    --------
    >>> reference = np.array([[0.0, 2.0], [3.0, 4.0], [1.0, 0.0]])
    >>> rank(np.array([1.0, 0.0]), reference, top_k=2)
    [(2, 1.0), (1, 0.6)]
    """
    check_top_k(top_k)
    if names is not None and len(names) != len(reference):
        raise DataError(f"{len(names)} names for {len(reference)} references.")
    candidates = _near(query, reference, top_k)
    scores = dict(zip(candidates.tolist(), cosine(query, reference[candidates]).tolist(), strict=True))
    return [(row, scores[row]) for row in best_first(scores, names)[:top_k]]


def diversified(vectors: np.ndarray, scores: Sequence[float], diversity: float, n: int) -> list[int]:
    """Return which results to show, so that they are less like each other: maximal marginal relevance.

    Each is the one with the highest ``(1 - diversity) * relevance - diversity * likeness to the nearest before it``,
    both scaled to 0..1 among the candidates: cosines of words to music lie far below those of music to music.

    Parameters
    ----------
    vectors : float array, shape (N, D)
        Of the candidates, best first.
    scores : sequence of float
        Theirs; one that is placed before a higher one counts as that.
    diversity : float
        From 0 to below 1.
    n : int
        How many.

    Examples
    --------
    >>> diversified(np.array([[1, 0], [1, 0.1], [0, 1]]), [0.9, 0.8, 0.5], 0.5, 2)
    [0, 2]

    References
    ----------
    Carbonell and Goldstein, "The use of MMR, diversity-based reranking", SIGIR 1998.
    """
    units = unit_rows(vectors)
    alike = _from_0_to_1(units @ units.T)
    relevance = _from_0_to_1(np.maximum.accumulate(np.asarray(scores, np.float64)[::-1])[::-1])
    chosen: list[int] = []
    nearest = np.zeros(len(units))
    while len(chosen) < min(n, len(units)):
        value = (1 - diversity) * relevance - diversity * nearest
        value[chosen] = -np.inf
        chosen.append(int(value.argmax()))
        nearest = np.maximum(nearest, alike[chosen[-1]])
    return chosen


def _from_0_to_1(values: np.ndarray) -> np.ndarray:
    if not values.size:
        return values
    least, most = values.min(), values.max()
    return (values - least) / (most - least) if most > least else np.zeros_like(values)


def check_top_k(top_k: int) -> None:
    """Raise `ConfigError` if less than one result is asked for."""
    if top_k < 1:
        raise ConfigError(f"top_k is {top_k}; at least 1 result must be asked for.")


def _near(query: np.ndarray, reference: np.ndarray, top_k: int) -> np.ndarray:
    """Return the rows that may be among the best, in ascending order: all that single precision cannot rule out."""
    reference = np.asarray(reference)
    if reference.ndim != 2 or reference.shape[1] != np.size(query) or top_k >= len(reference):
        return np.arange(len(reference))  # `cosine` says what is wrong with shapes
    direction = unit_rows(np.reshape(query, (1, -1)))[0].astype(np.float32)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        vectors = reference.astype(np.float32, copy=False)
        norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
        if not ((norms > 1e-12) & (norms < 1e18)).all():  # squares of some pass the range of single precision
            return np.arange(len(reference))
        scores = (vectors @ direction) / norms
    # Everything that may tie with the k-th best stays in, so that the name decides and not the rounding.
    threshold = np.partition(scores, len(scores) - top_k)[len(scores) - top_k]
    return np.flatnonzero(scores >= threshold - _ROUNDING)


def search(query: np.ndarray, references: VectorFolder, top_k: int = 10) -> list[Hit]:
    """Return the hits of a query among the vectors of a folder, best first; see `rank`.

    Parameters
    ----------
    query : float array, shape (D,) or (1, D)
    references : VectorFolder
        From `clamp3.index.vectors.load_folder`.
    top_k : int
        How many to return.
    """
    ranked = rank(query, references.vectors, top_k, references.names)
    return [Hit(place, references.names[row], score) for place, (row, score) in enumerate(ranked, start=1)]
