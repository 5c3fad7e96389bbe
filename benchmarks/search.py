"""Speed of ranking stored vectors, and of reading them.

    python benchmarks/search.py
    python benchmarks/search.py --quick

Random vectors of width 768. Prints seconds and writes benchmarks/results/search.<vendor>.json.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from machine import write_result

from clamp3.cli import EXIT_OK, parser_for, run

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 768


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes; a smoke test, not a measurement")
    parser.add_argument("--repeats", type=int, default=5, help="runs per figure; the median counts (default: 5)")
    return parser


def seconds(action: Callable[[], Any], repeats: int) -> float:
    """Return the median time of some runs."""
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        taken.append(time.perf_counter() - started)
    return round(statistics.median(taken), 5)


def main(argv: list[str] | None = None) -> int:
    """Run the script; return its exit code."""
    args = build_parser().parse_args(argv)
    from clamp3.index.ranking import rank
    from clamp3.index.vectors import load_folder

    rng = np.random.default_rng(0)
    query = rng.standard_normal(WIDTH).astype(np.float32)
    result: dict[str, Any] = {}
    for n in (1_000, 10_000) if args.quick else (1_000, 10_000, 100_000):
        reference = rng.standard_normal((n, WIDTH), dtype=np.float32)
        result[f"rank_{n}_sec"] = seconds(partial(rank, query, reference, 10), args.repeats)
    n_files = 500 if args.quick else 10_000
    with tempfile.TemporaryDirectory() as folder:
        for i in range(n_files):
            np.save(Path(folder) / f"{i:05d}.npy", rng.standard_normal((1, WIDTH), dtype=np.float32))
        result[f"load_{n_files}_files_sec"] = seconds(lambda: load_folder(Path(folder)), args.repeats)
        command = [sys.executable, str(ROOT / "retrieval" / "semantic_search.py"), f"{folder}/00000.npy", folder]
        whole = seconds(lambda: subprocess.run(command, check=True, capture_output=True), args.repeats)
        result[f"semantic_search_{n_files}_files_process_sec"] = whole
    for name, value in result.items():
        print(f"{name:45} {value}")
    print(f"written to {write_result('search_quick' if args.quick else 'search', result)}")
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
