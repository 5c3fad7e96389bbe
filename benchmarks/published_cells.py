"""Compare every cell of the paper's tables 2 to 12 with the published rows that our reports show.

    python benchmarks/published_cells.py                    # the copy in tests/unit/paper_tables
    python benchmarks/published_cells.py --tables DIR       # another copy, table_02.md to table_12.md

Cells that differ or are missing are printed, one a line, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clamp3.cli import EXIT_OK, EXIT_SOME_FAILED, parser_for, run
from clamp3.datasets.published import HALVES, tables
from clamp3.errors import DataError

TABLES = Path(__file__).parents[1] / "tests" / "unit" / "paper_tables"
# The paper contradicts itself here; the published row has Table 5's .1512, and its note says so.
CONTRADICTIONS = {(2, "wikimtx", "scene-abc", "saas"): 0.15}
_TARGETS = {"ABC Notation": "abc", "MIDI": "midi", "Audio": "audio"}
_LETTERS = {"S": "abc", "P": "midi", "A": "audio"}
_METRICS = {"Acc": "accuracy", "Accuracy": "accuracy", "F1-macro": "macro_f1", "ROC": "roc_auc"}
_METRICS |= {"AP": "average_precision", "R2<sup>V</sup>": "r2 valence", "R2<sup>A</sup>": "r2 arousal"}
_MARBLE = {"MTT Tagging": ("mtt", "tags"), "GS Key": ("gs", "key"), "GTZAN Genre": ("gtzan", "genre")}
_MARBLE |= {"EMO Emotion": ("emo", "emotion"), "Nsynth Instrument": ("nsynth", "instrument")}
_MARBLE |= {"Nsynth Pitch": ("nsynth", "pitch"), "VocalSet Tech": ("vocalset", "technique")}
_MARBLE |= {"VocalSet Singer": ("vocalset", "singer")}


@dataclass(frozen=True)
class Cell:
    """A number of the paper: its table, the benchmark and task that it measures, and the model."""

    table: int
    benchmark: str
    task: str
    model: str
    value: float


def paper_cells(folder: Path) -> Iterator[Cell]:
    """Yield the numbers of tables 2 to 12, read from ``table_NN.md`` in a folder.

    Raises
    ------
    DataError
        If a table is missing.
    """
    for number in range(2, 13):
        path = folder / f"table_{number:02}.md"
        if not path.is_file():
            raise DataError(f"{path} is missing.")
        yield from _cells(number, path.read_text(encoding="utf-8"))


def _cells(number: int, text: str) -> Iterator[Cell]:
    lines = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in text.splitlines()]
    head: list[str] = []
    block = ""
    for name, *cells in lines:
        if name == "Model" or cells[0] == "_RF_":  # tables 2 and 5 are two, 12 has its letters below its parts
            head = cells
        if name.strip("*") in (*_TARGETS, "Accuracy", "F1-macro"):
            block = name.strip("*")
        for place, cell in enumerate(cells):
            if re.fullmatch(r"\**0\.\d{4}\**", cell):
                benchmark, task = _task(number, head, place, block, cells[0])
                yield Cell(number, benchmark, task, _model(name), float(cell.strip("*")))


def _task(number: int, head: list[str], place: int, block: str, first: str) -> tuple[str, str]:
    """Return benchmark and task of a column; ``block`` is the line above a part, ``first`` the first cell."""
    column = head[place].strip("*_")
    benchmark, _, metric = column.rpartition(" ")
    if number in (2, 5) and column in ("WikiMT", "MidiCaps", "SDD", "MC-R"):
        return {
            "WikiMT": ("wikimt", "text-abc"),
            "MidiCaps": ("midicaps", "text-midi"),
            "SDD": ("songdescriber", "full"),
            "MC-R": ("musiccaps", "eval-RF"),
        }[column]
    if number in (2, 5):
        return "wikimtx", f"{column.lower()}-{'abc' if 'WikiMT' in head else 'audio'}"
    if number in (3, 6):
        return "wikimtx", f"background.{column}-{_TARGETS[block]}"
    if number in (4, 7):
        source, target = column.split("→")
        return "wikimtx", f"{_LETTERS[source]}-{_LETTERS[target]}"
    if number == 8:
        return benchmark.lower(), f"{first.lower()} {_METRICS[metric]}"
    if number == 9:
        name, task = _MARBLE[benchmark]
        return name, f"{task} {'key_score' if name == 'gs' else _METRICS[metric]}"
    if number == 10:
        return "jamendo", f"{benchmark.lower().removesuffix('/theme')} {_METRICS[metric]}"
    if number == 11:
        return "wikimtx", f"{column.lower()} {_METRICS[block]}"
    return "musiccaps", f"{'full' if place < 4 else 'eval'}-{column}"


def _model(name: str) -> str:
    """Return what our files call a model: ``sa_c2`` for ``CLaMP 3<sub>sa</sub><sup>c2</sup>``."""
    if stages := re.search(r"CLaMP 3.*?(?<![a-z])((?:as|sa){1,2})(?![a-z])", name):
        return stages[1] + ("_c2" if "c2" in name else "")
    return "MERT_mean" if name.startswith("_MERT") else name.strip("*_")


def differences(folder: Path) -> tuple[int, list[str]]:
    """Return how many cells the paper has, and a line for each that our published rows lack or have otherwise."""
    known: dict[tuple[int, str, str, str], float | None] = {}
    for table in (table for half in HALVES for table in tables(half)):
        for number in map(int, re.findall(r"\d+", table.paper)):
            for model, values in table.rows.items():
                for column, value in zip(table.columns, values, strict=True):
                    known[number, column.benchmark, column.task, model] = value
    cells = list(paper_cells(folder))
    lines = []
    for cell in cells:
        place = (cell.table, cell.benchmark, cell.task, cell.model)
        if cell.value not in (known.get(place), CONTRADICTIONS.get(place)):
            lines.append(f"Table {cell.table}: {cell.model}, {cell.benchmark} {cell.task}: {cell.value}")
    return len(cells), lines


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("--tables", type=Path, default=TABLES, help="folder of table_02.md to table_12.md")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the script; return its exit code."""
    args = build_parser().parse_args(argv)
    n_cells, lines = differences(args.tables)
    for line in lines:
        print(line)
    print(f"{n_cells - len(lines)} of {n_cells} cells, {len(CONTRADICTIONS)} of them by a note")
    return EXIT_SOME_FAILED if lines else EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
