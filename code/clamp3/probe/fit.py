"""The training loop of a probe: epochs, the choice of the best one, plateaus, early stopping."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from clamp3.errors import DataError
from clamp3.probe.config import ProbeConfig
from clamp3.probe.heads import Head, State, few_threads, make_head


@dataclass(frozen=True)
class Epoch:
    """One epoch: mean training loss (each batch's before its step), validation score, learning rate."""

    loss: float
    score: float | None
    rate: float


@dataclass(frozen=True)
class Fitted:
    """A trained head.

    Attributes
    ----------
    head : Head
        With the weights of the best epoch.
    best_epoch : int
        From 1; the last one if there was no validation set.
    history : list of Epoch
    """

    head: Head
    best_epoch: int
    history: list[Epoch] = field(default_factory=list)

    def outputs(self, features: np.ndarray) -> np.ndarray:
        """Return outputs (N, C) of features (N, D)."""
        return self.head.outputs(self.head.prepare(features))


def fit(
    features: np.ndarray,
    targets: np.ndarray,
    config: ProbeConfig,
    *,
    valid: np.ndarray | None = None,
    score: Callable[[np.ndarray], float] | None = None,
) -> Fitted:
    """Train a head.

    Parameters
    ----------
    features : float32 array, shape (N, D)
    targets : float32 array, shape (N, C)
        One-hot rows, tags as 0 and 1, or values.
    config : ProbeConfig
    valid : float32 array, shape (V, D), optional
        Features of the validation set.
    score : callable, optional
        From the outputs (V, C) on ``valid`` to a number, larger is better: chooses the epoch. Of equal ones the first.
        Where it is undefined (NaN) it chooses nothing and ends nothing: the last epoch is kept.

    Raises
    ------
    DataError
        If there is nothing to train on, or the loss becomes NaN or infinite.

    Examples
    --------
    >>> features = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    >>> fitted = fit(features, np.eye(2, dtype=np.float32), ProbeConfig(num_epochs=50, learning_rate=0.1))
    >>> fitted.outputs(features).argmax(axis=1)
    array([0, 1])
    """
    if not len(features):
        raise DataError("no examples to train on.")
    head = make_head(features.shape[1], targets.shape[1], config)
    x = head.prepare(features)
    checked = head.prepare(valid) if valid is not None and score is not None else None
    rng = np.random.default_rng([config.seed, 1])
    history: list[Epoch] = []
    best, best_epoch, kept = -np.inf, 0, None
    waited = {"rate": 0, "end": 0}  # epochs without a better score
    for number in range(1, config.num_epochs + 1):
        order = epoch_order(rng, targets, config)
        with few_threads(config):
            loss = one_epoch(head, x, targets, order, config.batch_size)
        if not np.isfinite(loss):
            raise DataError(f"the loss of epoch {number} is {loss}; lower --learning_rate ({config.learning_rate:g}).")
        found = None if checked is None or score is None else score(head.outputs(checked))
        found = None if found is None or np.isnan(found) else found
        history.append(Epoch(loss, found, head.optimizer.rate))
        if found is None:
            continue
        if found > best:
            best, best_epoch, kept = found, number, head.state()
            waited = dict.fromkeys(waited, 0)
            continue
        waited = {name: epochs + 1 for name, epochs in waited.items()}
        if config.lr_patience and waited["rate"] > config.lr_patience:
            head.optimizer.rate, waited["rate"] = head.optimizer.rate / 2, 0
        if config.patience and waited["end"] >= config.patience:
            break
    return _finished(head, kept, best_epoch or len(history), history)


def one_epoch(head: Head, x: np.ndarray, y: np.ndarray, order: np.ndarray, batch_size: int) -> float:
    """Train on examples in the given order; return their mean loss.

    Parameters
    ----------
    head : Head
    x : float32 array, shape (N, D')
        Prepared features.
    y : float32 array, shape (N, C)
    order : int array, shape (n,)
        Rows to train on.
    batch_size : int
    """
    before = np.empty((len(order), y.shape[1]), np.float32)
    if batch_size == 1:  # slices of one row are views, which saves a microsecond a step
        for place, row in enumerate(order.tolist()):
            before[place] = head.step(x[row : row + 1], y[row : row + 1])
    else:
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            before[start : start + batch_size] = head.step(x[rows], y[rows])
    return float(head.loss.values(before, y[order]).mean(dtype=np.float64))


def epoch_order(rng: np.random.Generator, targets: np.ndarray, config: ProbeConfig) -> np.ndarray:
    """Return the rows of one epoch in random order; with balanced classes, as many rows of each.

    Parameters
    ----------
    rng : Generator
    targets : float array, shape (N, C)
        One-hot rows where classes are balanced.
    config : ProbeConfig
    """
    if not config.balanced_training:
        return rng.permutation(len(targets))
    labels = targets.argmax(axis=1)
    members = [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    n_each = (min if config.balanced_training == "under" else max)(map(len, members))
    return rng.permutation(np.concatenate([np.resize(rows, n_each) for rows in members]))


def _finished(head: Head, kept: State | None, best_epoch: int, history: list[Epoch]) -> Fitted:
    if kept is not None:
        head.load(kept)
    return Fitted(head, best_epoch, history)
