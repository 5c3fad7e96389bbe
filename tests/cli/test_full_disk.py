"""A full disk, as a limit on the size of files: one sentence with the file, what was there stays, a rerun ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "unit"))

from training_music import read_rows, write_music, write_text_model  # noqa: E402  (a helper of the unit tests)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a limit of POSIX")
SIZES = {"width": 32, "n_layers": 1, "n_heads": 2, "max_patches": 8, "hidden_size": 16, "text_length": 16,
         "batch_size": 6, "log_every": 1, "save_every": 1, "eval_split": 0.2}  # fmt: skip
INDEX_BYTES = 500  # less than the index of the training set takes


def call(script, *arguments, most_bytes=None):
    """Run a script, perhaps with a limit on the size of files."""

    def limit():
        import resource

        if most_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))

    command = [sys.executable, str(ROOT / script), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "code"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, preexec_fn=limit)


def assert_one_sentence(done, *said):
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr[-2000:]
    assert last.startswith("error: ") and "File too large" in last and all(word in last for word in said), last


def unfinished(folder):
    return [path for path in folder.rglob(".clamp3-*")]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_text_model(folder)
    return write_music(folder)


def test_training(data, tmp_path):
    flags = [part for name, value in SIZES.items() for part in (f"--{name}", value)]
    flags += ["--train_jsonl", data / "train.jsonl", "--text_model", data, "--text_from_scratch", "--out", tmp_path]
    script = "code/train_clamp3_symbolic.py"
    assert_one_sentence(call(script, *flags, "--epochs", 1, most_bytes=INDEX_BYTES), str(tmp_path))  # its index
    assert not unfinished(tmp_path)
    assert call(script, *flags, "--epochs", 1).returncode == 0
    before = {name: (tmp_path / name).read_bytes() for name in ("last.pt", "best.safetensors")}
    for most_bytes, said in ((2 * len(before["best.safetensors"]), "last.pt"), (1000, str(tmp_path))):
        assert_one_sentence(call(script, *flags, "--epochs", 2, most_bytes=most_bytes), said)
    assert {name: (tmp_path / name).read_bytes() for name in before} == before and not unfinished(tmp_path)
    assert call(script, *flags, "--epochs", 2).returncode == 0
    steps = [row["step"] for row in read_rows(tmp_path / "metrics.jsonl") if row["kind"] == "train"]
    assert steps == sorted(set(steps)) and not unfinished(tmp_path)


def test_a_probe(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "vectors").mkdir()
    for place, name in enumerate(("jazz", "pop")):
        for i in range(8):
            vector = rng.standard_normal((1, 600)) + 4 * np.eye(600)[place]
            np.save(tmp_path / f"vectors/{name}_{i}.npy", vector.astype(np.float32))
    flags = ["--train_folder", tmp_path / "vectors", "--num_epochs", 5, "--output", tmp_path / "probe.pth"]
    script = "classification/train_cls.py"
    assert call(script, *flags).returncode == 0
    before = (tmp_path / "probe.pth").read_bytes()
    assert_one_sentence(call(script, *flags, most_bytes=1000), "probe.pth")
    assert (tmp_path / "probe.pth").read_bytes() == before and not unfinished(tmp_path)


def test_extraction(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt").write_text("a song")
    flags = [tmp_path / "in", tmp_path / "out", "--model", "mini", "--get_global"]
    script = "code/extract_clamp3.py"
    done = call(script, *flags, most_bytes=1100)  # less than a vector of mini and its header, more than the ledger
    assert done.returncode == 1 and "1 failed" in done.stdout and "File too large" in done.stdout, done
    assert_one_sentence(call(script, *flags, most_bytes=10), str(tmp_path / "out"))  # not even a ledger
    assert not unfinished(tmp_path) and not list((tmp_path / "out").glob("*.npy"))
    done = call(script, *flags)
    assert done.returncode == 0 and len(list((tmp_path / "out").glob("*.npy"))) == 1
