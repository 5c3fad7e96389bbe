"""Hostile and damaged files by the library and by every command, and jobs killed at random moments."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASES = ROOT / "tests" / "cases"


@pytest.fixture
def cases(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("cases")


def test_bad_files_end_in_success_or_one_sentence_by_every_command(cases):
    """Each within 5 s and 500 MB; beside twenty good files, which all commands take, all in 60 s."""
    outcomes = {}
    for one in cases.check(CASES, ["encode", *cases.SCRIPTS]):
        assert not one.faults, (one.way, one.name, one.faults)
        outcomes.setdefault(one.way, []).append(one)
    assert len(outcomes["encode"]) > 40
    for way, at_least in (("search", 60), ("extraction", 60), ("xml2abc", 15), ("interleave", 20), ("abc2xml", 20)):
        (one,) = outcomes[way]
        assert int(one.name.split()[0]) >= at_least


@pytest.mark.skipif(sys.platform != "linux", reason="forks processes with libraries loaded")
def test_kills_and_races_lose_double_and_spoil_nothing(tmp_path):
    """`benchmarks/kills.py` does 200 kills and 100 races; here two kills and a race of each job."""
    command = [sys.executable, str(ROOT / "benchmarks/kills.py"), "--quick", "--results", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "code"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 races, 18 kills: 0 lost, 0 doubled, 0 wrong, 0 left over" in done.stdout
    assert len(list(tmp_path.iterdir())) == 1
