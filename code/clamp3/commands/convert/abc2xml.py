"""Convert a folder of ABC, plain or interleaved, into MusicXML (to view, play or edit it in notation programs).

    python preprocessing/abc/batch_abc2xml.py <input_dir> <output_dir>

Of several tunes in a file the first is taken. The output folder mirrors the input folder; ledger.jsonl in it reports
the result for every file, with notes on signs that could not be read. Run again, only what is missing or changed is
done. Exit code 1: some files failed.
"""

from __future__ import annotations

import argparse
from pathlib import PurePath

from clamp3.formats import Converted, Kind
from clamp3.jobs.batch import add_batch_flags, run_batch


def add_arguments(parser: argparse.ArgumentParser, input_dir: str = "") -> None:
    """Add the flags; for ``input_dir`` see `clamp3.jobs.batch.add_batch_flags`."""
    add_batch_flags(parser, input_dir, ending="_xml", correct="accidentals that abc2xml forgets behind ties")


def _convert(data: bytes, name: str, correct: bool = False) -> Converted:
    """Convert one file's content; runs in a worker."""
    from clamp3.formats.abc.to_musicxml import abc_to_musicxml
    from clamp3.formats.guards import decode_lenient

    text, notes = decode_lenient(data)
    made = abc_to_musicxml(text, name=PurePath(name).stem, correct=correct)
    return Converted(made.text, notes + made.notes)


def main(args: argparse.Namespace) -> int:
    """Convert the folder, print the summary, return the exit code."""
    return run_batch(_convert, args, kinds=[Kind.ABC], suffix=".xml", task="abc2xml")
