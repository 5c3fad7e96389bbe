"""Convert a folder of MIDI files (.mid .midi) into MTF, the text that CLaMP 3 reads performances from.

    python preprocessing/midi/batch_midi2mtf.py <input_dir> <output_dir>                 # as the weights expect
    python preprocessing/midi/batch_midi2mtf.py <input_dir> <output_dir> --keep_timing   # and no time is lost
    python preprocessing/midi/batch_midi2mtf.py <input_dir> <output_dir> --all_messages  # restorable by batch_mtf2midi
    python preprocessing/midi/batch_midi2mtf.py <input_dir> <output_dir> --clamp2        # as CLaMP 2 and M3 expect

By default text-like messages (names, lyrics, markers) are left out together with their delta times, which is what the
published weights learned from. The released script keeps them unless it is given --m3_compatible, as its readme asks:
here that is the default, so that it cannot be forgotten. The output folder mirrors the input folder; ledger.jsonl in
it reports the result for every file. Run again, only what is missing or changed is done. Exit code 1: some failed.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from typing import Any

from clamp3.formats import Converted, Kind
from clamp3.jobs.batch import add_batch_flags, run_batch


def add_arguments(parser: argparse.ArgumentParser, input_dir: str = "", m3_compatible: bool = True) -> None:
    """Add the flags, with what a script takes without arguments as defaults.

    Parameters
    ----------
    parser : ArgumentParser
    input_dir : str
        Folder to convert; empty asks for it.
    m3_compatible : bool
        False keeps every message.
    """
    add_batch_flags(parser, input_dir, ending="_mtf")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--m3_compatible", action="store_true", help="leave out text-like messages (default)")
    which.add_argument("--all_messages", action="store_true", default=not m3_compatible, help="keep every message")
    which.add_argument("--clamp2", action="store_true", help="leave out sysex and sequencer_specific messages too")
    parser.add_argument("--keep_timing", action="store_true", help="give the time of lost messages to the next one")


def _convert(data: bytes, name: str, **options: Any) -> Converted:
    """Convert one file's content; runs in a worker."""
    from clamp3.formats.mtf import midi_to_mtf

    return midi_to_mtf(data, **options)


def main(args: argparse.Namespace) -> int:
    """Convert the folder, print the summary, return the exit code."""
    text_like = args.m3_compatible or args.clamp2 or not args.all_messages
    options: dict[str, Any] = {"m3_compatible": text_like, "keep_timing": args.keep_timing}
    if args.clamp2:
        from clamp3.models.families import FAMILIES

        options["without"] = FAMILIES["clamp2"].without
    task = "midi2mtf " + " ".join(f"{name}={value}" for name, value in options.items())
    code = run_batch(partial(_convert, **options), args, kinds=[Kind.MIDI], suffix=".mtf", task=task)
    if text_like and not (args.m3_compatible or args.clamp2):
        said = "text-like messages were left out, as the weights expect; the released script needs --m3_compatible"
        print(f"{said} for that, and --all_messages keeps them here.", file=sys.stderr)
    return code
