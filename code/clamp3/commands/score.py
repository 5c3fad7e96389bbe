"""Score how alike two folders are: the mean cosine of their pairs, or with --group of the folders as wholes.

    python retrieval/clamp3_score.py generated/ references/
    python retrieval/clamp3_score.py prompts/ generated/ --model saas --pairs pairs.jsonl
    python retrieval/clamp3_score.py generated/ style/ --group

Folders hold vectors (.npy from `extract_clamp3.py --get_global`), raw files of any kind, or both, as in eval_mrr.py,
which also describes how files are paired. --group needs no pairs and gives two values: the cosine of the two mean
vectors (what the released script prints) and the mean cosine over all pairs of a query and a reference.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from clamp3.cli import EXIT_OK, EXIT_SOME_FAILED, add_model_flags, open_model
from clamp3.errors import ConfigError
from clamp3.formats.tables import json_text
from clamp3.jobs.walk import existing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "query_dir", type=existing, help="one folder, or a table of files and prompts (.csv, .tsv, .jsonl, .json)"
    )
    parser.add_argument("reference_dir", type=existing, help="the other folder")
    parser.add_argument("--group", action="store_true", help="compare the folders as wholes")
    parser.add_argument("--pairs", type=Path, metavar="FILE", help="write every pair's cosine to this JSON Lines file")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_model_flags(parser)


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    if args.group and args.pairs:
        raise ConfigError("--group compares no pairs; leave --pairs or --group away.")
    from clamp3.retrieval.evaluation import NoPairsError, compare, group_scores, pair_scores, print_remarks, write_rows

    try:
        found = compare(args.query_dir, args.reference_dir, partial(open_model, args), paired=not args.group)
    except NoPairsError as error:
        raise NoPairsError(f"{error} --group compares the folders as wholes.") from None
    scores, rows = (group_scores(found), []) if args.group else pair_scores(found)
    if args.json:
        facts = found.facts(unmatched=not args.group)
        print(json_text({"scores": scores, **facts}, indent=2))
    else:
        pairs = "" if args.group else f", {len(found.pairing.pairs)} pairs"
        print(f"{len(found.queries)} queries, {len(found.references)} references{pairs}")
        for name, value in scores.items():
            print(f"  {name.replace('_', ' '):28} {value:.4f}")
    if args.pairs:
        write_rows(args.pairs, rows)
    print_remarks(found.remarks(unmatched=not args.group))
    return EXIT_SOME_FAILED if found.failures else EXIT_OK
