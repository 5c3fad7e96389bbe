"""Scores of outputs against targets; scikit-learn's, and mir_eval's for keys.

Conventions
-----------
Outputs (N, C) are logits, or values for regression; targets (N, C) as in `clamp3.probe.losses`. Every function takes
both, and ``classes``, the names of the C columns. Larger scores are better; all lie in [0, 1] but R², which is
unbounded below.

- accuracy: share of examples whose largest logit is their class. An example of a class that was never trained, whose
  row of targets is all zeros, counts as wrong.
- macro_f1: mean F1 of the classes that occur among the labels or the predictions; untrained classes count with 0.
- roc_auc, average_precision: mean over the tags that some examples have and some have not; they are undefined for
  others, which are left out and named, as are untrained tags.
- r2: mean over the values.
- key_score: mir_eval's weighted score of keys (1 same, .5 a fifth, .3 relative, .2 parallel).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from clamp3.datasets.labelled import TaskType
from clamp3.errors import ConfigError, DataError


def need_eval(module: str, purpose: str) -> None:
    """Check that a package of the ``eval`` extra is installed.

    Parameters
    ----------
    module : str
    purpose : str
        What needs it.

    Raises
    ------
    ConfigError
        If it is not.
    """
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise ConfigError(f"{purpose} need {module}, which is not installed: pip install 'clamp3[eval]'.")


def scorer(name: str, targets: np.ndarray, classes: Sequence[str]) -> Callable[[np.ndarray], float]:
    """Return the function from outputs to one score, for choosing an epoch.

    Parameters
    ----------
    name : str
        Of the score.
    targets : float array, shape (N, C)
    classes : sequence of str

    Raises
    ------
    ConfigError
        If no score has this name.
    """
    functions: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
        "accuracy": accuracy,
        "macro_f1": macro_f1,
        "roc_auc": roc_auc,
        "average_precision": average_precision,
        "r2": lambda t, z: float(np.mean(r2(t, z))),
        "key_score": lambda t, z: key_score(t, z, classes),
    }
    if name not in functions:
        raise ConfigError(f"no score is called {name!r}; there are {', '.join(functions)}.")
    return lambda outputs: functions[name](targets, outputs)


def evaluate(
    task: TaskType, targets: np.ndarray, outputs: np.ndarray, classes: Sequence[str], *, keys: bool = False
) -> dict[str, Any]:
    """Return every score of a task.

    Parameters
    ----------
    task : {"multiclass", "multilabel", "regression"}
    targets, outputs : float arrays, shape (N, C)
    classes : sequence of str
        Names of the columns.
    keys : bool
        The classes are musical keys: add the key score.

    Raises
    ------
    DataError
        If the shapes disagree, the set is empty, or outputs are not finite.
    """
    need_eval("sklearn", "scores of a probe")
    if keys:
        need_eval("mir_eval", "scores of keys")
    validate(targets, outputs, classes)
    if task == "regression":
        each = r2(targets, outputs)
        return {"r2": float(np.mean(each)), **{f"r2 {name}": v for name, v in zip(classes, each, strict=True)}}
    if task == "multilabel":
        left_out = [name for name, varies in zip(classes, _varying(targets), strict=True) if not varies]
        found: dict[str, Any] = {
            "roc_auc": roc_auc(targets, outputs),
            "average_precision": average_precision(targets, outputs),
        }
        return {**found, "n_tags": len(classes) - len(left_out), "tags_left_out": left_out}
    found = {"accuracy": accuracy(targets, outputs), "macro_f1": macro_f1(targets, outputs)}
    return {**found, "key_score": key_score(targets, outputs, classes)} if keys else found


def validate(targets: np.ndarray, outputs: np.ndarray, classes: Sequence[str]) -> None:
    """Check what every score needs.

    Parameters
    ----------
    targets, outputs, classes
        As in `evaluate`.
    """
    if targets.shape != outputs.shape or targets.ndim != 2 or targets.shape[1] != len(classes):
        raise DataError(f"targets {targets.shape}, outputs {outputs.shape} and {len(classes)} classes do not fit.")
    if not len(targets):
        raise DataError("nothing to score: the set is empty.")
    if not np.isfinite(outputs).all():
        raise DataError("outputs are not finite; train with a lower --learning_rate.")


def accuracy(targets: np.ndarray, outputs: np.ndarray) -> float:
    """Return the share of examples whose largest logit is their class.

    Parameters
    ----------
    targets, outputs : float arrays, shape (N, C)

    Examples
    --------
    >>> accuracy(np.eye(2), np.array([[2.0, -1.0], [0.5, 0.1]]))
    0.5
    """
    return float(np.take_along_axis(targets, outputs.argmax(axis=1)[:, None], axis=1).mean(dtype=np.float64))


def macro_f1(targets: np.ndarray, outputs: np.ndarray) -> float:
    """Return the mean F1 of the classes that occur.

    Parameters
    ----------
    targets, outputs : float arrays, shape (N, C)
    """
    from sklearn.metrics import f1_score

    return float(f1_score(labels_of(targets), outputs.argmax(axis=1), average="macro", zero_division=0))


def roc_auc(targets: np.ndarray, outputs: np.ndarray) -> float:
    """Return the mean area under the ROC curve of the tags that have both values; NaN if none has.

    Parameters
    ----------
    targets, outputs : float arrays, shape (N, C)
    """
    from sklearn.metrics import roc_auc_score

    return _macro(roc_auc_score, targets, outputs)


def average_precision(targets: np.ndarray, outputs: np.ndarray) -> float:
    """Return the mean average precision of the tags that have both values; NaN if none has.

    Parameters
    ----------
    targets, outputs : float arrays, shape (N, C)
    """
    from sklearn.metrics import average_precision_score

    return _macro(average_precision_score, targets, outputs)


def r2(targets: np.ndarray, outputs: np.ndarray) -> list[float]:
    """Return the coefficient of determination of each value.

    Parameters
    ----------
    targets, outputs : float arrays, shape (N, C)
    """
    from sklearn.metrics import r2_score

    return [float(value) for value in np.atleast_1d(r2_score(targets, outputs, multioutput="raw_values"))]


def key_score(targets: np.ndarray, outputs: np.ndarray, classes: Sequence[str]) -> float:
    """Return the mean weighted score of predicted keys.

    Parameters
    ----------
    targets, outputs : float arrays, shape (N, C)
    classes : sequence of str
        Keys, written as ``Eb minor``.
    """
    from mir_eval.key import weighted_score

    truth, guesses = labels_of(targets), outputs.argmax(axis=1)
    return float(np.mean([weighted_score(classes[t], classes[g]) for t, g in zip(truth, guesses, strict=True)]))


def labels_of(targets: np.ndarray) -> np.ndarray:
    """Return the class number of one-hot rows, C for rows of zeros."""
    return np.where(targets.any(axis=1), targets.argmax(axis=1), targets.shape[1])


def table(targets: np.ndarray, outputs: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """Return the confusion matrix (rows: truth, columns: prediction) and the scores of each class.

    The last row of the matrix, if there is one more than classes, holds examples of untrained classes.

    Parameters
    ----------
    targets, outputs : float arrays, shape (N, C)
    classes : sequence of str
        Names of the columns.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    truth, guesses = labels_of(targets), outputs.argmax(axis=1)
    n_rows = len(classes) + int((truth == len(classes)).any())
    matrix = confusion_matrix(truth, guesses, labels=range(n_rows))[:, : len(classes)]
    columns = precision_recall_fscore_support(truth, guesses, labels=range(len(classes)), zero_division=0)
    names = ("precision", "recall", "f1", "n")
    rows = [
        {"class": name, **dict(zip(names, map(float, figures), strict=True))}
        for name, *figures in zip(classes, *columns, strict=True)
    ]
    return {"confusion": matrix.tolist(), "per_class": rows}


def _macro(score: Callable[..., float], targets: np.ndarray, outputs: np.ndarray) -> float:
    kept = _varying(targets)
    return float(score(targets[:, kept], outputs[:, kept], average="macro")) if kept.any() else float("nan")


def _varying(targets: np.ndarray) -> np.ndarray:
    return (targets.min(axis=0) == 0) & (targets.max(axis=0) == 1)
