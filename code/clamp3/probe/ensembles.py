"""One answer for a recording from those for its clips.

Conventions
-----------
Outputs (N, C) of clips are logits, or values for regression; ``tracks`` (N,) are the numbers of their recordings. An
answer is a row (C,) per recording, in the order of the numbers, that is scored as outputs are. The four ways are those
of MARBLE's key detection (benchmark/tasks/GS/utils.py at d9300e3), in its order, of which the first of equally good
ones is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from clamp3.probe.losses import softmax


def _mean(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    counts = np.diff(starts, append=len(values))
    means: np.ndarray = np.add.reduceat(values, starts, axis=0) / counts[:, None]
    return means


def _votes(outputs: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return _mean(np.eye(outputs.shape[1], dtype=np.float32)[outputs.argmax(axis=1)], starts)


WAYS: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = MappingProxyType(
    {
        "vote": _votes,
        "max": lambda outputs, starts: np.maximum.reduceat(outputs, starts, axis=0),
        "mean_logit": _mean,
        "mean_probability": lambda outputs, starts: _mean(softmax(outputs), starts),
    }
)


def answers(outputs: np.ndarray, tracks: np.ndarray, way: str) -> np.ndarray:
    """Return the answers (T, C) for T recordings.

    Parameters
    ----------
    outputs : float array, shape (N, C)
    tracks : int array, shape (N,)
    way : str
        One of `WAYS`: the share of votes of the clips, the largest logits, the mean logits, or the mean probabilities.

    Examples
    --------
    >>> outputs = np.array([[4.0, 0.0], [0.0, 1.0], [0.0, 1.0], [2.0, 3.0]], np.float32)
    >>> for way in WAYS:
    ...     print(way, answers(outputs, np.array([0, 0, 0, 1]), way).argmax(axis=1))
    vote [1 1]
    max [0 1]
    mean_logit [0 1]
    mean_probability [0 1]
    """
    order = np.argsort(tracks, kind="stable")
    return WAYS[way](outputs[order], np.unique(tracks[order], return_index=True)[1])


def targets_of(targets: np.ndarray, tracks: np.ndarray) -> np.ndarray:
    """Return the targets (T, C) of recordings, those of the first clip of each.

    Parameters
    ----------
    targets : float array, shape (N, C)
    tracks : int array, shape (N,)
    """
    return targets[np.unique(tracks, return_index=True)[1]]
