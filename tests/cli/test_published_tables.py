"""Every published table has a command; in an empty folder it names what it needs, one by one."""

import re

import pytest

from clamp3.cli import run
from clamp3.datasets import classification, retrieval
from clamp3.datasets.published import tables
from clamp3.errors import EXIT_USAGE

HALVES = {"retrieval": retrieval.BENCHMARKS, "classification": classification.BENCHMARKS}
COLUMNS = sorted(
    {
        (int(number), half, column.benchmark)
        for half in HALVES
        for table in tables(half)
        for number in re.findall(r"\d+", table.paper)
        for column in table.columns
    }
)


def test_all_tables_have_commands():
    assert {number for number, _, _ in COLUMNS} == set(range(2, 13))


@pytest.mark.parametrize(("half", "name"), sorted({(half, name) for _, half, name in COLUMNS}))
def test_an_empty_folder_has_its_missing_inputs_named(half, name, tmp_path, script, capsys):
    arguments = [name, "--data", str(tmp_path), "--model", "mini"]
    assert run(lambda: script(f"{half}/benchmark.py").main(arguments)) == EXIT_USAGE
    said = capsys.readouterr().err
    dataset = HALVES[half][name][0]
    needed = [each for each in dataset.inputs if not each.optional]
    assert needed and dataset.missing(tmp_path) == needed
    places = [said.index(each.path, said.index(" lacks ")) for each in needed]
    assert places == sorted(places), "each is named"
    assert f". Get {dataset.title} from {dataset.url}" in said
    group = {"retrieval": "evaluate", "classification": "classify"}[half]
    assert f"clamp3 {group} benchmark {name}" in pages()


def pages():
    from pathlib import Path

    folder = Path(__file__).resolve().parents[2] / "docs" / "tables"
    return re.sub(" +", " ", "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.md"))))


def test_an_input_is_no_longer_missing_once_it_is_there(tmp_path):
    dataset = classification.BENCHMARKS["gtzan"][0]

    def missing():
        return [each.path for each in dataset.missing(tmp_path)]

    (tmp_path / "valid_filtered.txt").touch()
    (tmp_path / "Data" / "genres_original" / "jazz").mkdir(parents=True)
    assert missing()[1:] == ["test_filtered.txt", "genres/<genre>/<genre>.000NN.wav"]
    (tmp_path / "Data" / "genres_original" / "jazz" / "jazz.00001.wav").touch()
    assert missing() == ["train_filtered.txt", "test_filtered.txt"]
