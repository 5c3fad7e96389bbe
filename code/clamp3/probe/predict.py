"""Predict labels and probabilities of files with a trained probe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from clamp3.errors import DataError
from clamp3.index.vectors import Opener, load_folder
from clamp3.probe.checkpoint import Probe

_OVERFLOW = "its vector is so large that the probe gives no finite value."


def predict_folder(
    probe: Probe, folder: Path, open_model: Opener, *, threshold: float = 0.5
) -> tuple[dict[str, dict[str, Any]], list[tuple[str, str]]]:
    """Return the predictions for a folder, by path, and the files without one with the reason.

    Parameters
    ----------
    probe : Probe
    folder : Path
        Vectors, or raw files of any kind.
    open_model : callable
        Returns the model for raw files.
    threshold : float
        Least probability of a tag.

    Raises
    ------
    DataError
        If the vectors do not come from the weights that the probe was trained with, or have another width.
    """
    found = load_folder(folder, open_model)
    if probe.weights and found.weights and set(probe.weights) != found.weights:
        raise DataError(
            f"the probe was trained on vectors of {', '.join(probe.weights)}, these come from "
            f"{', '.join(sorted(found.weights))}; use the same model."
        )
    root = folder if folder.is_dir() else folder.parent
    values = probe.predict(found.vectors)
    usable = np.isfinite(values).all(axis=1)
    problems = [(name, _OVERFLOW) for name, good in zip(found.names, usable, strict=True) if not good]
    answers = {
        (root / name).as_posix(): answer(probe, row, threshold)
        for name, row, good in zip(found.names, values, usable, strict=True)
        if good
    }
    return answers, sorted(found.problems + problems)


def answer(probe: Probe, values: np.ndarray, threshold: float = 0.5) -> dict[str, Any]:
    """Return the prediction for one file: label, and probabilities of classes and tags.

    Parameters
    ----------
    probe : Probe
    values : float array, shape (C,)
        A row of `Probe.predict`.
    threshold : float
        Least probability of a tag.
    """
    by_name = {name: round(float(value), 6) for name, value in zip(probe.classes, values, strict=True)}
    if probe.config.task == "regression":
        return {"label": by_name}
    if probe.config.task == "multilabel":
        return {"label": [name for name, value in by_name.items() if value >= threshold], "probabilities": by_name}
    return {"label": probe.classes[int(values.argmax())], "probabilities": by_name}
