"""Splits into training, validation and test sets, as row numbers of the whole.

The published protocol chooses the best epoch on the test set itself, which biases its results upwards. The others hold
out a validation set, taken from the training examples.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from clamp3.errors import ConfigError, DataError

Rows: TypeAlias = Sequence[int] | np.ndarray


@dataclass(frozen=True)
class Split:
    """Rows of each part; ``valid`` is ``test`` in the published protocol, and may be empty (last epoch)."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def published_split(names: Sequence[str], share: float = 0.2, seed: int = 42) -> Split:
    """Return the published split: the first ceil(share * n) of the shuffled list are test and validation set.

    The list is sorted before it is shuffled with Python's ``random.shuffle``; the released script shuffles it in the
    order of the file system, so its split differs from machine to machine.

    Parameters
    ----------
    names : sequence of str
        Of the examples.
    share : float
        Of the test set.
    seed : int

    Raises
    ------
    DataError
        If one part is empty.
    """
    order = sorted(range(len(names)), key=lambda row: names[row])
    random.Random(seed).shuffle(order)
    n_test = math.ceil(_checked(share) * len(order))
    return _parts(order[n_test:], order[:n_test], order[:n_test])


def held_out(n: int, share: float, valid_share: float, seed: int, *, strata: Sequence[str] | None = None) -> Split:
    """Return a random split in three.

    Parameters
    ----------
    n : int
        Examples.
    share : float
        Of the test set.
    valid_share : float
        Of the validation set, in what remains.
    seed : int
    strata : sequence of str, optional
        Class of every example: draw class by class.

    Examples
    --------
    >>> split = held_out(10, 0.2, 0.25, seed=0)
    >>> len(split.train), len(split.valid), len(split.test)
    (6, 2, 2)
    """
    train, test = _two(np.arange(n), share, seed, strata)
    return validated(train, test, valid_share, seed, strata=strata)


def validated(
    train: np.ndarray, test: np.ndarray, valid_share: float, seed: int, *, strata: Sequence[str] | None = None
) -> Split:
    """Return a split whose validation set is taken from the training rows; a share of 0 takes none.

    Parameters
    ----------
    train, test : int arrays
        Rows.
    valid_share, seed, strata
        As in `held_out`.
    """
    if valid_share == 0:
        return _parts(train, [], test)
    kept, valid = _two(train, valid_share, seed, strata)
    return _parts(kept, valid, test)


def folds(
    n: int, n_folds: int, valid_share: float, seed: int, *, strata: Sequence[str] | None = None
) -> Iterator[Split]:
    """Yield a split per fold: every example is tested once.

    Parameters
    ----------
    n : int
        Examples.
    n_folds : int
    valid_share, seed, strata
        As in `held_out`.

    Raises
    ------
    ConfigError
        If there are fewer than two folds, or more than examples.
    """
    if not 2 <= n_folds <= n:
        raise ConfigError(f"{n_folds} folds of {n} examples are not possible; take 2 to {n}.")
    for place in range(n_folds):
        test = np.flatnonzero(_fold_of(n, n_folds, seed, strata) == place)
        train = np.setdiff1d(np.arange(n), test)
        yield validated(train, test, valid_share, seed + place, strata=strata)


def _fold_of(n: int, n_folds: int, seed: int, strata: Sequence[str] | None) -> np.ndarray:
    """Return the fold of every row, assigned in turn and class by class: sizes differ by at most one per class."""
    dealt = np.empty(n, np.int64)
    dealt[np.concatenate(_shuffled_strata(np.arange(n), seed, strata))] = np.arange(n) % n_folds
    return dealt


def _two(rows: np.ndarray, share: float, seed: int, strata: Sequence[str] | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the rest and a share of rows; of each class the share rounded to the nearest, but never all of it."""
    _checked(share)
    rest, taken = [], []
    for group in _shuffled_strata(rows, seed, strata):
        n_taken = math.ceil(share * len(group)) if strata is None else min(round(share * len(group)), len(group) - 1)
        taken.append(group[:n_taken])
        rest.append(group[n_taken:])
    return np.concatenate(rest), np.concatenate(taken)


def _shuffled_strata(rows: np.ndarray, seed: int, strata: Sequence[str] | None) -> list[np.ndarray]:
    rng = np.random.default_rng([seed, 2])
    if strata is None:
        return [rng.permutation(rows)]
    names = np.asarray([strata[row] for row in rows])
    return [rng.permutation(rows[names == name]) for name in np.unique(names)]


def _checked(share: float) -> float:
    if not 0 < share < 1:
        raise ConfigError(f"a share of {share} is held out; it must lie between 0 and 1.")
    return share


def _parts(train: Rows, valid: Rows, test: Rows) -> Split:
    split = Split(*(np.sort(np.asarray(part, np.int64)) for part in (train, valid, test)))
    if not len(split.train) or not len(split.test):
        raise DataError(
            f"{len(split.train)} examples to train on and {len(split.test)} to test; each part needs at least one."
        )
    return split
