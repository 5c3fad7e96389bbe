"""Every number of the paper's tables 2 to 12 is in the published rows of our reports."""

from __future__ import annotations

import importlib
import re
import shutil
from pathlib import Path

import pytest

from clamp3.datasets.published import HALVES, tables

COPY = Path(__file__).parent / "paper_tables"


@pytest.fixture
def cells(request, monkeypatch):
    monkeypatch.syspath_prepend(str(request.config.rootpath / "benchmarks"))
    return importlib.import_module("published_cells")


def test_every_cell_is_there(cells, capsys):
    assert cells.main([]) == 0
    assert capsys.readouterr().out == "884 of 884 cells, 1 of them by a note\n"
    notes = " ".join(note for table in tables("retrieval") for note in table.notes)
    assert [f"{value:.4f}"[1:] in notes for value in cells.CONTRADICTIONS.values()] == [True]


def test_a_cell_that_differs_is_named(cells, tmp_path, capsys):
    shutil.copytree(COPY, tmp_path, dirs_exist_ok=True)
    (tmp_path / "table_08.md").write_text(
        (COPY / "table_08.md").read_text("utf-8").replace("0.3361", "0.3362"), "utf-8"
    )
    assert cells.main(["--tables", str(tmp_path)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "Table 8: as, wikimt midi macro_f1: 0.3362",
        "883 of 884 cells, 1 of them by a note",
    ]


def test_the_best_of_each_column_is_the_papers(cells):
    """The paper's bold figures are the largest of their columns, by Table 8 as by ours."""
    best = {}
    for cell in cells.paper_cells(COPY):
        if cell.table == 8:
            best[cell.task, cell.benchmark] = max(best.get((cell.task, cell.benchmark), 0), cell.value)
    table = next(table for table in tables("classification") if table.paper == "Table 8")
    for place, column in enumerate(table.columns):
        ours = max(values[place] for values in table.rows.values() if values[place] is not None)
        assert ours == best[column.task, column.benchmark]
    assert best["midi macro_f1", "wikimt"] == 0.3361


@pytest.mark.parametrize("number", [3, 6])
def test_bleu_of_the_translations(number):
    text = (COPY / f"table_{number:02}.md").read_text(encoding="utf-8")
    bleu = re.findall(r"\d\d\.\d\d", text)
    shown = [table for table in tables("retrieval") if table.id.startswith("multilingual-")]
    assert len(shown) == 3 and len(bleu) == 10
    for table in shown:
        assert re.findall(r"\d\d\.\d\d", " ".join(table.notes)) == bleu


@pytest.mark.parametrize("table", [table for half in HALVES for table in tables(half)], ids=lambda table: table.id)
def test_provenance_is_in_the_repository(table, request):
    files = re.findall(r"table_\d\d\.md", table.provenance)
    assert [f"table_{int(number):02}.md" for number in re.findall(r"\d+", table.paper)] == files
    assert all((COPY / name).is_file() for name in files)
    assert (request.config.rootpath / "benchmarks/published_cells.py").is_file()
