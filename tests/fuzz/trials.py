"""What a worker process does for `run.py`; imported there before its memory is limited, and with it every reader."""

from __future__ import annotations

import contextlib
import lzma
import random
import sys
import time
from pathlib import Path

from harness import all_readers, mutated, read

READERS = all_readers()
# Which reader the files in ``cases`` were found with.
FOUND_WITH = {
    "npy": ("array",), "feat": ("audio_features", "array"), "tok": ("tokenizer",), "ledger": ("ledger",),
    "batchledger": ("ledger",), "meta": ("features_json",), "steps": ("steps",), "labels": ("labels",),
    "metastore": ("metadata_store",), "textmodel": ("text_config", "mert_config"), "jsonl": ("training_jsonl",),
    "storefiles": ("training_index",), "tar": ("tar",), "cache": ("cache",), "pth": ("pth",),
    "abc": ("abc", "titles"), "abcil": ("abc",), "abc2xml": ("abc_to_musicxml",), "mtfsym": ("mtf", "mtf_to_midi"),
    "mido": ("midi", "titles"), "xml": ("musicxml", "titles"), "mxl": ("mxl", "titles"), "notation": ("roman",),
    "audio": ("recording",),
}  # fmt: skip
MOST_SEC, MOST_MB, HANG_SEC = 5.0, 500, 10.0


def damaged(name: str, number: int) -> bytes:
    """Return the n-th damaged file of a reader, always the same."""
    return mutated(READERS[name].seeds, random.Random(f"{name}:{number}"))


def trial(job: tuple[str, int]) -> None:
    """Let a reader read its n-th damaged file; a worker on a busy machine may take longer by the clock."""
    started = time.process_time()
    read(READERS[job[0]], damaged(*job))
    assert time.process_time() - started < HANG_SEC, "takes too long"


def read_case(path: Path) -> None:
    """Let the readers that a file was found with read it, in 5 seconds and 500 MB each."""
    data = path.read_bytes()
    if path.suffix == ".xz":
        data = lzma.decompress(data)
    for name in FOUND_WITH[path.name.partition("-")[0]]:
        for content in _ways(READERS[name], path.name, data):
            started, before = time.process_time(), _memory_mb("VmRSS")
            read(READERS[name], content)
            seconds, memory = time.process_time() - started, _memory_mb("VmHWM") - before
            assert seconds < MOST_SEC and memory < MOST_MB, f"{name} takes {seconds:.1f} s and {memory:.0f} MB"


def _memory_mb(which: str) -> float:
    """Return memory of this process, on Linux: now, or the most since the last call; then the count begins anew."""
    if sys.platform != "linux":
        return 0.0
    found = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(which))
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return int(found.split()[1]) / 1024


def _ways(one, name: str, data: bytes) -> list[bytes]:
    """Return what to read: the first bytes of some files say how they were read."""
    if name.startswith("storefiles"):  # named in another version of the index: its content in place of every file
        return [seed.partition(b"\0")[0] + b"\0" + data.partition(b"\0")[2] for seed in one.seeds]
    if name.startswith("metastore"):
        return [data.partition(b"\0")[2]]
    return [data[8:]] if name.startswith("notation") else [data, data[1:]]
