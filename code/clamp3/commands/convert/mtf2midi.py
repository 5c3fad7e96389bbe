"""Convert a folder of MTF texts (.mtf) back into MIDI files.

    python preprocessing/midi/batch_mtf2midi.py <input_dir> <output_dir>

Each text becomes a MIDI file of one track; reading that file again gives the same text. Messages that the text left
out (see batch_midi2mtf.py --all_messages) cannot come back. The output folder mirrors the input folder; ledger.jsonl
in it reports the result for every file. Run again, only what is missing or changed is done. Exit code 1: some failed.
"""

from __future__ import annotations

import argparse

from clamp3.formats import Kind
from clamp3.jobs.batch import add_batch_flags, run_batch


def add_arguments(parser: argparse.ArgumentParser, input_dir: str = "") -> None:
    """Add the flags; for ``input_dir`` see `clamp3.jobs.batch.add_batch_flags`."""
    add_batch_flags(parser, input_dir, ending="_midi")


def _convert(data: bytes, name: str) -> bytes:
    """Convert one file's content; runs in a worker."""
    from clamp3.formats.guards import decode_text
    from clamp3.formats.mtf import mtf_to_midi

    return mtf_to_midi(decode_text(data))


def main(args: argparse.Namespace) -> int:
    """Convert the folder, print the summary, return the exit code."""
    return run_batch(_convert, args, kinds=[Kind.MTF], suffix=".mid", task="mtf2midi")
