"""Results of a classification benchmark, as text and as rows of the documentation."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from clamp3.datasets.published import as_text, markdown_rows
from clamp3.datasets.report import Report
from clamp3.errors import ConfigError
from clamp3.jobs.atomic import write_text
from clamp3.probe.report import SHOWN


@dataclass(frozen=True)
class Score:
    """Mean and deviation of a task's scores over seeds, for one model and protocol; ``runs`` has each seed's scores."""

    model: str
    protocol: str
    task: str
    summary: dict[str, dict[str, float]]
    runs: list[dict[str, Any]]
    config: dict[str, Any]


_Figures = dict[tuple[str, str], float]  # by benchmark and task


@dataclass(kw_only=True)
class Scoreboard(Report):
    """Scores of several models and protocols."""

    half: ClassVar[str] = "classification"
    scores: list[Score] = field(default_factory=list)

    def add(self, other: Scoreboard) -> None:
        """Add the scores of another model on the same tasks, and its failures."""
        self.scores += other.scores
        self.not_run += [reason for reason in other.not_run if reason not in self.not_run]
        self.failures += other.failures

    def as_text(self) -> str:
        """Return our rows below the published ones, table by table."""
        parts = []
        for table in self.published:
            for label, (means, deviations) in self._rows().items():
                table = table.with_row(label, means)
                if deviations:
                    table = table.with_row(f"  ± deviation ({label})", deviations)
            parts.append(as_text(table))
        return "\n\n".join([*parts, "\n".join(self._lines())])

    def _rows(self) -> dict[str, tuple[_Figures, _Figures]]:
        """Return means and deviations by label."""
        rows: dict[str, tuple[_Figures, _Figures]] = {}
        for score in self.scores:
            n_seeds = len(score.runs)
            label = f"{score.model}, {score.protocol}" + (f", {n_seeds} seeds" if n_seeds > 1 else "")
            means, deviations = rows.setdefault(label, ({}, {}))
            for name, value in score.summary.items():
                key = (self.benchmark, f"{score.task} {name}")
                means[key] = value["mean"]
                if n_seeds > 1:
                    deviations[key] = value["deviation"]
        return rows

    def write_page(self, path: Path) -> None:
        """Update our rows in the file of a page; see `into_page`."""
        write_text(path, self.into_page(path.read_text(encoding="utf-8")))

    def into_page(self, page: str) -> str:
        """Return a page of the documentation with our rows updated.

        They stand between ``<!-- here: NAME -->`` and the next ``<!-- end -->``, each on a line of its own.

        Raises
        ------
        ConfigError
            If the page has no such place.
        """
        before, mark, rest = page.partition(f"<!-- here: {self.benchmark} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        if not mark or not end:
            raise ConfigError(f"the page has no lines <!-- here: {self.benchmark} --> and <!-- end -->.")
        return before + mark + self._markdown() + end + after

    def _markdown(self) -> str:
        columns = list(dict.fromkeys((score.task, name) for score in self.scores for name in score.summary))
        lines = [["model", "protocol", "seeds", *(f"{task} {SHOWN.get(name, name)}" for task, name in columns)]]
        for (model, protocol), scores in self._by_model().items():
            cells = {(s.task, name): value for s in scores for name, value in s.summary.items()}
            figures = [f"{cells[c]['mean']:.4f} ± {cells[c]['deviation']:.4f}" if c in cells else "–" for c in columns]
            lines.append([model, protocol, str(len(scores[0].runs)), *figures])
        return "\n".join([*markdown_rows(lines), ""])

    def _by_model(self) -> dict[tuple[str, str], list[Score]]:
        found: dict[tuple[str, str], list[Score]] = {}
        for score in self.scores:
            found.setdefault((score.model, score.protocol), []).append(score)
        return found

    def _lines(self) -> list[str]:
        lines = ["this run"]
        for score in self.scores:
            first = score.runs[0]
            counts = f"{first['n_train']}, {first['n_valid']} and {first['n_judged']} examples, {len(score.runs)} seeds"
            figures = ", ".join(f"{k} {v['mean']:.4f} ± {v['deviation']:.4f}" for k, v in score.summary.items())
            lines.append(f"  {score.model}, {score.task}, {score.protocol}: {figures} ({counts})")
        return lines
