"""Compare groups of pieces: regions, centuries, composers. How alike are they, and which words tell them apart?

    python retrieval/groups.py songs/ --labels songs.csv --by region --out regions/
    python retrieval/groups.py songs/ --labels songs.csv --by region --words words.txt --model saas --out regions/
    python retrieval/groups.py features/ --by folder --out composers/

The folder holds scores, MIDI, recordings or vectors. --labels is a table (.csv, .tsv, .jsonl, .json) with a row per
file; --by names a column of it, or "folder". --words is a text file with a prompt per line. Into --out are written
groups.json, groups.png (dendrogram, matrix of similarities, words) and groups.html. docs/groups.md has an example.
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path
from typing import Any

from clamp3.cli import EXIT_OK, EXIT_SOME_FAILED, add_model_flags, open_model
from clamp3.formats.tables import json_text
from clamp3.jobs.walk import existing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("folder", type=existing, help="scores, MIDI, recordings or vectors")
    parser.add_argument("--labels", type=existing, metavar="FILE", help="table with a row per file")
    parser.add_argument("--by", default="folder", help='column of the table, or "folder" (default: %(default)s)')
    parser.add_argument("--words", type=existing, metavar="FILE", help="prompts, one per line")
    parser.add_argument("--permutations", type=int, default=999, help="of each test (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the permutations (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write groups.json, groups.png and groups.html there")
    add_model_flags(parser)


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    from clamp3.jobs.atomic import write_bytes, write_text
    from clamp3.retrieval.evaluation import print_remarks
    from clamp3.retrieval.group_plots import as_html, as_png
    from clamp3.retrieval.groups import as_lines, compare_groups

    once = functools.cache(lambda: open_model(args))
    how: dict[str, Any] = {"n_permutations": args.permutations, "seed": args.seed}
    result, problems = compare_groups(args.folder, args.by, args.labels, args.words, once, **how)
    print("\n".join(as_lines(result)))
    if args.out:
        picture = as_png(result)
        write_text(args.out / "groups.json", json_text(result, indent=1) + "\n")
        write_bytes(args.out / "groups.png", picture)
        write_text(args.out / "groups.html", as_html(result, picture, f"{args.folder.name} by {args.by}"))
    print_remarks([f"left out: {name}: {reason}" for name, reason in problems])
    return EXIT_SOME_FAILED if problems else EXIT_OK
