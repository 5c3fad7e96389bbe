"""Pairs of songs from a log of 10 million events like MovieLens: time and memory on two cores.

    python benchmarks/preferences.py
    python benchmarks/preferences.py --events 200000         # a smoke test, not a measurement

Writes a CSV of made-up ratings to a temporary folder (70,000 users, 10,700 films whose popularity falls as a power of
their rank, a rating every minute or so in sessions of a user's own, half-star ratings, as in MovieLens 10M), then runs
preprocessing/preferences.py on it, for ratings of four stars or more and for every event, each in a process of its own
on at most two cores, and reads time and largest memory from the system. Needs 3 GB of disk. Writes
benchmarks/results/preferences.<vendor>.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from machine import write_result

from clamp3.cli import EXIT_OK, parser_for, run
from clamp3.errors import DataError

EVENTS, USERS, ITEMS = 10_000_000, 70_000, 10_700
SCRIPT = Path(__file__).resolve().parents[1] / "preprocessing/preferences.py"
FLAGS = ("--split", "both", "--json")
VARIANTS = {"four_stars_or_more": ("--min_value", "4"), "every_event": ()}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("--events", type=int, default=EVENTS, help=f"rows of the log (default: {EVENTS:,})")
    parser.add_argument("--folder", type=Path, help="where to make the temporary folder (default: the system's)")
    return parser


def write_log(path: Path, n_events: int) -> None:
    """Write the ratings; seeded, a million rows in memory at a time."""
    import numpy as np

    rng = np.random.default_rng(0)
    n_users = max(10, USERS * n_events // EVENTS)
    share = (np.arange(ITEMS) + 20.0) ** -1.1
    taste, active = rng.integers(0, 50, n_users), rng.lognormal(0, 1, n_users)
    began = rng.integers(789_652_009, 1_231_131_736, n_users)  # MovieLens 10M's first and last second
    with open(path, "w", encoding="ascii") as stream:
        stream.write("userId,movieId,rating,timestamp\n")
        for at in range(0, n_events, 1_000_000):
            n = min(1_000_000, n_events - at)
            users = rng.choice(n_users, n, p=active / active.sum())
            items = rng.choice(ITEMS, n, p=share / share.sum())
            drawn = rng.random(n) < 0.4  # what a taste prefers lies together
            items[drawn] = (items[drawn] // 50 * 50 + taste[users[drawn]]) % ITEMS
            stars = rng.choice([1, 2, 2.5, 3, 3.5, 4, 4.5, 5], n, p=[0.06, 0.09, 0.04, 0.23, 0.08, 0.28, 0.06, 0.16])
            times = began[users] + rng.integers(0, 8, n) * 86_400 * 30 + rng.integers(0, 7200, n)
            rows = zip((users + 1).tolist(), (items + 1).tolist(), stars.tolist(), times.tolist(), strict=True)
            stream.writelines(f"{user},{item},{star:g},{when}\n" for user, item, star, when in rows)


def measure(log: Path, flags: Sequence[str], folder: Path) -> dict[str, Any]:
    """Make the pairs in a process of its own; return what it took and its report."""
    command = [sys.executable, str(SCRIPT), str(log), "--output_path", str(folder / "pairs"), *flags]
    started = time.perf_counter()
    with open(folder / "report.json", "w+", encoding="utf-8") as report:
        running = subprocess.Popen(command, stdout=report)
        _, status, used = os.wait4(running.pid, 0)  # of this child alone, unlike resource.getrusage
        running.returncode = os.waitstatus_to_exitcode(status)
        if running.returncode:
            raise DataError(f"preferences.py ended with exit code {running.returncode}.")
        seconds = time.perf_counter() - started
        report.seek(0)
        found = json.load(report)
    shutil.rmtree(folder / "pairs")
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_rss_mb": round(used.ru_maxrss / 1024, 1),
        "flags": list(flags),
        "report": found,
    }


def main(argv: list[str] | None = None) -> int:
    """Measure, print and write."""
    args = build_parser().parse_args(argv)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        log = Path(folder) / "ratings.csv"
        write_log(log, args.events)
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
        result = {
            "events": args.events,
            "log_mb": round(log.stat().st_size / 1e6, 1),
            **{name: measure(log, [*flags, *FLAGS], Path(folder)) for name, flags in VARIANTS.items()},
        }
    print(json.dumps(result, indent=1))
    if args.events >= EVENTS:
        print(write_result("preferences", result))
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
