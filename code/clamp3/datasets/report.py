"""The report of a benchmark run, of retrieval or classification."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from clamp3.datasets.published import Table, tables
from clamp3.formats.tables import json_text, without_nan
from clamp3.jobs.atomic import write_text


@dataclass(kw_only=True)
class Report:
    """Scores of a benchmark, and what a reader must know beside them.

    Attributes
    ----------
    half : {"retrieval", "classification"}
        Which published tables are shown beside the scores.
    benchmark : str
        Its name.
    scores : list
        A dataclass per task, different for the two halves.
    not_run : list of str
        Tasks and parts that were left out, with the reason.
    notes : list of str
        Remarks on the data.
    missing_inputs : list of str
        Every file or row that the data set's folder lacks; JSON only.
    failures : list of (str, str)
        Inputs without a vector, and why.
    """

    half: ClassVar[str]
    benchmark: str
    scores: list[Any] = field(default_factory=list)
    not_run: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    missing_inputs: list[str] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)

    @property
    def published(self) -> list[Table]:
        """The published tables, with the columns of this benchmark."""
        return tables(self.half, self.benchmark)

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON, published tables included."""
        return without_nan({**asdict(self), "published": [asdict(table) for table in self.published]})

    def write(self, path: Path) -> None:
        """Write the report as JSON."""
        write_text(path, json_text(self.as_dict(), indent=1) + "\n")

    def remarks(self) -> list[str]:
        """Return notes, what was not run, and what was left out, a line each."""
        left_out = [f"left out: {name}: {reason}" for name, reason in dict.fromkeys(self.failures)]
        return [*(f"note: {note}" for note in self.notes), *(f"not there: {part}" for part in self.not_run), *left_out]
