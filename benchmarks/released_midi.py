"""The released MIDI to MTF conversion, rebuilt from its description, as the yardstick of `convert_midi.py`.

    python benchmarks/released_midi.py SOURCE TARGET --n_workers 2        # a folder
    python benchmarks/released_midi.py SOURCE TARGET --text_only          # bytes to text in one process
    PYTHONPATH=DIR python benchmarks/released_midi.py SOURCE TARGET       # with the mido in DIR

mido reads a file, merges its tracks and gives every message as a dict, whose values are joined. Files that mido
refuses are skipped. Prints a line of JSON: version of mido, files written, CPU seconds of the conversion alone.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from functools import partial
from multiprocessing import Pool
from pathlib import Path

from clamp3.cli import EXIT_OK, parser_for, run

TEXT_TYPES = ["text", "copyright", "track_name", "instrument_name", "lyrics", "marker", "cue_marker", "device_name"]


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script's flags."""
    parser = parser_for(__doc__)
    parser.add_argument("source", type=Path, help="folder of MIDI files")
    parser.add_argument("target", type=Path, help="folder to write to")
    parser.add_argument("--n_workers", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--text_only", action="store_true", help="convert in this process and write nothing")
    return parser


def to_text(data: bytes) -> str | None:
    """Return the MTF of a MIDI file, None if mido cannot read it."""
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


def convert(source: Path, root: Path, target: Path) -> bool:
    """Read, convert and write one file."""
    text = to_text(source.read_bytes())
    if text is None:
        return False
    output = (target / source.relative_to(root)).with_suffix(".mtf")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, encoding="utf-8")
    return True


def main(argv: list[str] | None = None) -> int:
    """Convert the folder, print the facts."""
    args = build_parser().parse_args(argv)
    from importlib.metadata import version

    import mido  # noqa: F401 - before the clock starts

    files = sorted(path for path in args.source.rglob("*") if path.suffix.lower() in (".mid", ".midi"))
    started = time.process_time()
    if args.text_only:
        done = [to_text(path.read_bytes()) is not None for path in files]
    else:
        with Pool(args.n_workers) as pool:
            done = pool.map(partial(convert, root=args.source, target=args.target), files)
    cpu = time.process_time() - started
    print(json.dumps({"mido": version("mido"), "written": sum(done), "cpu_sec": round(cpu, 3)}))
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
