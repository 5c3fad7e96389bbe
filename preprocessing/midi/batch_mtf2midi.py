"""Convert a folder of MTF texts (.mtf) back into MIDI files.

    python preprocessing/midi/batch_mtf2midi.py <input_dir> <output_dir>

Each text becomes a MIDI file of one track; reading that file again gives the same text. Messages that the text left
out (see batch_midi2mtf.py --all_messages) cannot come back. The output folder mirrors the input folder; ledger.jsonl
in it reports the result for every file. Run again, only what is missing or changed is done. Exit code 1: some failed.
"""

from __future__ import annotations

import argparse

from clamp3.cli import parser_for, run
from clamp3.formats import Kind
from clamp3.jobs.batch import add_batch_flags, run_batch

input_dir = ""  # a folder of MTF texts; if set, no arguments are needed, and <input_dir>_midi is written


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script's flags."""
    return add_batch_flags(parser_for(__doc__), input_dir, ending="_midi")


def convert(data: bytes, name: str) -> bytes:
    """Convert one file's content; runs in a worker."""
    from clamp3.formats.guards import decode_text
    from clamp3.formats.mtf import mtf_to_midi

    return mtf_to_midi(decode_text(data))


def main(argv: list[str] | None = None) -> int:
    """Convert the folder, print the summary, return the exit code."""
    args = build_parser().parse_args(argv)
    return run_batch(convert, args, kinds=[Kind.MTF], suffix=".mid", task="mtf2midi")


if __name__ == "__main__":
    raise SystemExit(run(main))
