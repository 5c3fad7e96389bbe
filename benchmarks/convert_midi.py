"""Time MIDI to MTF: our folder conversion against mido the way the released script uses it, on the same files.

    python benchmarks/convert_midi.py                    # the MIDI files inside the music21 package, ten copies
    python benchmarks/convert_midi.py --data DIR         # any folder of MIDI files, recursively

"folder": both read, convert and write every file with the same number of processes; ours also hashes, keeps a ledger
and renames into place. Wall seconds include starting the processes, CPU seconds are those of all of them.
"one_core": bytes to text alone, in one process, in CPU seconds. Each is timed --repeat times in turn, the best counts.
The baseline is the mido installed; the 1.3.0 that the released code pins takes about 1.65 times as long as 1.3.3.
The outputs are compared byte for byte, and every text is written back as MIDI and read again. Writes
benchmarks/results/convert_midi.json; exit code 1 if any output differs.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from typing import Any

from machine import write_result

from clamp3.cli import EXIT_OK, EXIT_SOME_FAILED, parser_for, run
from clamp3.errors import ConfigError, FormatError
from clamp3.formats import Converted, Kind, kind_of

TEXT_TYPES = ["text", "copyright", "track_name", "instrument_name", "lyrics", "marker", "cue_marker", "device_name"]


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script's flags."""
    parser = parser_for(__doc__)
    parser.add_argument("--data", type=Path, help="folder of MIDI files")
    parser.add_argument("--copies", type=int, default=10, help="copies of music21's files (without --data)")
    parser.add_argument("--n_workers", type=int, default=2, help="processes for both")
    parser.add_argument("--repeat", type=int, default=3, help="times each is run; the best counts")
    return parser


def released_text(data: bytes) -> str | None:
    """Convert as the released script does (mido's merged track, message dict by message dict); None if mido cannot."""
    import mido

    try:
        midi = mido.MidiFile(file=io.BytesIO(data))
        lines = [f"ticks_per_beat {midi.ticks_per_beat}"]
        for message in midi.merged_track:
            if message.is_meta and message.type in TEXT_TYPES:
                continue
            values = " ".join(str(value) for value in message.dict().values())
            lines.append(values.encode("unicode_escape").decode("utf-8"))
    except Exception:  # mido has no error class of its own
        return None
    return "\n".join(lines)


def released(pair: tuple[Path, Path]) -> None:
    """Read, convert and write one file."""
    source, target = pair
    text = released_text(source.read_bytes())
    if text is not None:
        target.write_text(text, encoding="utf-8")


def our_text(data: bytes) -> str | None:
    """Convert with this package; None if it refuses."""
    from clamp3.formats.mtf import midi_to_mtf

    try:
        return midi_to_mtf(data).text
    except FormatError:
        return None


def run_released(pairs: list[tuple[Path, Path]], n_workers: int) -> None:
    """Run the baseline over a pool."""
    with Pool(n_workers) as pool:
        pool.map(released, pairs)


def convert(data: bytes, name: str) -> Converted:
    """Convert one file's content; runs in a worker."""
    from clamp3.formats.mtf import midi_to_mtf

    return midi_to_mtf(data)


def run_ours(source: Path, target: Path, n_workers: int) -> None:
    """Run our folder conversion into an empty folder."""
    from clamp3.jobs.batch import convert_folder

    convert_folder(
        convert, source, target, kinds=[Kind.MIDI], suffix=".mtf", task="benchmark", n_workers=n_workers, desc=""
    )


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return wall seconds and CPU seconds of this process and its ended children."""
    before, start = os.times(), time.perf_counter()
    work()
    wall, after = time.perf_counter() - start, os.times()
    return wall, sum(after[:4]) - sum(before[:4])


def collect(data: Path | None, copies: int, folder: Path) -> list[Path]:
    """Copy the files to time into one flat folder under names of their own."""
    if data is None:
        spec = importlib.util.find_spec("music21")
        if spec is None or spec.origin is None:
            raise ConfigError("music21 is not installed; name a folder with --data.")
        found = sorted(path for path in Path(spec.origin).parent.rglob("*") if kind_of(path) is Kind.MIDI)
        found *= copies
    else:
        found = sorted(path for path in data.rglob("*") if kind_of(path) is Kind.MIDI)
    if not found:
        raise ConfigError(f"{data} holds no MIDI file.")
    folder.mkdir()
    return [Path(shutil.copyfile(path, folder / f"{index:06d}.mid")) for index, path in enumerate(found)]


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


def measure(args: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Time both on the same files and compare what they wrote."""
    files = collect(args.data, args.copies, work / "midi")
    theirs, ours = work / "released", work / "ours"
    pairs = [(path, theirs / f"{path.stem}.mtf") for path in files]
    jobs: dict[str, Callable[[], object]] = {
        "released": partial(run_released, pairs, args.n_workers),
        "ours": partial(run_ours, work / "midi", ours, args.n_workers),
    }
    contents = [path.read_bytes() for path in files]
    jobs["released, one core"] = lambda: [released_text(data) for data in contents]
    jobs["ours, one core"] = lambda: [our_text(data) for data in contents]
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for _ in range(args.repeat):
        for folder in (theirs, ours):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        for name, job in jobs.items():
            times[name].append(timed(job))
    best = {name: [min(column) for column in zip(*rows, strict=True)] for name, rows in times.items()}
    wall, cpu = ({name: seconds[which] for name, seconds in best.items()} for which in (0, 1))
    written = {folder: {path.name: path.read_bytes() for path in folder.glob("*.mtf")} for folder in (theirs, ours)}
    differing = [name for name, content in written[theirs].items() if written[ours].get(name) != content]
    return {
        "files": len(files),
        "bytes": sum(path.stat().st_size for path in files),
        "messages": sum(content.count(b"\n") for content in written[ours].values()),
        "n_workers": args.n_workers,
        "folder": {
            "released": {"wall_sec": round(wall["released"], 3), "cpu_sec": round(cpu["released"], 3)},
            "ours": {"wall_sec": round(wall["ours"], 3), "cpu_sec": round(cpu["ours"], 3)},
            "times_faster": {
                "wall": round(wall["released"] / wall["ours"], 1),
                "cpu": round(cpu["released"] / cpu["ours"], 1),
            },
        },
        "one_core": {
            "released_cpu_sec": round(cpu["released, one core"], 3),
            "ours_cpu_sec": round(cpu["ours, one core"], 3),
            "times_faster": round(cpu["released, one core"] / cpu["ours, one core"], 1),
        },
        "written": {"released": len(written[theirs]), "ours": len(written[ours])},
        "differing": differing,
        "not_restored": [path.name for path in files if not round_trip(path)],
    }


def main(argv: list[str] | None = None) -> int:
    """Measure, write the result, print it."""
    args = build_parser().parse_args(argv)
    import mido  # noqa: F401 - loaded before the clock starts; forked workers have it

    import clamp3.formats.mtf
    import clamp3.jobs.batch  # noqa: F401

    with tempfile.TemporaryDirectory() as folder:
        result = measure(args, Path(folder))
    result["data"] = args.data.name if args.data else f"music21, {args.copies} copies"
    path = write_result("convert_midi", result)
    for key, value in result.items():
        print(f"{key}: {value}")
    print(f"written to {path}")
    return EXIT_SOME_FAILED if result["differing"] or result["not_restored"] else EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
