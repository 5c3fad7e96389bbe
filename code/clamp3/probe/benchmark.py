"""Run the tasks of a classification benchmark: inputs encoded once, a probe per seed, published rows beside ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from clamp3.datasets.classification import Benchmark, ClassificationTask
from clamp3.datasets.labelled import Example
from clamp3.datasets.source import without_suffix
from clamp3.errors import ConfigError, DataError
from clamp3.index.vectors import encode, load_folder
from clamp3.modalities import modality_of
from clamp3.probe import recipes, splits
from clamp3.probe.config import ProbeConfig
from clamp3.probe.metrics import need_eval
from clamp3.probe.scoreboard import Score, Scoreboard
from clamp3.probe.splits import Split
from clamp3.probe.train import Labelled, Run, summary, train_and_test

if TYPE_CHECKING:
    from clamp3.embedding.clamp3 import Clamp3

PUBLISHED, VALIDATED, MARBLE = "published protocol", "epoch by validation", "MARBLE's protocol"
_VALID_SHARE = 0.2


def run_benchmark(
    benchmark: Benchmark,
    model: Callable[[], Clamp3],
    *,
    name: str,
    features: Path | None = None,
    n_seeds: int = 5,
    grid: bool = False,
    num_epochs: int | None = None,
) -> Scoreboard:
    """Encode the examples of a benchmark, train probes and test them.

    Parameters
    ----------
    benchmark : Benchmark
        From `clamp3.datasets.classification.open_benchmark`.
    model : callable
        Returns the model; not called if there are ``features``.
    name : str
        What the report calls the model.
    features : Path, optional
        Folder of global vectors under the examples' ids, in a folder per task or one for all.
    n_seeds : int
        Probes per task and protocol.
    grid : bool
        MARBLE's tasks: try its learning rates and test the one that is best on the validation set.
    num_epochs : int, optional
        In place of the protocol's.

    Raises
    ------
    ConfigError
        If there are no seeds.
    DataError
        If no task can be run.
    """
    if n_seeds < 1:
        raise ConfigError(f"{n_seeds} seeds; at least 1 is needed.")
    need_eval("sklearn", "scores of a probe")
    if any(task.keys for task in benchmark.tasks):
        need_eval("mir_eval", "scores of keys")
    report = Scoreboard(**benchmark.facts())
    vectors = _Stored(features) if features is not None else _Encoded(model(), benchmark.tasks)
    for task in benchmark.tasks:
        data, rows = vectors.labelled(task, report)
        if data is None:
            continue
        if recipes.marble(benchmark.dataset.name, task.name) and not any(e.part == "valid" for e in rows):
            report.notes.append(f"{task.name}: no example for validation has a vector; the last epoch is judged.")
        try:
            ways = protocols(benchmark.dataset.name, task, rows, data.names)
        except DataError as error:
            report.not_run.append(str(error))
            continue
        for protocol, config, split_of in ways:
            if num_epochs is not None:
                config = replace(config, num_epochs=num_epochs)
            try:
                runs = [
                    _best(data, split_of(seed), replace(config, seed=seed), task, grid and protocol == MARBLE)
                    for seed in range(config.seed, config.seed + n_seeds)
                ]
            except DataError as error:
                report.not_run.append(f"{task.name}: {error}")
                continue
            if left_out := sorted({tag for run in runs for tag in run.scores.get("tags_left_out", ())}):
                report.notes.append(f"{task.name}: tags without a score: {', '.join(left_out)}.")
            report.notes += dict.fromkeys(f"{task.name}: {note}" for run in runs if (note := run.probe.info["note"]))
            facts = [{"seed": run.seed, **run.probe.info} for run in runs]
            report.scores.append(Score(name, protocol, task.name, summary(runs), facts, config.to_plain()))
    if not report.scores:
        raise DataError(f"no task of {benchmark.dataset.title} can be run: {'; '.join(report.not_run)}")
    return report


SplitOf = Callable[[int], Split]


def protocols(
    benchmark: str, task: ClassificationTask, examples: Sequence[Example], names: Sequence[str]
) -> list[tuple[str, ProbeConfig, SplitOf]]:
    """Return name, settings and split by seed of every protocol of a task.

    Parameters
    ----------
    benchmark : str
        Its name.
    task : ClassificationTask
    examples : sequence of Example
        Those that have a vector.
    names : sequence of str
        Their ids.

    Raises
    ------
    DataError
        If no example of a part that MARBLE needs has a vector.
    """
    marble = recipes.marble(benchmark, task.name)
    if marble is not None:
        parts = {part: [row for row, example in enumerate(examples) if example.part == part] for part in _PARTS}
        if not parts["train"] or not parts["test"]:
            lacking = " and ".join(part for part in ("train", "test") if not parts[part])
            raise DataError(f"{task.name}: no example of the part {lacking} has a vector.")
        split = Split(*(np.asarray(rows, np.int64) for rows in parts.values()))
        return [(MARBLE, marble, lambda _: split)]
    return [
        (PUBLISHED, recipes.RELEASED, lambda seed: splits.published_split(names, seed=seed)),
        (VALIDATED, recipes.VALIDATED, lambda seed: splits.held_out(len(names), _VALID_SHARE, _VALID_SHARE, seed)),
    ]


_PARTS = ("train", "valid", "test")


def _best(data: Labelled, split: Split, config: ProbeConfig, task: ClassificationTask, grid: bool) -> Run:
    if not grid or not len(split.valid):
        return train_and_test(data, split, config, classes=task.classes, keys=task.keys)
    runs = [
        train_and_test(data, split, replace(config, learning_rate=rate), classes=task.classes, keys=task.keys)
        for rate in recipes.RATES
    ]
    return max(runs, key=lambda run: max(epoch.score or -np.inf for epoch in run.history))


class _Encoded:
    """Vectors that a model computes of the examples' sources; every source is encoded once."""

    def __init__(self, model: Clamp3, tasks: Sequence[ClassificationTask]) -> None:
        self._lacks = model.lacks
        self._weights = model.identity
        usable = [e.source for task in tasks for e in task.examples if e.source and not self._reason(e)]
        self._vectors, self._failures = encode(usable, model)

    def _reason(self, example: Example) -> str | None:
        assert example.source is not None
        return self._lacks(modality_of(example.source.kind))

    def labelled(self, task: ClassificationTask, report: Scoreboard) -> tuple[Labelled | None, list[Example]]:
        """Return the examples of a task that have a vector; report the others."""
        if reason := self._reason(task.examples[0]):
            report.not_run.append(f"{task.name}: {reason}")
            return None, []
        report.failures += sorted(
            (e.source.name, self._failures[e.source]) for e in task.examples if e.source in self._failures
        )
        rows = [e for e in task.examples if e.source in self._vectors]
        if not rows:
            report.not_run.append(f"{task.name}: no example has a vector.")
            return None, []
        values = np.stack([self._vectors[e.source] for e in rows if e.source is not None])
        return _data_of(rows, values, (self._weights,), task), rows


class _Stored:
    """Vectors of a folder, by the examples' ids."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def labelled(self, task: ClassificationTask, report: Scoreboard) -> tuple[Labelled | None, list[Example]]:
        """Return the examples of a task that have a vector; report the others."""
        folder = self._folder / task.name if (self._folder / task.name).is_dir() else self._folder
        found = load_folder(folder, _no_model)
        by_id = {without_suffix(name): row for row, name in enumerate(found.names)}
        rows = [e for e in task.examples if e.id in by_id]
        absent = len(task.examples) - len(rows)
        if absent:
            first = next(e.id for e in task.examples if e.id not in by_id)
            report.not_run.append(f"{task.name}: {folder} has no vector of {absent} examples, first {first}.npy.")
        if not rows:
            return None, []
        values = found.vectors[[by_id[e.id] for e in rows]]
        return _data_of(rows, values, tuple(sorted(found.weights)), task), rows


def _no_model() -> Clamp3:
    raise ConfigError("--features is a folder of global vectors; for other files leave it away and name a --model.")


def _data_of(rows: list[Example], values: np.ndarray, weights: tuple[str, ...], task: ClassificationTask) -> Labelled:
    names = task.classes if task.kind == "regression" else ()
    return Labelled([e.id for e in rows], values, [e.label for e in rows], weights, (), names)


def run_floor(benchmark: Benchmark, *, cached: bool = True, **options: Any) -> Scoreboard:
    """Run a benchmark with the published architecture and random weights: what is learned without pretraining.

    The model has a symbolic and an audio tower; its weights are drawn with seed 0, so its vectors can be cached.

    Parameters
    ----------
    benchmark : Benchmark
    cached : bool
        Keep the vectors for later runs.
    **options
        As `run_benchmark` takes them.
    """
    import torch

    from clamp3.embedding.clamp3 import Clamp3
    from clamp3.jobs.cache import VectorCache
    from clamp3.models.clamp3 import Clamp3Model
    from clamp3.models.config import Clamp3Config
    from clamp3.models.weights import save_safetensors

    config = replace(Clamp3Config.released(), text=None)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "random.safetensors"
        save_safetensors(Clamp3Model(config, generator=torch.Generator().manual_seed(0)), config, path)
        model = Clamp3(path, cache=VectorCache(None) if cached else None)
        return run_benchmark(benchmark, lambda: model, name="random weights", **options)
