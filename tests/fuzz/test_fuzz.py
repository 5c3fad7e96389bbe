"""Damaged files: every reader answers with success or one sentence; ``CLAMP3_FUZZ`` says how many inputs each gets."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest
import readers  # noqa: F401 - registers them
from harness import READERS, check, mutated
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

N_INPUTS = int(os.environ.get("CLAMP3_FUZZ", "100"))
CASES = Path(__file__).with_name("cases")
# Which reader the files in ``cases`` were found with.
FOUND_WITH = {
    "npy": ("array",), "feat": ("audio_features", "array"), "tok": ("tokenizer",), "ledger": ("ledger",),
    "batchledger": ("ledger",), "meta": ("features_json",), "steps": ("steps",), "labels": ("labels",),
    "metastore": ("metadata_store",), "textmodel": ("text_config", "mert_config"), "jsonl": ("training_jsonl",),
    "storefiles": ("training_index",), "tar": ("tar",), "cache": ("cache",),
}  # fmt: skip


def read(one, data):
    folder = Path(tempfile.mkdtemp())
    try:
        check(one, folder, data)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("name", READERS)
def test_seeds_are_read(name, tmp_path):
    for number, data in enumerate(READERS[name].seeds):
        (tmp_path / str(number)).mkdir()
        check(READERS[name], tmp_path / str(number), data)


@pytest.mark.parametrize("case", sorted(CASES.iterdir()), ids=lambda path: path.name)
def test_what_fuzzing_found(case, caplog):
    target = case.name.partition("-")[0]
    data = case.read_bytes()
    for name in FOUND_WITH[target]:
        one = READERS[name]
        if target == "storefiles":  # named in another version of the index: its content in place of every file
            content = data.partition(b"\0")[2]
            for seed in one.seeds:
                read(one, seed.partition(b"\0")[0] + b"\0" + content)
        elif target == "metastore":
            read(one, data.partition(b"\0")[2])
        else:
            read(one, data)
            read(one, data[1:])  # the first byte of some says how they were read


@pytest.mark.parametrize("name", READERS)
def test_mutated_files_end_in_success_or_one_sentence(name, caplog):
    one = READERS[name]
    count = max(20, int(N_INPUTS * one.weight))

    @settings(
        max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True
    )
    @given(st.integers(0, 2**62))
    def run(seed):
        read(one, mutated(one.seeds, random.Random(seed)))

    run()
