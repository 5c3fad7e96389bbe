"""Check the texts of a training JSONL, and print statistics of them.

    python preprocessing/text/check.py records.jsonl
    python preprocessing/text/check.py records.jsonl --plots figures/

Finds everything that python code/check_data.py does (structure, ids, files), and texts in another language than
stated, languages and regions that are not ISO names. Prints the mean length of every field in bytes, as table 1 of
the CLaMP 3 paper, and how many records there are of each language and region. Exit code 1: there are problems.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from clamp3.errors import EXIT_OK, EXIT_SOME_FAILED
from clamp3.formats.tables import json_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("jsonl", type=Path, help="one object per piece, of CLaMP 3 (M4-RAG) or CLaMP 2")
    parser.add_argument("--plots", type=Path, help="folder to draw languages, regions and lengths into")
    parser.add_argument("--no_files", action="store_true", help="do not look at the files the records name")
    parser.add_argument("--no_languages", action="store_true", help="do not detect the language of the texts")
    parser.add_argument("--show", type=int, default=20, help="problems to list; 0 = all (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    from clamp3.metadata.check import check_texts
    from clamp3.metadata.job import need_packages

    need_packages("py3langid", "pycountry")
    check, statistics = check_texts(args.jsonl, files=not args.no_files, languages=not args.no_languages)
    if args.json:
        print(json_text({**check.facts(), **statistics.facts()}, indent=1))
    else:
        print(statistics.text())
        shown = check.problems[: args.show or None]
        print(*shown, sep="\n", end="\n" if shown else "")
        print(f"{check.n_records} records, {check.n_problems} problems, {len(shown)} of them listed")
    if args.plots:
        from clamp3.metadata.plots import draw

        draw(statistics, args.plots)
    return EXIT_SOME_FAILED if check.n_problems else EXIT_OK
