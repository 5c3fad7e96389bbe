"""Training data at the size of M4-RAG (2.31 million records): index, start, memory and throughput.

    python benchmarks/training_data.py
    python benchmarks/training_data.py --records 20000          # a smoke test, not a measurement

Writes made-up records (a JSONL of some 550 bytes a line, and audio vectors in tar shards) to a temporary folder,
indexes them, starts again from the index as every later run does, and draws batches; then, for comparison, loads the
JSONL whole. Every part runs in a process of its own, whose memory is read from /proc. Needs 2 GB of disk and, for the
comparison, memory for all records at once (about 5 GB). Writes benchmarks/results/training_data.<vendor>.json.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import write_result
from made_up import write_tokenizer

from clamp3.cli import EXIT_OK, parser_for, run

FULL = 2_310_000
MEMBERS, SHARDS, WIDTH, FRAMES = 20_000, 4, 16, 8  # records share members, so that the disk needed stays small
BATCH = 256


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("--records", type=int, default=FULL, help="records to make (default: 2,310,000)")
    parser.add_argument("--batches", type=int, default=200, help="batches to draw for the throughput (default: 200)")
    parser.add_argument("--folder", type=Path, help="where to make the temporary folder (default: the system's)")
    parser.add_argument("--part", choices=tuple(PARTS), help=argparse.SUPPRESS)
    return parser


def write_data(folder: Path, n_records: int) -> dict[str, Any]:
    """Write the JSONL, the shards and a word tokenizer."""
    import numpy as np

    rng = random.Random(0)
    words = ["".join(rng.choice("aeioubdfgklmnprst") for _ in range(rng.randint(3, 9))) for _ in range(5000)]
    sentences = [" ".join(rng.choices(words, k=14)) for _ in range(2000)]
    (folder / "shards").mkdir()
    for shard in range(SHARDS):
        with tarfile.open(folder / f"shards/{shard:04d}.tar", "w") as tar:
            for member in range(shard, MEMBERS, SHARDS):
                data = io.BytesIO()
                np.save(data, np.full((1, FRAMES, WIDTH), member / MEMBERS, np.float16))
                entry = tarfile.TarInfo(f"audio/{member:06d}.npy")
                entry.size = len(data.getvalue())
                tar.addfile(entry, io.BytesIO(data.getvalue()))
    started = time.perf_counter()
    with (folder / "train.jsonl").open("w", encoding="utf-8") as file:
        for i in range(n_records):
            record = {
                "id": f"piece{i}", "title": words[i % 5000], "tags": [words[i * 7 % 5000], words[i * 11 % 5000]],
                "analysis": sentences[i % 2000], "description": sentences[i * 3 % 2000],
                "translations": {"language": "French", "scene": sentences[i * 5 % 2000]},
                "filepaths": [f"audio/{i % MEMBERS:06d}.npy"],
            }  # fmt: skip
            file.write(json.dumps(record) + "\n")
    made = time.perf_counter() - started
    write_tokenizer(folder, words)
    return {"jsonl_gb": round((folder / "train.jsonl").stat().st_size / 1e9, 2), "written_sec": round(made, 1)}


def memory() -> dict[str, float]:
    """Return what this process holds now and has held at most, in MB; ``own`` leaves out pages of mapped files."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    fields = {"resident_mb": "VmRSS", "own_mb": "RssAnon", "peak_mb": "VmHWM"}
    return {name: round(int(status[field].split()[0]) / 1e3, 1) for name, field in fields.items()}


def _store(folder: Path) -> Any:
    from clamp3.data.record_store import Wanted, open_store

    return open_store(
        folder / "train.jsonl", folder / "pack", Wanted((("text", "audio"),), WIDTH, "clamp3", folder / "shards")
    )


def part_index(folder: Path, _batches: int) -> dict[str, Any]:
    """Index everything, as the first run does."""
    started = time.perf_counter()
    store = _store(folder)
    seconds = time.perf_counter() - started
    size = sum(path.stat().st_size for path in (folder / "pack").rglob("*") if path.is_file())
    return {"seconds": round(seconds, 2), "records": len(store), "index_mb": round(size / 1e6, 1), **memory()}


def part_start(folder: Path, batches: int) -> dict[str, Any]:
    """Start from the index, up to the first batch; then draw batches, in this process and with two workers."""
    import numpy as np
    import torch  # noqa: F401  what every training process holds anyway

    from clamp3.data.record_store import Records
    from clamp3.data.splits import split_hashes
    from clamp3.models.tokenizer import load_tokenizer
    from clamp3.training.batches import epoch_batches
    from clamp3.training.loading import make_loader
    from clamp3.training.pair_data import PairDataset

    tokenizer = load_tokenizer(folder)
    before = memory()
    started = time.perf_counter()
    store = _store(folder)
    chosen, _ = split_hashes(store.hashes.all(), 0.01)
    data = PairDataset(
        Records(store, chosen), store.music, tokenizer, pairs=(("text", "audio"),),
        limits={"audio": 128, "text": 128}, seed=0,
    )  # fmt: skip
    order = epoch_batches(range(len(data)), BATCH, epoch=0, seed=0)

    class Task:
        """What a loader needs of a task."""

        train_data = data
        collate = data.collate

    def rate(workers: int, n: int) -> float:
        begin = time.perf_counter()
        for _ in make_loader(Task(), order[:n], 0, workers=workers, pin=False):  # type: ignore[arg-type]
            pass
        return time.perf_counter() - begin

    rate(0, 1)
    first = time.perf_counter() - started
    after = memory()
    alone, helped = rate(0, batches), rate(2, batches)
    found = {"first_batch_sec": round(first, 2), "before": before, "at_first_batch": after, "at_end": memory()}
    drawn = min(batches, len(order)) * BATCH
    rates = {"records_per_sec": round(drawn / alone), "records_per_sec_2_workers": round(drawn / helped)}
    return {**found, **rates, "indices_read": int(np.concatenate(order).size)}


def part_whole(folder: Path, _batches: int) -> dict[str, Any]:
    """Load every record into a list, as the released scripts do."""
    before = memory()
    started = time.perf_counter()
    with (folder / "train.jsonl").open(encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    return {"seconds": round(time.perf_counter() - started, 2), "records": len(records), "before": before, **memory()}


PARTS = {"index": part_index, "start": part_start, "whole": part_whole}


def main(argv: list[str] | None = None) -> int:
    """Run the script; return its exit code."""
    args = build_parser().parse_args(argv)
    if args.part:
        print(json.dumps(PARTS[args.part](args.folder, args.batches)))
        return EXIT_OK
    result: dict[str, Any] = {"records": args.records}
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        result["data"] = write_data(folder, args.records)
        for part in PARTS:
            command = [sys.executable, __file__, "--part", part, "--folder", name, "--batches", str(args.batches)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            result[part] = json.loads(done.stdout.splitlines()[-1])
            print(f"{part:8} {json.dumps(result[part])}", flush=True)
    print(f"written to {write_result('training_data' if args.records == FULL else 'training_data_quick', result)}")
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
