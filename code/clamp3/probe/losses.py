"""Losses of a probe and their gradients in closed form; numpy only.

Conventions
-----------
Outputs z and targets y are float32 arrays of shape (B, C): B examples; C classes, tags or values. Targets of one class
among several are one-hot rows. A loss is one number per example, shape (B,); a gradient is that of the losses' mean
over the batch with respect to z, shape (B, C). They are separate because training needs the gradient at every step but
the loss once an epoch, and with batches of one every call counts.

`torch.nn.functional`'s ``cross_entropy``, ``binary_cross_entropy_with_logits`` and ``mse_loss`` are the oracles of the
tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

TASKS = ("multiclass", "multilabel", "regression")


@dataclass(frozen=True)
class Loss:
    """Values (B,) of a loss from outputs and targets (B, C), and the gradient (B, C) of their mean."""

    values: Callable[[np.ndarray, np.ndarray], np.ndarray]
    gradient: Callable[[np.ndarray, np.ndarray], np.ndarray]


def loss_of(task: str, *, double_softmax: bool = False) -> Loss:
    """Return the loss of a task.

    Parameters
    ----------
    task : {"multiclass", "multilabel", "regression"}
    double_softmax : bool
        For multiclass: cross-entropy of the softmax of the softmax, as in the published protocol
        (classification/train_cls.py:20-101 of the released code).
    """
    if task == "multiclass":
        return DOUBLE_CROSS_ENTROPY if double_softmax else CROSS_ENTROPY
    return {"multilabel": BINARY_CROSS_ENTROPY, "regression": SQUARED_ERROR}[task]


@lru_cache(maxsize=8)
def _ones(n: int) -> np.ndarray:
    """Return a column of ones: a product with it adds up rows, for one row in half the time of ``sum``."""
    return np.ones((n, 1), np.float32)


def softmax(z: np.ndarray) -> np.ndarray:
    """Return exp(z) / sum(exp(z)) along the last axis."""
    powers = np.exp(z - np.maximum.reduce(z, axis=-1, keepdims=True))
    powers /= powers @ _ones(powers.shape[-1])
    return powers


def sigmoid(z: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-z)), without overflow."""
    small = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, small) / (1 + small)


def _cross_entropy(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    shifted = z - z.max(axis=-1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=-1)) - (shifted * y).sum(axis=-1)


def _cross_entropy_gradient(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    gradient = softmax(z)
    gradient -= y
    return gradient if len(z) == 1 else gradient / len(z)


def _double_gradient(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    inner = softmax(z)
    gradient = np.exp(inner)  # of numbers in [0, 1]: nothing can overflow
    gradient /= gradient @ _ones(gradient.shape[-1])
    gradient -= y
    gradient -= (inner * gradient) @ _ones(gradient.shape[-1])
    gradient *= inner
    return gradient if len(z) == 1 else gradient / len(z)


def _binary_cross_entropy(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z)))).mean(axis=-1)


CROSS_ENTROPY = Loss(_cross_entropy, _cross_entropy_gradient)
DOUBLE_CROSS_ENTROPY = Loss(lambda z, y: _cross_entropy(softmax(z), y), _double_gradient)
BINARY_CROSS_ENTROPY = Loss(_binary_cross_entropy, lambda z, y: (sigmoid(z) - y) / z.size)
SQUARED_ERROR = Loss(lambda z, y: np.square(z - y).mean(axis=-1), lambda z, y: (z - y) * (2 / z.size))
