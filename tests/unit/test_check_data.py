"""The checker of training data names every problem, and nothing else."""

from __future__ import annotations

import subprocess
import sys

import pytest

from clamp3.training.check_data import record_problems

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
    code = "import sys, clamp3.training.check_data; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
