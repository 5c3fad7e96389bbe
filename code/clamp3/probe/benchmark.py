"""Run the tasks of a classification benchmark: inputs encoded once, a probe per seed, published rows beside ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count, takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from clamp3.datasets.classification import Benchmark, ClassificationTask
from clamp3.datasets.clips import Cut, clips
from clamp3.datasets.labelled import Example
from clamp3.datasets.source import without_suffix
from clamp3.errors import Clamp3Error, ConfigError, DataError
from clamp3.index.vectors import encode, load_folder
from clamp3.jobs.progress import progress
from clamp3.modalities import modality_of
from clamp3.probe import recipes, splits
from clamp3.probe.config import ProbeConfig
from clamp3.probe.metrics import need_eval
from clamp3.probe.scoreboard import Score, Scoreboard
from clamp3.probe.splits import Split
from clamp3.probe.train import Labelled, Run, summary, train_and_test
from clamp3.sources import Source

if TYPE_CHECKING:
    from clamp3.embedding.clamp3 import Clamp3

PUBLISHED, VALIDATED, MARBLE = "published protocol", "epoch by validation", "MARBLE's protocol"
CLIPS, CLAMP3_CLIPS = "MARBLE's protocol, clips", "MARBLE's setting of CLaMP 3"
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
        Folder of global vectors under the examples' ids, in a folder per task or one for all; of clips, under id,
        ``-`` and the clip's number from 0.
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
    vectors: _Stored | _Encoded
    if features is not None:
        vectors = _Stored(features, clips=benchmark.cut is not None)
    else:
        vectors = _Encoded(model(), benchmark.tasks, benchmark.cut)
    ways = recipes.ways(benchmark.dataset.name, benchmark.protocol)
    for task in benchmark.tasks:
        data, rows = vectors.labelled(task, report)
        if data is None:
            continue
        if recipes.marble(benchmark.dataset.name, task.name) and not any(e.part == "valid" for e in rows):
            report.notes.append(f"{task.name}: no example for validation has a vector; the last epoch is judged.")
        try:
            settings = protocols(benchmark, task, rows, data.names)
        except DataError as error:
            report.not_run.append(str(error))
            continue
        for protocol, config, split_of in settings:
            if num_epochs is not None:
                config = replace(config, num_epochs=num_epochs)
            try:
                runs = [
                    _best(data, split_of(seed), replace(config, seed=seed), task, ways, grid and len(settings) == 1)
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
    benchmark: Benchmark, task: ClassificationTask, examples: Sequence[Example], names: Sequence[str]
) -> list[tuple[str, ProbeConfig, SplitOf]]:
    """Return name, settings and split by seed of every protocol of a task.

    Parameters
    ----------
    benchmark : Benchmark
    task : ClassificationTask
    examples : sequence of Example
        Those that have a vector; one with several clips for each of them.
    names : sequence of str
        Their ids.

    Raises
    ------
    DataError
        If no example of a part that MARBLE needs has a vector.
    """
    marble = recipes.marble(benchmark.dataset.name, task.name, benchmark.protocol)
    if marble is not None:
        parts = {part: [row for row, example in enumerate(examples) if example.part == part] for part in _PARTS}
        if not parts["train"] or not parts["test"]:
            lacking = " and ".join(part for part in ("train", "test") if not parts[part])
            raise DataError(f"{task.name}: no example of the part {lacking} has a vector.")
        split = Split(*(np.asarray(rows, np.int64) for rows in parts.values()))
        name = CLAMP3_CLIPS if benchmark.protocol == "marble-clamp3" else CLIPS if benchmark.cut else MARBLE
        return [(name, marble, lambda _: split)]
    return [
        (PUBLISHED, recipes.RELEASED, lambda seed: splits.published_split(names, seed=seed)),
        (VALIDATED, recipes.VALIDATED, lambda seed: splits.held_out(len(names), _VALID_SHARE, _VALID_SHARE, seed)),
    ]


_PARTS = ("train", "valid", "test")


def _best(
    data: Labelled, split: Split, config: ProbeConfig, task: ClassificationTask, ways: Sequence[str], grid: bool
) -> Run:
    rates = recipes.RATES if grid and len(split.valid) else (config.learning_rate,)
    runs = [
        train_and_test(
            data, split, replace(config, learning_rate=rate), classes=task.classes, keys=task.keys, ways=ways
        )
        for rate in rates
    ]
    return max(runs, key=lambda run: max((epoch.score or -np.inf for epoch in run.history), default=-np.inf))


class _Encoded:
    """Vectors that a model computes of the examples' sources, or of their clips; every source is encoded once."""

    def __init__(self, model: Clamp3, tasks: Sequence[ClassificationTask], cut: Cut | None) -> None:
        self._lacks = model.lacks
        self._weights = model.identity
        usable = [e.source for task in tasks for e in task.examples if e.source and not self._reason(e)]
        self._vectors: dict[Source, np.ndarray]  # (D,) of a source, (C, D) of its clips
        if cut is None:
            self._vectors, self._failures = encode(usable, model)
        else:
            self._vectors, self._failures = encode_clips(usable, model, cut)

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
        return _data_of(rows, [self._vectors[e.source] for e in rows if e.source], (self._weights,), task)


def encode_clips(
    sources: Sequence[Source], model: Clamp3, cut: Cut
) -> tuple[dict[Source, np.ndarray], dict[Source, str]]:
    """Encode the clips of recordings; each recording is decoded once, and few are in memory at a time.

    Parameters
    ----------
    sources : sequence of Source
        May repeat.
    model : Clamp3
    cut : Cut

    Returns
    -------
    dict of Source to float32 array, shape (C, D)
        A row per clip.
    dict of Source to str
        Why a recording has no vectors, or not of all clips.
    """
    owners: list[Source] = []
    found: dict[Source, dict[int, np.ndarray]] = {}
    failures: dict[Source, str] = {}
    distinct = list(dict.fromkeys(sources))
    with progress(len(distinct), "encoding") as advance:

        def each_clip() -> Iterator[Source]:
            for source in distinct:
                advance(1)
                try:
                    parts = clips(source, cut)
                except Clamp3Error as error:
                    failures[source] = str(error)
                    continue
                for part in parts:
                    owners.append(source)
                    yield part

        for result in model.stream(each_clip()):
            if result.value is None:
                failures[owners[result.index]] = result.error or "a clip has no vector."
            else:
                found.setdefault(owners[result.index], {})[result.index] = result.value
    return {s: np.stack([rows[n] for n in sorted(rows)]) for s, rows in found.items()}, failures


class _Stored:
    """Vectors of a folder, by the examples' ids."""

    def __init__(self, folder: Path, *, clips: bool) -> None:
        self._folder, self._clips = folder, clips

    def labelled(self, task: ClassificationTask, report: Scoreboard) -> tuple[Labelled | None, list[Example]]:
        """Return the examples of a task that have a vector; report the others."""
        folder = self._folder / task.name if (self._folder / task.name).is_dir() else self._folder
        found = load_folder(folder, _no_model)
        by_id = {without_suffix(name): row for row, name in enumerate(found.names)}
        places = {e.id: self._places(e.id, by_id) for e in task.examples}
        rows = [e for e in task.examples if places[e.id]]
        absent = [e.id for e in task.examples if not places[e.id]]
        if absent:
            first = f"{absent[0]}{'-0' * self._clips}.npy"
            report.not_run.append(f"{task.name}: {folder} has no vector of {len(absent)} examples, first {first}.")
        if not rows:
            return None, []
        values = [found.vectors[places[e.id] if self._clips else places[e.id][0]] for e in rows]
        return _data_of(rows, values, tuple(sorted(found.weights)), task)

    def _places(self, id: str, by_id: Mapping[str, int]) -> list[int]:
        if not self._clips:
            return [by_id[id]] if id in by_id else []
        return [by_id[name] for name in takewhile(by_id.__contains__, (f"{id}-{n}" for n in count()))]


def _no_model() -> Clamp3:
    raise ConfigError("--features is a folder of global vectors; for other files leave it away and name a --model.")


def _data_of(
    rows: list[Example], values: list[np.ndarray], weights: tuple[str, ...], task: ClassificationTask
) -> tuple[Labelled, list[Example]]:
    """Return what is trained on, and its examples: one per vector (D,), one per row of clips (C, D)."""
    names = task.classes if task.kind == "regression" else ()
    n_each = [1 if value.ndim == 1 else len(value) for value in values]
    examples = [e for e, n in zip(rows, n_each, strict=True) for _ in range(n)]
    tracks = np.repeat(np.arange(len(rows)), n_each)
    labels = [e.label for e in examples]
    data = Labelled([e.id for e in examples], np.vstack(values), labels, weights, (), names, tracks)
    return data, examples


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
