"""Convert a folder of MIDI files (.mid .midi) into MTF, the text that CLaMP 3 reads performances from.

    python preprocessing/midi/batch_midi2mtf.py <input_dir> <output_dir>                 # as the weights expect
    python preprocessing/midi/batch_midi2mtf.py <input_dir> <output_dir> --keep_timing   # and no time is lost
    python preprocessing/midi/batch_midi2mtf.py <input_dir> <output_dir> --all_messages  # restorable by batch_mtf2midi

By default text-like messages (names, lyrics, markers) are left out together with their delta times, which is
what the published weights learned from. The output folder mirrors the input folder; ledger.jsonl in it reports the
result for every file. Run again, only what is missing or changed is done. Exit code 1: some files failed.
"""

from __future__ import annotations

import argparse
from functools import partial

from clamp3.cli import parser_for, run
from clamp3.formats import Converted, Kind
from clamp3.jobs.batch import add_batch_flags, run_batch


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script's flags."""
    parser = add_batch_flags(parser_for(__doc__))
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--m3_compatible", action="store_true", default=True, help="leave out text-like messages (default)"
    )
    which.add_argument("--all_messages", action="store_true", help="keep every message")
    parser.add_argument("--keep_timing", action="store_true", help="give the time of lost messages to the next one")
    return parser


def convert(data: bytes, name: str, *, m3_compatible: bool, keep_timing: bool) -> Converted:
    """Convert one file's content; runs in a worker."""
    from clamp3.formats.mtf import midi_to_mtf

    return midi_to_mtf(data, m3_compatible=m3_compatible, keep_timing=keep_timing)


def main(argv: list[str] | None = None) -> int:
    """Convert the folder, print the summary, return the exit code."""
    args = build_parser().parse_args(argv)
    options = {"m3_compatible": not args.all_messages, "keep_timing": args.keep_timing}
    task = "midi2mtf " + " ".join(f"{name}={value}" for name, value in options.items())
    return run_batch(partial(convert, **options), args, kinds=[Kind.MIDI], suffix=".mtf", task=task)


if __name__ == "__main__":
    raise SystemExit(run(main))
