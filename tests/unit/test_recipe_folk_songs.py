"""The recipe that the examples of docs/generation.md and docs/groups.md begin with."""

import csv

import pytest

from clamp3.formats import Kind
from clamp3.formats.symbolic import to_symbolic
from recipes.folk_songs import main

pytest.importorskip("music21")


def test_songs_by_region_with_parts_and_imitations(tmp_path, capsys):
    assert main([str(tmp_path / "songs"), "--each", "6", "--parts"]) == 0
    assert "48 songs of 8 regions" in capsys.readouterr().out
    with open(tmp_path / "songs" / "labels.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["region"] for row in rows].count("Ireland") == 6 and len({row["title"] for row in rows}) == 48
    parts = {path.name: sorted(file.name for file in path.glob("*.abc")) for path in (tmp_path / "songs").iterdir()}
    assert sorted(parts["training"] + parts["real"] + parts["other"]) == parts["abc"]
    assert parts["other"] == parts["copied"] == parts["shuffled"] == parts["one_note"]
    for name in ("abc", "shuffled", "one_note"):
        for file in parts[name]:
            assert to_symbolic((tmp_path / "songs" / name / file).read_bytes(), Kind.ABC, name=file).text
    assert main([str(tmp_path / "again"), "--each", "6"]) == 0
    assert (tmp_path / "again" / "labels.csv").read_bytes() == (tmp_path / "songs" / "labels.csv").read_bytes()
