"""Processor seconds until a question to a folder of raw files is answered, the first time and the next.

    python benchmarks/first_answer.py my_music/
    python benchmarks/first_answer.py my_music/ --against ../clamp3-before --rounds 3

Seconds of processor time of the search and of all its processes (user and system), which depend less on what else the
machine does than those of a clock. With --against another checkout answers by turns. Linux only. Writes
benchmarks/results/first_answer.<vendor>.json.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from machine import write_result

from clamp3.cli import EXIT_OK, parser_for, run
from clamp3.jobs.walk import existing, walk

ROOT = Path(__file__).resolve().parents[1]
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: processes that the search leaves become ours, so that they are counted
QUESTIONS = ("a slow waltz in a minor key", "a lively Irish jig")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("folder", type=existing, help="folder to search")
    parser.add_argument("--against", type=existing, help="another checkout, measured by turns")
    parser.add_argument("--model", default="mini", help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="the median counts (default: %(default)s)")
    return parser


def ask(checkout: Path, folder: Path, model: str, cache: str, question: str) -> dict[str, float]:
    """Return the seconds that the search of a checkout takes: processor, and clock."""
    script = checkout / "retrieval" / "clamp3_search.py"
    command = [sys.executable, str(script), question, str(folder), "--model", model, "--json"]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    env = {**os.environ, "PYTHONPATH": str(checkout / "code"), "CLAMP3_CACHE": cache}
    subprocess.run(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    clock = time.perf_counter() - started
    while True:  # the server of the worker processes
        try:
            os.wait()
        except ChildProcessError:
            break
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"processor_sec": round(used, 2), "clock_sec": round(clock, 2)}


def main(argv: list[str] | None = None) -> int:
    """Run the script; return its exit code."""
    args = build_parser().parse_args(argv)
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    checkouts = {"here": ROOT, **({"against": args.against.resolve()} if args.against else {})}
    taken: dict[str, dict[str, list[dict[str, float]]]] = {name: {"first": [], "next": []} for name in checkouts}
    for _ in range(args.rounds):
        for name, checkout in reversed(checkouts.items()):
            with tempfile.TemporaryDirectory() as cache:
                for place, question in zip(("first", "next"), QUESTIONS, strict=True):
                    taken[name][place].append(ask(checkout, args.folder, args.model, cache, question))
                    print(name, place, taken[name][place][-1], flush=True)
    found = walk(args.folder)
    result: dict[str, Any] = {
        "model": args.model,
        "files": dict(Counter(file.kind.value for file in found.files)),
        "bytes": sum(file.size for file in found.files),
    }
    for name, places in taken.items():
        for place, runs in places.items():
            for unit in ("processor_sec", "clock_sec"):
                values = [one[unit] for one in runs]
                result[f"{name}_{place}_{unit}"] = {"median": statistics.median(values), "least": min(values)}
    print(f"written to {write_result('first_answer', result)}")
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
