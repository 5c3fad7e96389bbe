"""Speed of evaluation: a folder of vectors against another, and ranks among millions.

    python benchmarks/evaluation.py
    python benchmarks/evaluation.py --quick
    python benchmarks/evaluation.py --only ranks --queries 100000      # half an hour on 2 cores

Vectors have width 768. First eval_mrr.py as a process, from 2,000 + 2,000 .npy files to the printed numbers, beside the
released way of going about it (every query against all references, one at a time, sorted in Python), which is run on
--baseline files and scales with the square of their number. Then ranks of --queries among 1,000,000 references kept in
a file of 3 GB, in a process of its own whose peak memory counts. Writes benchmarks/results/evaluation.<vendor>.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import write_result

from clamp3.cli import EXIT_OK, parser_for, run

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 768
BLOCK = 10_000


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes; a smoke test, not a measurement")
    parser.add_argument("--files", type=int, default=2_000, help="per folder (default: %(default)s)")
    parser.add_argument("--baseline", type=int, default=200, help="files of the released way (default: %(default)s)")
    parser.add_argument("--queries", type=int, default=10_000, help="queries of the large task (default: %(default)s)")
    parser.add_argument("--references", type=int, default=1_000_000, help="its references (default: %(default)s)")
    parser.add_argument("--only", choices=("folders", "ranks"), help="one part, into a file of its own")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    return parser


def write_folders(root: Path, n: int) -> None:
    """Write ``n`` references and as many queries near them, one .npy file each."""
    rng = np.random.default_rng(0)
    for kind in ("query", "reference"):
        (root / kind).mkdir(parents=True)
    for i in range(n):
        reference = rng.standard_normal((1, WIDTH), dtype=np.float32)
        np.save(root / "reference" / f"{i:06d}.npy", reference)
        np.save(root / "query" / f"{i:06d}.npy", reference + 8 * rng.standard_normal((1, WIDTH), dtype=np.float32))


def released_way(root: Path) -> float:
    """Return the MRR of two folders, one query at a time, as the released script goes about it."""
    import torch

    keys = sorted(path.name for path in (root / "query").iterdir())
    queries, references = ({key: np.load(root / kind / key)[0] for key in keys} for kind in ("query", "reference"))
    total = 0.0
    for place, key in enumerate(keys):
        stacked = torch.tensor(np.array([references[other] for other in keys]))
        cosines = torch.cosine_similarity(torch.tensor(queries[key])[None], stacked).tolist()
        order = sorted(range(len(keys)), key=lambda row: (cosines[row], row == place), reverse=True)
        total += 1 / (1 + order.index(place))
    return total / len(keys)


def folders(n: int, n_baseline: int) -> dict[str, Any]:
    """Measure eval_mrr.py and the released way."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_folders(root / "whole", n)
        write_folders(root / "part", n_baseline)
        script = [sys.executable, str(ROOT / "retrieval" / "eval_mrr.py"), "--json"]

        def ours(part: str) -> tuple[float, float]:
            started = time.perf_counter()
            command = [*script, str(root / part / "query"), str(root / part / "reference")]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            return time.perf_counter() - started, json.loads(done.stdout)["query_to_reference"]["metrics"]["mrr"]

        ours("part")  # once, so that files of Python are in memory; torch's import is not the released way's fault
        released_way(root / "part")
        seconds, mrr = min(ours("whole") for _ in range(3))
        started = time.perf_counter()
        released_mrr = released_way(root / "part")
        released = time.perf_counter() - started
        assert abs(released_mrr - ours("part")[1]) < 1e-6
    return {
        f"eval_mrr_{n}_files_process_sec": round(seconds, 3),
        f"eval_mrr_{n}_files_mrr": round(mrr, 4),
        f"released_way_{n_baseline}_files_sec": round(released, 3),
        f"released_way_{n}_files_sec_{'measured' if n == n_baseline else 'by_square'}": round(
            released * (n / n_baseline) ** 2, 1
        ),
    }


def large(n_queries: int, n_references: int) -> dict[str, Any]:
    """Measure ranks among many references in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        rng = np.random.default_rng(1)
        kept = Path(name) / "references.npy"
        shape = (n_references, WIDTH)
        references = np.lib.format.open_memmap(kept, mode="w+", dtype=np.float32, shape=shape)
        for start in range(0, n_references, BLOCK):
            rows = len(references[start : start + BLOCK])
            references[start : start + rows] = rng.standard_normal((rows, WIDTH), dtype=np.float32)
        targets = np.sort(rng.choice(n_references, n_queries, replace=n_queries > n_references))
        queries = references[targets] + 8 * rng.standard_normal((n_queries, WIDTH), dtype=np.float32)
        np.save(Path(name) / "queries.npy", queries)
        np.save(Path(name) / "targets.npy", targets)
        references.flush()
        del references, queries
        command = [sys.executable, __file__, "--worker", name]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    title = f"ranks_{n_queries}_among_{n_references}"
    return {f"{title}_{key}": value for key, value in found.items()}


def memory_mib(field: str) -> int:
    """Return a figure of this process's memory as Linux gives it."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines())
    return round(int(status[field].split()[0]) / 1024)


def worker(folder: Path) -> int:
    """Rank, and print seconds and peak memory.

    Pages of the mapped files count as resident while the system has no better use for them, so the memory of our own
    (``RssAnon``, asked for every tenth of a second) is given beside the peak of all.
    """
    from clamp3.retrieval.cosine import cosine_ranks
    from clamp3.retrieval.metrics import mrr

    queries, references = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("queries", "references"))
    targets = np.load(folder / "targets.npy")
    own, done = [memory_mib("RssAnon")], threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            own.append(memory_mib("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    found = cosine_ranks(queries, references, targets)
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    facts = {
        "sec": round(seconds, 1),
        "gflops": round(2 * len(queries) * len(references) * WIDTH / seconds / 1e9, 1),
        "own_memory_before_mib": own[0],
        "own_memory_peak_mib": max(own),
        "peak_rss_with_mapped_files_mib": memory_mib("VmHWM"),
        "mrr": round(mrr(found), 4),
    }
    print(json.dumps(facts))
    return EXIT_OK


def main(argv: list[str] | None = None) -> int:
    """Run the script; return its exit code."""
    args = build_parser().parse_args(argv)
    if args.worker:
        return worker(args.worker)
    sizes = (200, 100, 500, 20_000) if args.quick else (args.files, args.baseline, args.queries, args.references)
    result = folders(*sizes[:2]) if args.only != "ranks" else {}
    result |= large(*sizes[2:]) if args.only != "folders" else {}
    for name, value in result.items():
        print(f"{name:50} {value}")
    name = "_".join(part for part in ("evaluation", args.only, "quick" if args.quick else None) if part)
    print(f"written to {write_result(name, result)}")
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
