"""The README's speed table: one column per processor, never two machines in one."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from clamp3.errors import DataError

ROOT = Path(__file__).resolve().parents[2]
INTEL, AMD = "Intel(R) Xeon(R) Processor @ 2.50GHz", "AMD EPYC"


@pytest.fixture
def table(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("table")


def write(folder, name, vendor, result, processor=AMD, cores=2):
    content = {"machine": {"processor": processor, "usable_cores": cores}, "result": result}
    (folder / f"{name}.{vendor}.json").write_text(json.dumps(content), encoding="utf-8")


SPEED = {"batch_size": 32, "symbolic": {"ours": {"step_sec": 2.0}, "reference": {"step_sec": 6.2}, "times_faster": 3.2}}
RATES = {"score_per_sec_released": 1.5, "score_per_sec_float32": 6.0, "score_per_sec_bfloat16": 21.0}


def test_a_column_for_each_processor(table, tmp_path):
    write(tmp_path, "training_speed", "amd", SPEED)
    write(tmp_path, "extract", "amd", RATES)
    write(tmp_path, "extract_float32", "intel", {"score_per_sec_float32": 8.0, "first_vector_sec_text": 3.76}, INTEL)
    lines = table.table(table.read(tmp_path)).splitlines()
    assert lines[0] == f"|  | {AMD}, 2 cores | {INTEL}, 2 cores |"
    assert "| short scores per second | 1.50 → 6.00 / 21.0 (4.00 ×, 14.0 ×) | 8.00 |" in lines
    assert "| start to the first vector | – | 3.76 s |" in lines
    # What the benchmark found by turns counts, not the ratio of two medians.
    assert "| training step of 32 text–score pairs, small model | 6.20 → 2.00 s (3.20 ×) | – |" in lines


def test_what_nobody_measured_is_no_line(table, tmp_path):
    write(tmp_path, "training_speed", "amd", SPEED)
    assert len(table.table(table.read(tmp_path)).splitlines()) == 3


@pytest.mark.parametrize("other", [{"processor": "AMD Ryzen 9"}, {"cores": 16}], ids=["processor", "cores"])
def test_two_machines_do_not_share_a_column(table, tmp_path, other):
    write(tmp_path, "training_speed", "amd", SPEED)
    write(tmp_path, "extract", "amd", RATES, **other)
    with pytest.raises(DataError, match=r"several: .*training_speed on AMD EPYC, 2 cores"):
        table.read(tmp_path)


def test_a_file_under_another_vendors_name_is_refused(table, tmp_path):
    write(tmp_path, "extract", "intel", RATES)
    with pytest.raises(DataError, match=r"extract\.intel\.json was measured on AMD EPYC, 2 cores, whose vendor is amd"):
        table.read(tmp_path)


def test_the_results_kept_here_fit_together(table):
    assert table.table(table.read(table.RESULTS)).count("\n") > 5
