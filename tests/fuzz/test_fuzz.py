"""Damaged files: every reader answers with success or one sentence; ``make fuzz`` gives each 20,000 inputs."""

from __future__ import annotations

from pathlib import Path

import pytest
from trials import READERS, read_case, trial

from clamp3.jobs.parallel import process_map

N_INPUTS = 100
CASES = sorted(Path(__file__).with_name("cases").iterdir())


@pytest.mark.parametrize("name", READERS)
def test_seeds_are_read(name, tmp_path):
    """Seeds that no reader takes would leave most of it untried."""
    for number, data in enumerate(READERS[name].seeds):
        (tmp_path / str(number)).mkdir()
        try:
            READERS[name].read(tmp_path / str(number), data)
        except Exception:
            assert name == "labels"  # which tries ways to read that exclude each other


def test_what_fuzzing_found():
    """One sentence or success, in 5 seconds and 500 MB."""
    outcomes = process_map(read_case, CASES, timeout_sec=60)
    assert not [(CASES[outcome.index].name, outcome.error) for outcome in outcomes if outcome.error is not None]
    assert len(CASES) > 90


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_end_in_success_or_one_sentence(name, caplog):
    for number in range(max(20, int(N_INPUTS * READERS[name].weight))):
        trial((name, number))
