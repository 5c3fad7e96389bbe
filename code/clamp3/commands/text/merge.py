"""Merge single JSON files into one JSONL with filepaths relative to it.

    python preprocessing/text/merge.py metadata/ data/train.jsonl --music data/abc data/mtf

Paths in the files may be absolute, or relative to one of the --music folders (default: to the JSON file's own
folder). The music must lie below the folder of the JSONL, so that both can be moved together. Nothing is left out
silently: a file that is no JSON object or names music that is not there is reported. Exit code 1: some failed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from clamp3.errors import EXIT_OK, EXIT_SOME_FAILED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("source", type=Path, help="folder of .json files, recursively, or a JSONL")
    parser.add_argument("output", type=Path, help="JSONL to write")
    parser.add_argument("--music", type=Path, nargs="+", default=[], help="folders that filepaths are relative to")
    parser.add_argument("--allow_missing", action="store_true", help="keep paths of files that are not there")
    parser.add_argument("--show", type=int, default=20, help="failures to list; 0 = all (default: %(default)s)")


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    from clamp3.errors import printable
    from clamp3.metadata.merge import merge

    merged = merge(args.source, args.output, music=args.music, allow_missing=args.allow_missing)
    print(f"{merged.written} written to {printable(args.output)}, {len(merged.failed)} failed")
    for name, reason in merged.failed[: args.show or None]:
        print(printable(f"  failed: {name}: {reason}"))
    if 0 < args.show < len(merged.failed):
        print(f"  ... and {len(merged.failed) - args.show} more (--show 0)")
    return EXIT_SOME_FAILED if merged.failed else EXIT_OK
