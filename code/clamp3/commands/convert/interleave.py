"""Convert a folder of standard ABC into interleaved ABC, the text that the models read scores from.

    python preprocessing/abc/batch_interleaved_abc.py <input_dir> <output_dir>

Takes what batch_xml2abc.py writes, and ABC from elsewhere. Each line of the output is one bar of every voice. Titles,
names of people and lyrics are left out. The output folder mirrors the input folder; of a file with several tunes each
has an output, jigs/12.abc (with --whole_files only the first). ledger.jsonl in it reports the result for every input,
with notes on voices that disagree. Run again, only what is missing or changed is done. Exit code 1: some files failed.
"""

from __future__ import annotations

import argparse

from clamp3.formats import Converted, Kind
from clamp3.jobs.batch import add_batch_flags, run_batch


def add_arguments(parser: argparse.ArgumentParser, input_dir: str = "") -> None:
    """Add the flags; for ``input_dir`` see `clamp3.jobs.batch.add_batch_flags`."""
    add_batch_flags(parser, input_dir, ending="_interleaved", correct="repeats that end before empty bars")


def _convert(data: bytes, name: str, correct: bool = False) -> Converted:
    """Convert one file's content; runs in a worker."""
    from clamp3.formats.symbolic import score_to_interleaved

    return score_to_interleaved(data, Kind.ABC, name=name, correct=correct)


def main(args: argparse.Namespace) -> int:
    """Convert the folder, print the summary, return the exit code."""
    return run_batch(_convert, args, kinds=[Kind.ABC], suffix=".abc", task="interleaved abc")
