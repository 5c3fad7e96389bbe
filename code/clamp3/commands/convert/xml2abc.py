"""Convert a folder of scores into standard ABC, the first of two steps to what the models read.

    python preprocessing/abc/batch_xml2abc.py <input_dir> <output_dir>
    python preprocessing/abc/batch_interleaved_abc.py <output_dir> <interleaved_dir>

Reads MusicXML (.xml .musicxml .mxl) and, through music21, Humdrum kern (.krn), MEI (.mei), .rntxt and .capx. The
output folder mirrors the input folder; ledger.jsonl in it reports the result for every file, with notes on what was
repaired or lost. Run again, only what is missing or changed is done. Exit code 1: some files failed. --correct mends
what xml2abc gets wrong in silence, and the ledger notes: keys inside bars, notes that are not printed, quarter-tones,
open grace notes, accidentals that read as another pitch.
"""

from __future__ import annotations

import argparse

from clamp3.formats import Converted, Kind, kind_of
from clamp3.jobs.batch import add_batch_flags, run_batch


def add_arguments(parser: argparse.ArgumentParser, input_dir: str = "") -> None:
    """Add the flags; for ``input_dir`` see `clamp3.jobs.batch.add_batch_flags`."""
    add_batch_flags(parser, input_dir, ending="_abc", correct="what xml2abc gets wrong in silence")


def _convert(data: bytes, name: str, correct: bool = False) -> Converted:
    """Convert one file's content; runs in a worker."""
    from clamp3.formats.symbolic import score_to_abc

    return score_to_abc(data, kind_of(name) or Kind.MUSICXML, name=name, correct=correct)


def main(args: argparse.Namespace) -> int:
    """Convert the folder, print the summary, return the exit code."""
    return run_batch(_convert, args, kinds=[Kind.MUSICXML, Kind.SCORE], suffix=".abc", task="xml2abc d=8 x=1")
