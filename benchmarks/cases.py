"""Every file of a folder of bad files, by the library and by every command: success or one sentence, within limits.

    python benchmarks/cases.py ../shared/cases
    python benchmarks/cases.py ../shared/cases --way encode --json cases.json

Files are music by their suffix; ``<reader>-….bin`` are what fuzzing found, by the name of the reader. Each one is
encoded by `Clamp3.encode` in this process, and all of them together, beside twenty good ones, are searched, extracted
and converted by the scripts. Prints what takes over 5 seconds of processor time or 500 MB, ends otherwise than in
success or one sentence, or costs a good file; ends with exit code 1 if anything does.
"""

from __future__ import annotations

import argparse
import lzma
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from clamp3.cli import EXIT_OK, EXIT_SOME_FAILED, parser_for, run
from clamp3.errors import MAX_SENTENCE
from clamp3.formats import kind_of
from clamp3.formats.tables import json_text, parse_json

ROOT = Path(__file__).resolve().parents[1]
MOST_SEC, MOST_MB, FOLDER_SEC, N_GOOD = 5.0, 500.0, 60.0, 20
# The readers that fuzzing names its files by, of music; `tests/fuzz` reads the others.
READERS = {"abc": ".abc", "abcil": ".abc", "abc2xml": ".abc", "mido": ".mid", "mtfsym": ".mtf", "xml": ".musicxml",
           "mxl": ".mxl", "notation": ".rntxt", "audio": ".mp3"}  # fmt: skip
SCRIPTS = {
    "search": [
        "retrieval/clamp3_search.py",
        "a slow air",
        "IN",
        "--no_cache",
        "--json",
        "--top_k",
        "1000",
        "--keep_duplicates",
    ],
    "extraction": ["code/extract_clamp3.py", "IN", "OUT", "--model", "mini", "--get_global"],
    "xml2abc": ["preprocessing/abc/batch_xml2abc.py", "IN", "OUT"],
    "interleave": ["preprocessing/abc/batch_interleaved_abc.py", "IN", "OUT"],
    "abc2xml": ["preprocessing/abc/batch_abc2xml.py", "IN", "OUT"],
    "midi2mtf": ["preprocessing/midi/batch_midi2mtf.py", "IN", "OUT"],
    "mtf2midi": ["preprocessing/midi/batch_mtf2midi.py", "IN", "OUT"],
}


@dataclass
class Cost:
    """What a process and its children took, all together."""

    wall_sec: float = 0.0
    cpu_sec: float = 0.0
    peak_mb: float = 0.0


@dataclass
class Outcome:
    """What became of one file, or of a folder by one script."""

    name: str
    way: str
    end: str
    cost: Cost
    faults: list[str] = field(default_factory=list)


@contextmanager
def measured(pid: int) -> Iterator[Cost]:
    """Yield what a process tree takes during the block; memory is what it grows by. Sampled every 20 ms."""
    import psutil

    root, cost, ended = psutil.Process(pid), Cost(), threading.Event()

    def sample() -> tuple[dict[int, float], float]:
        seconds, memory = {}, 0.0
        try:
            for process in [root, *root.children(recursive=True)]:
                try:
                    times = process.cpu_times()
                    seconds[process.pid] = times.user + times.system
                    memory += process.memory_info().rss / 2**20
                except psutil.NoSuchProcess:
                    continue
        except psutil.NoSuchProcess:
            pass
        return seconds, memory

    def watch() -> None:
        while not ended.wait(0.02):
            seconds, memory = sample()
            most.update(seconds)
            cost.peak_mb = max(cost.peak_mb, memory - idle_mb)

    before, idle_mb = sample()
    most = dict(before)
    thread, started = threading.Thread(target=watch, daemon=True), time.monotonic()
    thread.start()
    try:
        yield cost
    finally:
        ended.set()
        thread.join()
        most.update(sample()[0])
        cost.wall_sec = round(time.monotonic() - started, 2)
        cost.cpu_sec = round(sum(most.values()) - sum(before.values()), 2)
        cost.peak_mb = round(cost.peak_mb)


def gather(folder: Path, target: Path) -> list[Path]:
    """Copy the music below a folder to another, under names with suffixes; ``.xz`` ones are unpacked."""
    found: list[Path] = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.name.removesuffix(".xz")
        if name.endswith(".bin"):
            suffix = READERS.get(name.partition("-")[0])
            name = name.replace(".bin", suffix) if suffix else ""
        if not name or kind_of(name) is None:
            continue
        data = path.read_bytes()
        copy = target / f"{len(found):03}-{name}"
        copy.write_bytes(lzma.decompress(data) if path.suffix == ".xz" else data)
        found.append(copy)
    return found


def write_good(folder: Path) -> None:
    """Write twenty good files of several kinds."""
    from clamp3.formats.abc.to_musicxml import abc_to_musicxml
    from clamp3.formats.mtf import mtf_to_midi

    for number in range(N_GOOD):
        notes = "".join("CDEFGABc"[(number * 3 + step * step) % 8] for step in range(8))
        tune = f"X:1\nL:1/8\nM:4/4\nK:C\nV:1\n{notes}|{notes[::-1]}|\n"
        mtf = "ticks_per_beat 480\n" + "".join(f"note_on {n} 0 {60 + ord(c) % 20} 80\n" for n, c in enumerate(notes))
        made = {0: (".abc", tune.encode()), 1: (".mtf", f"{mtf}end_of_track 1\n".encode())}
        made[2] = (".mid", mtf_to_midi(made[1][1].decode()))
        made[3] = (".musicxml", abc_to_musicxml(tune).text.encode())
        suffix, data = made[number % 4]
        (folder / f"good{number:02}{suffix}").write_bytes(data)


def faults_of(reason: str) -> list[str]:
    """Return what is wrong with a reason that a file failed for."""
    if "\n" in reason or not reason.isprintable():
        return [f"a reason of several lines: {reason!r}"]
    if len(reason) > MAX_SENTENCE + 100 or not reason:  # the file's name stands before some
        return [f"a reason of {len(reason)} characters"]
    return ["a bug's reason: " + reason] if ".py:" in reason else []


def encode_all(files: list[Path]) -> Iterator[Outcome]:
    """Encode files one by one in this process."""
    import numpy as np

    from clamp3 import Clamp3

    model = Clamp3.from_pretrained("mini", cache=None)
    with tempfile.TemporaryDirectory() as folder:
        write_good(Path(folder))
        for path in sorted(Path(folder).iterdir()):  # what is loaded once is no file's fault
            model.encode([path])
        model.encode([(np.ones(24_000, np.float32), 24_000)])
    for path in files:
        with measured(os.getpid()) as cost:
            (result,) = model.stream([path])
        faults = faults_of(result.error) if result.error is not None else []
        faults += [f"{cost.cpu_sec} s"] * (cost.cpu_sec > MOST_SEC) + [f"{cost.peak_mb} MB"] * (cost.peak_mb > MOST_MB)
        yield Outcome(path.name, "encode", result.error or "ok", cost, faults)


def by_script(way: str, folder: Path) -> Outcome:
    """Give a folder to a script; say what it makes of good files and of others."""
    with tempfile.TemporaryDirectory() as work:
        out = Path(work) / "out"
        places = {"IN": str(folder), "OUT": str(out)}
        script, *arguments = (places.get(word, word) for word in SCRIPTS[way])
        process = subprocess.Popen(
            [sys.executable, str(ROOT / script), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        with measured(process.pid) as cost:
            printed, said = process.communicate()
        rows = {}
        if way == "search":
            answer = parse_json(printed.encode())
            rows = {hit["name"]: "" for hit in answer["results"]}
            rows |= {left["name"]: left["reason"] for left in answer["failures"]}
        elif (out / "ledger.jsonl").exists():
            for line in (out / "ledger.jsonl").read_bytes().splitlines():
                row = parse_json(line)
                if row["status"] != "begun":
                    rows[row["input"]] = row.get("reason", "") if row["status"] == "failed" else ""
    failed = {name: reason for name, reason in rows.items() if reason}
    faults = [f"{name}: {fault}" for name, reason in failed.items() for fault in faults_of(reason)]
    faults += [f"{name} failed: {reason}" for name, reason in failed.items() if name.startswith("good")]
    faults += [f"exit code {process.returncode}: {said[-300:]}"] * (
        process.returncode not in (EXIT_OK, EXIT_SOME_FAILED)
    )
    faults += ["a traceback"] * ("Traceback" in said) + ["nothing was done"] * (not rows)
    faults += ["control characters on the terminal"] * any(not line.isprintable() for line in said.splitlines())
    if way in ("search", "extraction"):
        known = {name.partition("#")[0] for name in rows}  # a tune of a book is called book.abc#12
        faults += [f"{path.name} is not accounted for" for path in sorted(folder.iterdir()) if path.name not in known]
    faults += [f"{cost.cpu_sec} s"] * (cost.cpu_sec > FOLDER_SEC)
    return Outcome(f"{len(rows)} files", way, f"{len(rows) - len(failed)} ok, {len(failed)} failed", cost, faults)


def check(folder: Path, ways: list[str]) -> list[Outcome]:
    """Return what became of every file of a folder, and of all of them by each script."""
    outcomes = []
    with tempfile.TemporaryDirectory() as work:
        files = gather(folder, Path(work))
        if "encode" in ways:
            outcomes += list(encode_all(files))
        write_good(Path(work))
        outcomes += [by_script(way, Path(work)) for way in ways if way != "encode"]
    return outcomes


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("folder", type=Path, help="read recursively; .xz files are unpacked")
    parser.add_argument("--way", nargs="+", choices=("encode", *SCRIPTS), default=["encode", *SCRIPTS], help="which")
    parser.add_argument("--json", type=Path, help="file to write everything to")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the script; return its exit code."""
    args = build_parser().parse_args(argv)
    outcomes = check(args.folder, args.way)
    for one in outcomes:
        if one.way != "encode" or one.faults:
            print(f"{one.way:<11} {one.name:<44} {one.cost.cpu_sec:>6} s {one.cost.peak_mb:>6} MB  {one.end[:100]}")
        for fault in one.faults:
            print(f"    fault: {fault}")
    single = [one for one in outcomes if one.way == "encode"]
    if single:
        slowest, largest = max(single, key=lambda one: one.cost.cpu_sec), max(single, key=lambda one: one.cost.peak_mb)
        print(f"{len(single)} files encoded, {sum(one.end == 'ok' for one in single)} with success")
        print(f"    slowest: {slowest.name}, {slowest.cost.cpu_sec} s")
        print(f"    most memory: {largest.name}, {largest.cost.peak_mb} MB")
    n_faults = sum(len(one.faults) for one in outcomes)
    print(f"{n_faults} faults")
    if args.json:
        args.json.write_text(json_text([asdict(one) for one in outcomes], indent=1) + "\n", encoding="utf-8")
    return EXIT_SOME_FAILED if n_faults else EXIT_OK


if __name__ == "__main__":
    sys.exit(run(main))
