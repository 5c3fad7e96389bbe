"""Run the tasks of a retrieval benchmark with one model; every input is encoded once, failures are counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from clamp3.datasets.published import as_text
from clamp3.datasets.report import Report
from clamp3.datasets.retrieval import Benchmark, Side
from clamp3.embedding.clamp3 import Clamp3
from clamp3.errors import DataError
from clamp3.index.vectors import encode
from clamp3.modalities import modality_of
from clamp3.retrieval.confidence import caution, intervals
from clamp3.retrieval.cosine import rank_bounds
from clamp3.retrieval.metrics import evaluate, first_ranks
from clamp3.retrieval.pairing import match, shared_references
from clamp3.sources import Source


@dataclass(frozen=True)
class Score:
    """The metrics of one task; see `clamp3.retrieval.metrics.evaluate` and `intervals`."""

    task: str
    metrics: dict[str, float]
    intervals_95: dict[str, tuple[float, float]]
    n_tied: int
    n_left_out: int


@dataclass(kw_only=True)
class Scoreboard(Report):
    """Scores of one model."""

    half: ClassVar[str] = "retrieval"
    model: str
    scores: list[Score] = field(default_factory=list)

    def as_text(self) -> str:
        """Return our row below the published ones, table by table, and then every task in full."""
        ours = {(self.benchmark, score.task): score.metrics["mrr"] for score in self.scores}
        parts = [as_text(table.with_row(f"{self.model}, here", ours)) for table in self.published]
        lines = [_line("this run", "queries", "refs", "MRR", "95 %", "Hit@1", "Hit@10", "chance")]
        for score in self.scores:
            m = score.metrics
            between = "{:.4f} to {:.4f}".format(*score.intervals_95["mrr"])
            figures = (f"{m[name]:.4f}" for name in ("hit@1", "hit@10", "chance_mrr"))
            counts = (f"{m[name]:.0f}" for name in ("queries", "references"))
            lines.append(_line(score.task, *counts, f"{m['mrr']:.4f}", between, *figures))
        return "\n\n".join([*parts, "\n".join(lines)])


def _line(name: str, *figures: str) -> str:
    widths = (8, 8, 9, 18, 9, 9, 9)
    return f"{name:26}" + "".join(map(str.rjust, figures, widths))


def run_benchmark(benchmark: Benchmark, model: Clamp3, *, name: str, both: bool = False) -> Scoreboard:
    """Encode the inputs of a benchmark and evaluate its tasks.

    Parameters
    ----------
    benchmark : Benchmark
        From `clamp3.datasets.retrieval.open_benchmark`.
    model : Clamp3
        With a cache, inputs that it has encoded before are not encoded again.
    name : str
        What the report calls the model.
    both : bool
        Also run every task from references to queries, as ``<task> (back)``.

    Raises
    ------
    DataError
        If no task can be run with this model.
    """
    report = Scoreboard(model=name, **benchmark.facts())
    tasks = []
    for task in benchmark.tasks:
        lacking = {modality_of(source.kind) for _, source in task.queries + task.references}
        if reasons := {reason for modality in sorted(lacking) if (reason := model.lacks(modality))}:
            report.not_run.append(f"{task.name}: {' '.join(sorted(reasons))}")
        else:
            tasks.append(task)
    if not tasks:
        raise DataError(f"no task of {benchmark.dataset.title} can be run: {'; '.join(report.not_run)}")
    sources = [source for task in tasks for _, source in task.queries + task.references]
    vectors, failures = encode(sources, model)
    report.failures = sorted((source.name, reason) for source, reason in failures.items())
    for task in tasks:
        if said := caution(len({key for key, source in task.references if source in vectors})):
            report.notes.append(f"{task.name}: {said}")
        report.scores.append(score(task.name, task.queries, task.references, vectors))
        if both:
            report.scores.append(score(f"{task.name} (back)", task.references, task.queries, vectors))
    return report


def score(name: str, queries: Side, references: Side, vectors: dict[Source, np.ndarray]) -> Score:
    """Evaluate one task; inputs without a vector, and queries without a reference, are left out and counted.

    Parameters
    ----------
    name : str
        The task's.
    queries, references : list of (str, Source)
        Keys and inputs; those with equal keys belong together.
    vectors : dict of Source to float array, shape (D,)

    Raises
    ------
    DataError
        If nothing is left.
    """
    asking = [(key, vectors[source]) for key, source in queries if source in vectors]
    asked = [(key, vectors[source]) for key, source in references if source in vectors]
    pairing = match([key for key, _ in asking], [key for key, _ in asked])
    if not len(pairing.pairs):
        raise DataError(f"{name}: no query has a reference with a vector.")
    owners = pairing.pairs[:, 0]
    left, right = (np.stack([vector for _, vector in side]) for side in (asking, asked))
    best, worst = rank_bounds(left, right, pairing.pairs)
    first, groups = first_ranks(worst, owners), shared_references(pairing.pairs)
    several = len(first) < len(worst)
    return Score(
        name,
        evaluate(worst, len(asked), queries=owners if several else None),
        intervals(first, groups=groups),
        int(np.count_nonzero(first_ranks(best, owners) != first)),
        len(queries) - len(first),
    )
