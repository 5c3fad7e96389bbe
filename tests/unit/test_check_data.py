"""The checker of training data names every problem, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from clamp3.cli import run
from clamp3.data.records import record_problems

FINE = {
    "id": "a",
    "title": "Air",
    "artists": ["Bach"],
    "tags": [],
    "region": None,
    "translations": {"language": "French", "scene": "un pont"},
    "filepaths": ["abc/a.abc", "shard.tar::a.npy"],
}


def test_complete_and_sparse_records_are_fine():
    assert record_problems(FINE) == []
    assert record_problems({"title": "Air", "filepaths": "a.abc"}) == []
    assert record_problems({"title": "Air"}, need_files=False) == []
    clamp2 = {"summary_en": ["A march."], "summary_nen": {"language": "French", "summary": "Une marche."}}
    assert record_problems({**clamp2, "filepaths": ["a.abc"]}) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mood": "sad"}, "unknown field 'mood'"),
        ({"translations": {"mood": "triste"}}, "unknown field translations.mood"),
        ({"translations": "French"}, "translations must be an object, got str"),
        ({"id": ""}, "id must be a non-empty string or a number, got ''"),
        ({"id": ["a"]}, "id must be a non-empty string or a number, got ['a']"),
        ({"analysis": "  "}, "analysis is empty"),
        ({"analysis": 3}, "analysis must be a string or a list of strings, got int"),
        ({"tags": ["fast", None]}, "tags holds NoneType, not a string"),
        ({"analysis": "cut \ud83d"}, r"analysis holds half a character, '\ud83d', read as ?"),
        ({"tags": ["a", "\ude00"]}, r"tags holds half a character, '\ude00', read as ?"),
        ({"filepaths": []}, "no filepaths"),
        ({"filepaths": {"abc": "a.abc"}}, "filepaths must be a list of strings, got dict"),
        ({"filepaths": ["/data/a.abc"]}, "/data/a.abc is an absolute path; name it relative to the JSONL"),
        ({"filepaths": ["C:\\a.abc"]}, "C:\\a.abc is an absolute path; name it relative to the JSONL"),
        ({"filepaths": ["x/../../a.abc"]}, "x/../../a.abc leads out of the folder of the JSONL"),
        ({"filepaths": ["a.abc", "a.abc"]}, "a.abc is named twice"),
        ({"filepaths": [3]}, "filepaths holds 3, not a path"),
    ],
)
def test_each_problem_is_named_alone(change, said):
    assert record_problems({**FINE, **change}) == [said]


def test_a_language_is_no_text():
    assert record_problems({"language": "English", "filepaths": ["a.abc"]}) == ["no text in any field"]


def test_validation_needs_no_torch():
    code = "import sys, clamp3.data.check_data; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def main(script):
    """Return the command."""
    return script("code/check_data.py").main


@pytest.fixture
def folder(tmp_path):
    """Return a folder with two good files and four that are not."""
    (tmp_path / "a.abc").write_text("M:4/4\nK:C\nV:1\n[V:1]C4|]\n")
    (tmp_path / "empty.abc").write_text(" ")
    (tmp_path / "latin.abc").write_bytes(b"K:C\nw:\xe4\n")
    (tmp_path / "torn.npy").write_bytes(b"\x93NUMPY")
    np.save(tmp_path / "a.npy", np.zeros((1, 3, 8), np.float32))
    np.save(tmp_path / "cut.npy", np.zeros((1, 300, 8), np.float32))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:-1])
    np.save(tmp_path / "wide.npy", np.zeros((1, 3, 9), np.float32))
    return tmp_path


def write(path, *rows):
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return str(path)


def test_good_data_pass(main, folder, capsys):
    rows = [{"id": i, "title": "Air", "filepaths": ["a.abc", "a.npy"]} for i in range(3)]
    assert main([write(folder / "t.jsonl", *rows)]) == 0
    assert capsys.readouterr().out.endswith("t.jsonl: 3 records, 6 files read, 0 problems\n")


def test_every_problem_has_its_line(main, folder, capsys):
    files = ["a.abc", "empty.abc", "latin.abc", "torn.npy", "cut.npy", "absent.abc", "x.mid", "wide.npy", "a.npy"]
    rows = [{"id": "a", "title": "Air", "filepaths": files}, "{torn", "", "[1]",
            {"id": "b", "mood": 1, "filepaths": ["../a.abc"]},
            {"id": "a", "title": "x", "filepaths": "a.abc"}]  # fmt: skip
    assert main([write(folder / "t.jsonl", *rows), "--json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    said = found["problems"]
    assert found["n_problems"] == len(said) == 14
    expected = [
        ("t.jsonl:1: ", "empty.abc: empty file"), ("t.jsonl:1: ", "latin.abc: no UTF-8 text (byte 6)"),
        ("t.jsonl:1: ", "torn.npy: no readable .npy"), ("t.jsonl:1: ", "cut.npy: cut short"),
        ("t.jsonl:1: ", "absent.abc: No such file"), ("t.jsonl:1: ", "x.mid: training reads .abc, .mtf, .npy"),
        ("t.jsonl:2: no JSON object", ""), ("t.jsonl:4: no JSON object", ""), ("t.jsonl:5: ", "unknown field 'mood'"),
        ("t.jsonl:5: ", "no text in any field"), ("t.jsonl:5: ", "../a.abc leads out of the folder"),
        ("t.jsonl:5: ", "a.abc: No such file"), ("t.jsonl:6: ", "the id of line 1"),
        ("t.jsonl: ", "different width: 1 of 8, 1 of 9"),
    ]  # fmt: skip
    for place, reason in expected:
        assert [s for s in said if s.startswith(place) and reason in s], (place, reason, said)


def test_overlap_of_training_and_evaluation(main, folder, capsys):
    train = write(folder / "t.jsonl", *({"id": i, "title": "x", "filepaths": "a.abc"} for i in "abc"))
    evaluation = write(folder / "e.jsonl", *({"id": i, "title": "x", "filepaths": "a.abc"} for i in "xb"))
    assert main([train, "--eval_jsonl", evaluation]) == 1
    assert "e.jsonl:2: the id of a record in t.jsonl" in capsys.readouterr().out


def test_a_long_list_is_cut_and_counted(main, folder, capsys):
    assert main([write(folder / "t.jsonl", *["{"] * 30), "--show", "3"]) == 1
    assert capsys.readouterr().out.count("no JSON object") == 3
    assert main([write(folder / "t.jsonl", *["{"] * 30), "--show", "3", "--no_files"]) == 1
    assert "30 problems, 27 not listed" in capsys.readouterr().out


def test_an_absent_or_empty_file(main, folder, capsys):
    assert run(lambda: main([str(folder / "absent.jsonl")])) == 1
    assert "absent.jsonl cannot be read" in capsys.readouterr().err
    assert main([write(folder / "t.jsonl")]) == 1
    assert "t.jsonl: no records" in capsys.readouterr().out
