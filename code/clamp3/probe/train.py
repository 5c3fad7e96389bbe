"""From labelled vectors to a tested probe: one run per seed or fold, and their summary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from clamp3.datasets.labelled import label_from_name
from clamp3.errors import ConfigError, DataError, printable
from clamp3.index.vectors import Opener, load_folder
from clamp3.probe import ensembles, metrics, splits
from clamp3.probe.checkpoint import Probe
from clamp3.probe.config import ProbeConfig
from clamp3.probe.fit import Epoch, fit
from clamp3.probe.labels import Label, as_targets, classes_of, find_labels, read_labels
from clamp3.probe.splits import Split

_UNDEFINED = (
    "the {} files to choose the epoch by have no {}, for which files with and without a tag, or different values, are "
    "needed: the last epoch is kept"
)


@dataclass(frozen=True)
class Plan:
    """What is trained on what.

    Attributes
    ----------
    train_folder, eval_folder : Path
        Without an evaluation folder a share ``eval_split`` of the training folder is the test set.
    labels : Path, optional
        Table of labels; without it they are in the file names.
    selection : {"valid", "eval"}
        What chooses the epoch: a share ``valid_split`` of the training examples, or, as published, the test set.
    stratified : bool
        Draw the splits class by class.
    n_folds : int
        Test every example once, in so many folds; 0 = one split.
    n_seeds : int
        Train so many times, with seeds counted up from the configuration's.
    """

    train_folder: Path
    eval_folder: Path | None = None
    labels: Path | None = None
    eval_split: float = 0.2
    valid_split: float = 0.2
    selection: Literal["valid", "eval"] = "valid"
    stratified: bool = False
    n_folds: int = 0
    n_seeds: int = 1

    def __post_init__(self) -> None:
        if self.n_seeds < 1:
            raise ConfigError(f"{self.n_seeds} seeds; at least 1 is needed.")
        if self.n_folds and (self.eval_folder is not None or self.selection == "eval"):
            raise ConfigError("folds test every training example; leave --eval_folder and --selection eval away.")


@dataclass(frozen=True)
class Labelled:
    """Vectors with labels: ``vectors`` (N, D) in the order of ``names``; ``problems`` are files left out, and why.

    ``tracks`` (N,) are the numbers of the recordings that the vectors are clips of; None if each is one's own.
    """

    names: list[str]
    vectors: np.ndarray
    labels: list[Label]
    weights: tuple[str, ...] = ()
    problems: tuple[tuple[str, str], ...] = ()
    value_names: tuple[str, ...] = ()
    tracks: np.ndarray | None = None


@dataclass(frozen=True)
class Run:
    """One training: the probe, whose ``info`` has the scores, and targets and outputs (N, C) of the test set."""

    probe: Probe
    targets: np.ndarray
    outputs: np.ndarray
    history: list[Epoch]

    @property
    def seed(self) -> int:
        """Seed of weights, order, dropout and split."""
        return self.probe.config.seed

    @property
    def scores(self) -> dict[str, Any]:
        """Scores on the test set."""
        return dict(self.probe.info["scores"])


def load_labelled(
    folder: Path, config: ProbeConfig, labels: Path | None, open_model: Opener, *, partial: bool = False
) -> Labelled:
    """Return the vectors of a folder with their labels.

    Parameters
    ----------
    folder : Path
        Vectors, or raw files of any kind.
    config : ProbeConfig
    labels : Path, optional
        Table of labels; without it they are in the file names.
    open_model : callable
        Returns the model for raw files.
    partial : bool
        The table also has labels of other folders: do not report names without a file.

    Raises
    ------
    DataError
        If no file has a vector and a label.
    """
    found = load_folder(folder, open_model)
    problems = list(found.problems)
    value_names: tuple[str, ...] = ()
    if labels is None:
        if config.task != "multiclass":
            raise ConfigError(f"file names carry one class each; give --labels FILE for {config.task}.")
        given: list[Label | None] = [label_from_name(name) for name in found.names]
    else:
        known, value_names = read_labels(labels, config.task)
        given, absent = find_labels(found.names, known)
        if absent and not partial:
            problems += [(name, "has a label, but there is no such file.") for name in absent]
    reason = "has no label in the table." if labels else 'has no label: nothing stands before a "_" in its name.'
    problems += [(name, reason) for name, label in zip(found.names, given, strict=True) if label is None]
    rows = [row for row, label in enumerate(given) if label is not None]
    if not rows:
        raise DataError(f"no file of {printable(folder)} is labelled; {found.names[0]} {reason}")
    names = [found.names[row] for row in rows]
    kept = [label for label in given if label is not None]
    return Labelled(names, found.vectors[rows], kept, tuple(sorted(found.weights)), tuple(problems), value_names)


def train(plan: Plan, config: ProbeConfig, open_model: Opener) -> tuple[list[Run], Labelled]:
    """Train and test as planned.

    Parameters
    ----------
    plan : Plan
    config : ProbeConfig
    open_model : callable
        Returns the model for raw files.

    Returns
    -------
    list of Run, Labelled
        A run per seed, or per seed and fold; and the data, those of the evaluation folder last.

    Raises
    ------
    ConfigError, DataError
        If the plan does not fit the data.
    """
    data = load_labelled(plan.train_folder, config, plan.labels, open_model, partial=plan.eval_folder is not None)
    n_train = len(data.names)
    if plan.eval_folder is not None:
        data = _joined(data, load_labelled(plan.eval_folder, config, plan.labels, open_model, partial=True))
    runs = []
    for seed in range(config.seed, config.seed + plan.n_seeds):
        for split in plan_splits(plan, data, n_train, seed):
            runs.append(train_and_test(data, split, replace(config, seed=seed)))
    return runs, data


def plan_splits(plan: Plan, data: Labelled, n_train: int, seed: int) -> list[Split]:
    """Return the splits of one seed.

    Parameters
    ----------
    plan : Plan
    data : Labelled
    n_train : int
        Rows from here on are the evaluation folder's.
    seed : int
    """
    strata = None
    if plan.stratified:
        if not all(isinstance(label, str) for label in data.labels):
            raise ConfigError("--stratified needs one class per file.")
        strata = [str(label) for label in data.labels]
    train_rows, eval_rows = np.arange(n_train), np.arange(n_train, len(data.names))
    if plan.n_folds:
        return list(splits.folds(n_train, plan.n_folds, plan.valid_split, seed, strata=strata))
    if len(eval_rows):
        if plan.selection == "eval":
            return [Split(train_rows, eval_rows, eval_rows)]
        return [splits.validated(train_rows, eval_rows, plan.valid_split, seed, strata=strata)]
    if plan.selection == "valid":
        return [splits.held_out(n_train, plan.eval_split, plan.valid_split, seed, strata=strata)]
    if strata is None:
        return [splits.published_split(data.names, plan.eval_split, seed)]
    split = splits.held_out(n_train, plan.eval_split, 0, seed, strata=strata)
    return [Split(split.train, split.test, split.test)]


def train_and_test(
    data: Labelled,
    split: Split,
    config: ProbeConfig,
    *,
    classes: Sequence[str] = (),
    keys: bool = False,
    ways: Sequence[str] = (),
) -> Run:
    """Train on one part, choose the epoch by another, test on the third.

    Parameters
    ----------
    data : Labelled
    split : Split
    config : ProbeConfig
    classes : sequence of str, optional
        All classes of the data set; without them those of the training examples.
    keys : bool
        Classes are musical keys.
    ways : sequence of str
        Test one answer per recording (`clamp3.probe.ensembles`), in the way of these that is best on the validation
        set; without them each example is tested.

    Raises
    ------
    DataError
        If there is a single class to learn.
    """
    part = {name: [data.labels[row] for row in rows] for name, rows in vars(split).items()}
    classes = tuple(classes) or data.value_names or classes_of([*part["train"], *part["valid"]], config.task)
    if config.task == "multiclass" and len(classes) < 2:
        raise DataError(f"all training files have the label {classes[0]!r}; a probe needs at least two classes.")
    targets = {name: as_targets(labels, config.task, classes) for name, labels in part.items()}
    y = {name: found.values for name, found in targets.items()}
    offset, scale = np.zeros(len(classes), np.float32), np.ones(len(classes), np.float32)
    if config.task == "regression":  # values of any size are learned as z-scores of the training set
        offset, scale = y["train"].mean(axis=0), y["train"].std(axis=0)
        scale[scale == 0] = 1
        y = {name: (values - offset) / scale for name, values in y.items()}
    scorers = _scorers(
        config.score, y["valid"], classes, ways, None if data.tracks is None else data.tracks[split.valid]
    )
    chosen = (lambda outputs: max(score(outputs) for score in scorers.values())) if len(split.valid) else None
    fitted = fit(data.vectors[split.train], y["train"], config, valid=data.vectors[split.valid], score=chosen)
    outputs = fitted.outputs(data.vectors[split.test])
    way = ""
    if ways and data.tracks is not None:
        checked = fitted.outputs(data.vectors[split.valid])
        way = max(scorers, key=lambda name: scorers[name](checked)) if len(split.valid) else ways[0]
        tracks = data.tracks[split.test]
        outputs, y["test"] = ensembles.answers(outputs, tracks, way), ensembles.targets_of(y["test"], tracks)
    scores = metrics.evaluate(config.task, y["test"], outputs, classes, keys=keys)
    if config.task == "multilabel":  # an untrained tag has no output that could be scored
        scores["tags_left_out"] = sorted({*scores["tags_left_out"], *targets["test"].unseen})
    untrained = int((~y["test"].any(axis=1)).sum()) if config.task == "multiclass" else 0
    undefined = chosen is not None and all(epoch.score is None for epoch in fitted.history)
    info = {
        "note": _UNDEFINED.format(len(split.valid), config.score) if undefined else "",
        "best_epoch": fitted.best_epoch,
        "n_train": len(split.train),
        "n_valid": len(split.valid),
        "n_judged": len(outputs),
        "n_of_untrained_classes": untrained,
        "scores": scores,
        **({"ensemble": way} if way else {}),
    }
    moments = tuple(map(float, offset)), tuple(map(float, scale))
    probe = Probe(config, classes, fitted.head.state(), data.weights, *moments, info)
    return Run(probe, y["test"], outputs, fitted.history)


def _scorers(
    name: str, targets: np.ndarray, classes: Sequence[str], ways: Sequence[str], tracks: np.ndarray | None
) -> dict[str, Callable[[np.ndarray], float]]:
    """Return the functions from outputs on a set to a score, by the way in which a recording is answered."""
    if not ways or tracks is None:
        return {"": metrics.scorer(name, targets, classes)}
    score = metrics.scorer(name, ensembles.targets_of(targets, tracks), classes)

    def score_of(way: str, outputs: np.ndarray) -> float:
        return score(ensembles.answers(outputs, tracks, way))

    return {way: partial(score_of, way) for way in ways}


def summary(runs: Sequence[Run]) -> dict[str, dict[str, float]]:
    """Return mean and standard deviation (n - 1 in the denominator; 0 of one run) of every score over the runs."""
    found = {}
    for name, first in runs[0].scores.items():
        if isinstance(first, float):
            values = np.asarray([run.scores[name] for run in runs])
            deviation = float(values.std(ddof=1)) if len(values) > 1 else 0.0
            found[name] = {"mean": float(values.mean()), "deviation": deviation}
    return found


def _joined(first: Labelled, second: Labelled) -> Labelled:
    if first.vectors.shape[1] != second.vectors.shape[1]:
        raise DataError(
            f"the training vectors have width {first.vectors.shape[1]}, those for evaluation "
            f"{second.vectors.shape[1]}; both must come from the same model."
        )
    if first.weights and second.weights and first.weights != second.weights:
        raise DataError(
            f"the training vectors were made with {', '.join(first.weights)}, those for evaluation with "
            f"{', '.join(second.weights)}; they cannot be compared."
        )
    return Labelled(
        [*first.names, *second.names],
        np.concatenate([first.vectors, second.vectors]),
        [*first.labels, *second.labels],
        first.weights or second.weights,
        (*first.problems, *second.problems),
        first.value_names,
    )
