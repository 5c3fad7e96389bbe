"""Time MIDI to MTF: our script against mido the way the released script uses it, on the same files.

    python benchmarks/convert_midi.py                                  # the MIDI files inside the music21 package
    python benchmarks/convert_midi.py --data DIR --copies 6            # a folder of MIDI files, and six times of it
    pip install --target MIDO mido==1.3.0 --no-deps                    # what the released code pins
    python benchmarks/convert_midi.py --data DIR --copies 6 --mido MIDO

Both are started as a person starts them, with the same number of processes: start-up, reading, converting and writing
count; ours also hashes, keeps a ledger and renames into place. "folder" is the files as they are, "copies" the same
files in several folders, where start-up matters less. "one_core" is bytes to text alone, in CPU seconds of one process.
The baseline is the mido installed, or the one in --mido; its version is in the result. Each is timed --repeat times
in turn, the best counts. Outputs are compared byte for byte, and every text is written back as MIDI and read again.
Writes benchmarks/results/convert_midi.<vendor>.json; exit code 1 if any output differs.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import write_result

from clamp3.cli import EXIT_OK, EXIT_SOME_FAILED, parser_for, run
from clamp3.errors import ConfigError, FormatError
from clamp3.formats import Kind, kind_of

ROOT = Path(__file__).resolve().parents[1]


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script's flags."""
    parser = parser_for(__doc__)
    parser.add_argument("--data", type=Path, help="folder of MIDI files (default: those inside music21)")
    parser.add_argument("--copies", type=int, default=10, help="folders of the larger set (default: %(default)s)")
    parser.add_argument("--mido", type=Path, help="folder with the mido to compare with (default: the one installed)")
    parser.add_argument("--n_workers", type=int, default=2, help="processes for both (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=3, help="times each is run (default: %(default)s)")
    return parser


def collect(data: Path | None, folder: Path, copies: int) -> list[Path]:
    """Copy the files to time into sub-folders under names of their own; return the copies."""
    if data is None:
        spec = importlib.util.find_spec("music21")
        if spec is None or spec.origin is None:
            raise ConfigError("music21 is not installed; name a folder with --data.")
        data = Path(spec.origin).parent
    found = sorted(path for path in data.rglob("*") if kind_of(path) == Kind.MIDI)
    if not found:
        raise ConfigError(f"{data} holds no MIDI file.")
    for copy in range(copies):
        (folder / str(copy)).mkdir(parents=True)
        for index, path in enumerate(found):
            shutil.copyfile(path, folder / str(copy) / f"{index:06d}.mid")
    return sorted(folder.rglob("*.mid"))


def released(source: Path, target: Path, args: argparse.Namespace, *more: str) -> dict[str, Any]:
    """Run the baseline and return what it printed."""
    environment = dict(os.environ)
    if args.mido is not None:
        environment["PYTHONPATH"] = str(args.mido.resolve())
    command = [sys.executable, str(Path(__file__).with_name("released_midi.py")), str(source), str(target), *more]
    command += ["--n_workers", str(args.n_workers)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def ours(source: Path, target: Path, args: argparse.Namespace) -> None:
    """Run our script."""
    script = ROOT / "preprocessing" / "midi" / "batch_midi2mtf.py"
    command = [sys.executable, str(script), str(source), str(target), "--n_workers", str(args.n_workers)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode not in (EXIT_OK, EXIT_SOME_FAILED):
        raise RuntimeError(done.stderr)


def our_text(data: bytes) -> str | None:
    """Convert in this process; None if the file is refused."""
    from clamp3.formats.mtf import midi_to_mtf

    try:
        return midi_to_mtf(data).text
    except FormatError:
        return None


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Return wall seconds and CPU seconds of this process and its ended children."""
    before, start = os.times(), time.perf_counter()
    work()
    wall, after = time.perf_counter() - start, os.times()
    return {"wall_sec": round(wall, 3), "cpu_sec": round(sum(after[:4]) - sum(before[:4]), 3)}


def best(runs: list[dict[str, float]]) -> dict[str, float]:
    """Return the least seconds by each clock."""
    return {clock: min(run[clock] for run in runs) for clock in runs[0]}


def compare(times: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Return the best of both ways, and how many times faster ours is."""
    theirs, mine = best(times["released"]), best(times["ours"])
    faster = {clock.split("_")[0]: round(theirs[clock] / mine[clock], 1) for clock in theirs}
    return {"released": theirs, "ours": mine, "times_faster": faster}


def measure_folder(source: Path, work: Path, args: argparse.Namespace) -> tuple[dict[str, Any], Path, Path]:
    """Time both ways on a folder; return the comparison and what the last runs wrote."""
    times: dict[str, list[dict[str, float]]] = {"released": [], "ours": []}
    theirs, mine = work / "released", work / "ours"
    for _ in range(args.repeat):
        for folder in (theirs, mine):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        times["released"].append(timed(lambda: released(source, theirs, args)))
        times["ours"].append(timed(lambda: ours(source, mine, args)))
    return {"files": len(list(source.rglob("*.mid")))} | compare(times), theirs, mine


def measure_text(files: list[Path], args: argparse.Namespace) -> dict[str, Any]:
    """Time bytes to text alone, in one process each."""
    theirs, mine = [], []
    contents = [path.read_bytes() for path in files]
    for _ in range(args.repeat):
        theirs.append(released(files[0].parent, files[0].parent, args, "--text_only"))
        mine.append(timed(lambda: [our_text(data) for data in contents])["cpu_sec"])
    before, after = min(facts["cpu_sec"] for facts in theirs), min(mine)
    return {
        "mido": theirs[0]["mido"],
        "one_core": {"released_cpu_sec": before, "ours_cpu_sec": after, "times_faster": round(before / after, 1)},
    }


def round_trip(source: Path) -> bool:
    """Tell whether MIDI to MTF to MIDI to MTF is an identity, with and without all messages."""
    from clamp3.formats.mtf import midi_to_mtf, mtf_to_midi

    data = source.read_bytes()
    for m3_compatible in (True, False):
        try:
            text = midi_to_mtf(data, m3_compatible=m3_compatible).text
        except FormatError:
            return True
        if midi_to_mtf(mtf_to_midi(text), m3_compatible=m3_compatible).text != text:
            return False
    return True


def main(argv: list[str] | None = None) -> int:
    """Measure, write the result, print it."""
    args = build_parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        files = collect(args.data, work / "one", 1)
        result: dict[str, Any] = {
            "data": args.data.name if args.data else "music21",
            "bytes": sum(path.stat().st_size for path in files),
            "n_workers": args.n_workers,
        }
        result |= measure_text(files, args)
        result["folder"], theirs, mine = measure_folder(work / "one", work, args)
        written = {way: {path.name: path.read_bytes() for path in way.rglob("*.mtf")} for way in (theirs, mine)}
        result["messages"] = sum(content.count(b"\n") for content in written[mine].values())
        result["written"] = {"released": len(written[theirs]), "ours": len(written[mine])}
        result["differing"] = [name for name, text in written[theirs].items() if written[mine].get(name) != text]
        result["not_restored"] = [path.name for path in files if not round_trip(path)]
        if args.copies > 1:
            collect(args.data, work / "many", args.copies)
            result["copies"] = measure_folder(work / "many", work, args)[0]
    path = write_result("convert_midi", result)
    for key, value in result.items():
        print(f"{key}: {value}")
    print(f"written to {path}")
    return EXIT_SOME_FAILED if result["differing"] or result["not_restored"] else EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
