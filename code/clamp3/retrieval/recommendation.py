"""Recommendations from what a user likes: by vectors, which need no one to have chosen an item before, and baselines.

Metrics are those of `clamp3.retrieval.metrics`, ties against the recommender; libraries of metrics for recommenders
(ranx, RecTools) bring pandas, numba or plots along for the same few sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clamp3.errors import DataError
from clamp3.index.ties import SCORE_DECIMALS, best_first
from clamp3.retrieval.confidence import bootstrap_interval
from clamp3.retrieval.interactions import Interactions, item_neighbours, popularity
from clamp3.retrieval.metrics import by_query, ndcg_of, pair_ranks

Scores = Callable[[Sequence[NDArray[np.int64]]], NDArray[np.floating]]
"""From the items that some users chose to scores (users, items)."""

CANDIDATES = ("all", "cold", "warm")
_SCORES_AT_ONCE = 1 << 24


def by_vectors(
    vectors: NDArray[np.floating], liked: Sequence[NDArray[np.int64]], disliked: Sequence[NDArray[np.int64]] = (),
    *, aversion: float = 0.5,
) -> NDArray[np.floating]:  # fmt: skip
    """Return the cosines of all items with the mean direction of what users like, less that of what they do not.

    Parameters
    ----------
    vectors : array, shape (N, D)
    liked, disliked : sequence of int array
        Rows of each user's items; ``disliked`` may be left out.
    aversion : float
        How much dislikes count (Rocchio's gamma, relative to likes).

    Returns
    -------
    array, shape (users, N)

    Examples
    --------
    >>> vectors = np.array([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0]])
    >>> by_vectors(vectors, [np.array([0])]).round(2).tolist()
    [[1.0, 1.0, 0.0]]
    """
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    profiles = np.stack([unit[rows].mean(0) for rows in liked])
    for user, rows in enumerate(disliked):
        if len(rows):
            profiles[user] -= aversion * unit[rows].mean(0)
    length = np.linalg.norm(profiles, axis=1, keepdims=True)
    found: NDArray[np.floating] = profiles / np.maximum(length, 1e-12) @ unit.T
    return found


def recommend(
    vectors: NDArray[np.floating], names: Sequence[str], liked: Sequence[int], disliked: Sequence[int] = (), *,
    top_k: int = 10, aversion: float = 0.5,
) -> list[tuple[str, float]]:  # fmt: skip
    """Return the items that suit a user, best first, with their scores; those named are left out.

    Parameters
    ----------
    vectors, aversion
        As in `by_vectors`.
    names : sequence of str
        Of the items.
    liked, disliked : sequence of int
        Rows.
    top_k : int
    """
    given = [np.array(rows, np.int64) for rows in (liked, disliked)]
    scores = by_vectors(vectors, [given[0]], [given[1]], aversion=aversion)[0].round(SCORE_DECIMALS)
    left = {row: float(score) for row, score in enumerate(scores) if row not in {*liked, *disliked}}
    return [(names[row], left[row]) for row in best_first(left, names)[:top_k]]


def recommenders(interactions: Interactions, folders: Mapping[str, NDArray[np.floating]]) -> dict[str, Scores]:
    """Return what scores items for users: one recommender per set of vectors, popularity, item-kNN.

    Parameters
    ----------
    interactions : Interactions
        The baselines see its training users.
    folders : mapping of str to array, shape (N, D)
        Vectors by name.
    """
    neighbours, liking = item_neighbours(interactions), popularity(interactions)

    def of_vectors(vectors: NDArray[np.floating]) -> Scores:
        return lambda liked: by_vectors(vectors, liked)

    def of_neighbours(liked: Sequence[NDArray[np.int64]]) -> NDArray[np.floating]:
        return np.stack([np.asarray(neighbours[rows].sum(0)).ravel() for rows in liked])

    found: dict[str, Scores] = {name: of_vectors(vectors) for name, vectors in folders.items()}
    found["item-kNN"] = of_neighbours
    found["popularity"] = lambda liked: np.tile(liking, (len(liked), 1))
    return found


@dataclass(frozen=True)
class Trial:
    """What recommenders are measured on.

    Attributes
    ----------
    users : list of str
    liked, targets : list of int array
        The earlier choices of each user, which are known, and the later ones, which are to be found.
    candidates : bool array, shape (N,)
        Items that may be recommended.
    n_users : array, shape (N,)
        Training users of every item.
    n_training : int
        Training users.
    """

    users: list[str]
    liked: list[NDArray[np.int64]]
    targets: list[NDArray[np.int64]]
    candidates: NDArray[np.bool_]
    n_users: NDArray[np.float64]
    n_training: int


def make_trial(interactions: Interactions, *, candidates: str = "all", known_share: float = 0.5) -> Trial:
    """Return the held-out users with their earlier and later choices.

    Parameters
    ----------
    interactions : Interactions
    candidates : {"all", "cold", "warm"}
        What may be recommended and has to be found: every item, those no training user chose, or the others.
    known_share : float
        Share of a user's choices that are known, at least one; at least one has to be found.

    Raises
    ------
    DataError
        If no user is left.
    """
    cold = interactions.n_users == 0
    allowed = {"all": np.ones(len(cold), bool), "cold": cold, "warm": ~cold}[candidates]
    trial = Trial([], [], [], allowed, interactions.n_users, int((~interactions.held_out).sum()))
    for user, items, held in zip(interactions.users, interactions.items, interactions.held_out, strict=True):
        n_known = min(max(1, round(known_share * len(items))), len(items) - 1)
        targets = items[n_known:][allowed[items[n_known:]]] if n_known > 0 else items[:0]
        if held and len(targets):
            trial.users.append(user)
            trial.liked.append(items[:n_known])
            trial.targets.append(targets)
    if not trial.users:
        raise DataError("No held-out user has an earlier choice and a later one among the candidates.")
    return trial


@dataclass(frozen=True)
class Measured:
    """How well a recommender does.

    Attributes
    ----------
    values : dict of str to float
        Means over users of ``recall``, ``ndcg`` (up to k) and ``map``; ``coverage``, the share of candidates that
        anyone is recommended up to k; ``novelty``, their mean surprise in bits, as training users know them.
    per_user : dict of str to array, shape (users,)
    """

    values: dict[str, float]
    per_user: dict[str, NDArray[np.float64]] = field(repr=False)


def measure(scores: Scores, trial: Trial, *, k: int = 10) -> Measured:
    """Return the metrics of a recommender.

    Parameters
    ----------
    scores : callable
    trial : Trial
    k : int
        Length of the list that is recommended.
    """
    if k < 1:
        raise DataError(f"k must be at least 1, got {k}.")
    per_user: dict[str, list[NDArray[np.float64]]] = {"recall": [], "ndcg": [], "map": []}
    shown = np.zeros(len(trial.candidates), np.int64)
    for part, found in _scored(scores, trial):
        targets = trial.targets[part]
        owners = np.repeat(np.arange(len(targets)), [len(items) for items in targets])
        rank = pair_ranks(found, np.stack([owners, np.concatenate(targets)], axis=1))
        per_user["recall"].append(by_query(rank, owners, lambda rank: (rank <= k).mean()))
        per_user["ndcg"].append(by_query(rank, owners, lambda rank: ndcg_of(rank, k)))
        per_user["map"].append(by_query(rank, owners, lambda rank: (np.arange(1, len(rank) + 1) / rank).mean()))
        for row, liked in zip(found, trial.liked[part], strict=True):
            best = np.argsort(-row, kind="stable")[: k + len(liked)]
            best = best[trial.candidates[best] & ~np.isin(best, liked)][:k]
            shown[best] += 1
    surprise = -np.log2((trial.n_users + 1) / (trial.n_training + 1))
    values = {name: np.concatenate(parts) for name, parts in per_user.items()}
    means = {name: float(value.mean()) for name, value in values.items()}
    means["coverage"] = float((shown > 0).sum() / trial.candidates.sum())
    means["novelty"] = float((shown * surprise).sum() / max(shown.sum(), 1))
    return Measured(means, values)


def _scored(scores: Scores, trial: Trial) -> Iterator[tuple[slice, NDArray[np.floating]]]:
    """Yield some users at a time and their scores, with what is known or no candidate at the end."""
    size = max(1, _SCORES_AT_ONCE // len(trial.candidates))
    for at in range(0, len(trial.users), size):
        part = slice(at, at + size)
        found = np.array(scores(trial.liked[part]), np.float64)
        last = found.min() - 1
        found[:, ~trial.candidates] = last
        for row, liked in zip(found, trial.liked[part], strict=True):
            row[liked] = last
        yield part, found


def compare(
    one: NDArray[np.float64], other: NDArray[np.float64], *, n_resamples: int = 10_000, seed: int = 0
) -> dict[str, Any]:
    """Return by how much a measure of the same users differs between two recommenders, and whether by chance.

    Parameters
    ----------
    one, other : array, shape (users,)
    n_resamples : int
    seed : int

    Returns
    -------
    dict
        ``difference`` of the means, ``interval_95`` of it by a paired bootstrap, and ``p`` of a paired permutation
        test: the share of random exchanges between both that differ as much, two-sided.

    Examples
    --------
    >>> found = compare(np.array([0.9, 0.8, 1.0, 0.7] * 5), np.array([0.5, 0.6, 0.4, 0.6] * 5))
    >>> round(found["difference"], 3), found["p"] < 0.01
    (0.325, True)
    """
    if one.shape != other.shape:
        raise DataError(f"both recommenders need the same users, got {len(one)} and {len(other)}.")
    paired, rng = one - other, np.random.default_rng(seed)
    drawn = np.concatenate(
        [
            rng.choice([-1.0, 1.0], (min(500, n_resamples - at), len(paired))) @ paired
            for at in range(0, n_resamples, 500)
        ]
    )
    extreme = int(np.count_nonzero(np.abs(drawn) >= abs(paired.sum()) - 1e-12))
    return {
        "difference": float(paired.mean()),
        "interval_95": list(bootstrap_interval(paired, n_resamples=n_resamples, seed=seed)),
        "p": (extreme + 1) / (n_resamples + 1),
    }
