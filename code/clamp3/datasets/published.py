"""Tables of published results, to which our rows can be added.

The numbers are in ``published_<half>.json``: for each table its columns, a row per model, what is measured, which table
of which paper, and how the numbers were obtained. None of them is computed here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

HALVES = ("retrieval", "classification")
Figures = Mapping[tuple[str, str], float]  # by benchmark and task


@dataclass(frozen=True)
class Column:
    """A column: the task of a benchmark that it measures, and its heading."""

    benchmark: str
    task: str
    label: str


@dataclass(frozen=True)
class Table:
    """A published table; ``rows`` has a value, or None where the paper has none, per column and model."""

    id: str
    title: str
    metric: str
    paper: str
    provenance: str
    notes: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: dict[str, tuple[float | None, ...]]

    def of(self, benchmark: str) -> Table:
        """Return the table with the columns of one benchmark, and the models that have a value there."""
        kept = [place for place, column in enumerate(self.columns) if column.benchmark == benchmark]
        rows = {model: tuple(values[place] for place in kept) for model, values in self.rows.items()}
        rows = {model: values for model, values in rows.items() if any(value is not None for value in values)}
        return replace(self, columns=tuple(self.columns[place] for place in kept), rows=rows)

    def with_row(self, model: str, figures: Figures) -> Table:
        """Return the table with one more row.

        Parameters
        ----------
        model : str
            Name of the row.
        figures : mapping from (str, str) to float
            Values by benchmark and task.
        """
        row = tuple(figures.get((column.benchmark, column.task)) for column in self.columns)
        return replace(self, rows={**self.rows, model: row})


def tables(half: str, benchmark: str | None = None) -> list[Table]:
    """Return the published tables of retrieval or classification, or of one benchmark.

    Parameters
    ----------
    half : {"retrieval", "classification"}
    benchmark : str, optional
        Only its columns, and the tables that have any.
    """
    path = files("clamp3.datasets") / f"published_{half}.json"
    text = path.read_text(encoding="utf-8")
    found = [_table(entry) for entry in json.loads(text)["tables"]]
    return found if benchmark is None else [part for table in found if (part := table.of(benchmark)).columns]


def as_text(table: Table) -> str:
    """Return a table for a terminal: a line per model, figures below their headings."""
    lines = _cells(table)
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    drawn = [f"{table.title}: {table.metric} ({table.paper})"]
    for name, *figures in lines:
        padded = [figure.rjust(width) for figure, width in zip(figures, widths[1:], strict=True)]
        drawn.append("  ".join([name.ljust(widths[0]), *padded]))
    return "\n".join(drawn)


def as_markdown(table: Table) -> str:
    """Return a table for a page of the documentation, with its notes and provenance."""
    notes = [f"- {note}" for note in (*table.notes, f"Source: {table.provenance}.")]
    return "\n".join([f"**{table.title}, {table.metric}**", "", *markdown_rows(_cells(table)), "", *notes])


def markdown_rows(lines: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table in Markdown; the first of ``lines`` is its head."""
    head, *rest = lines
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rest)]


def refreshed(page: str, known: Mapping[str, Table]) -> str:
    """Return a page with the published rows between its marks updated.

    A block begins with ``<!-- published: ID -->`` and ends with ``<!-- end -->``, each on a line of its own.

    Parameters
    ----------
    page : str
        Markdown.
    known : mapping from str to Table
        Tables by id.

    Raises
    ------
    KeyError
        If a block names an unknown table.
    """
    kept: list[str] = []
    inside = False
    for line in page.splitlines():
        if line.strip() == "<!-- end -->":
            inside = False
        if not inside:
            kept.append(line)
        if line.startswith("<!-- published: "):
            kept += [as_markdown(known[line.removeprefix("<!-- published: ").removesuffix(" -->")])]
            inside = True
    return "\n".join(kept) + "\n"


def _cells(table: Table) -> list[list[str]]:
    lines = [["", *(column.label for column in table.columns)]]
    for model, values in table.rows.items():
        lines.append([model, *("–" if value is None else f"{value:.4f}" for value in values)])
    return lines


def _table(entry: dict[str, Any]) -> Table:
    columns = tuple(Column(**column) for column in entry["columns"])
    rows = {model: tuple(values) for model, values in entry["rows"].items()}
    return Table(**{**entry, "notes": tuple(entry["notes"]), "columns": columns, "rows": rows})
