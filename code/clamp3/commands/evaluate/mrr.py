"""Measure how well the queries of one folder find their references in another: MRR, Hit@1, 10 and 100.

    python retrieval/eval_mrr.py queries/ references/
    python retrieval/eval_mrr.py captions/ midi/ --model saas --both --ranks ranks.jsonl
    python retrieval/eval_mrr.py features/text features/music --json

Folders hold vectors (.npy from `extract_clamp3.py --get_global`), raw files of any kind, or both; raw files are encoded
with --model and their vectors cached by content. A query belongs to the references in the same sub-folder whose name is
the same up to the first dot; several queries may share a reference. Files without a partner are listed and left out.
Ties count against the query; --ties best counts them for it, as the released script does.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from clamp3.cli import EXIT_OK, EXIT_SOME_FAILED, add_model_flags, open_model
from clamp3.formats.tables import json_text
from clamp3.jobs.walk import existing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "query_dir",
        type=existing,
        help="folder of queries, or a table of files and prompts (.csv, .tsv, .jsonl, .json)",
    )
    parser.add_argument("reference_dir", type=existing, help="folder of what they should find")
    parser.add_argument("--ties", choices=("worst", "best"), default="worst", help="place among equal scores")
    parser.add_argument("--both", action="store_true", help="also let the references find their queries")
    parser.add_argument("--distractors", action="store_true", help="rank references without a query too")
    parser.add_argument("--ranks", type=Path, metavar="FILE", help="write every query's rank to this JSON Lines file")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_model_flags(parser)


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    from clamp3.retrieval.evaluation import as_report, compare, print_remarks, rank_queries, write_rows

    found = compare(args.query_dir, args.reference_dir, partial(open_model, args))
    result: dict[str, object] = {"query_dir": str(args.query_dir), "reference_dir": str(args.reference_dir)}
    reports, rows = [], []
    for reverse in (False, True) if args.both else (False,):
        ranking = rank_queries(found, ties=args.ties, distractors=args.distractors, reverse=reverse)
        name = "reference to query" if reverse else "query to reference"
        result[name.replace(" ", "_")] = {
            "metrics": ranking.metrics,
            "intervals_95": ranking.intervals,
            "n_tied": ranking.n_tied,
            "caution": ranking.caution,
        }
        reports.append(as_report(ranking, name))
        rows += [{**row, "direction": name} for row in ranking.rows]
    print(json_text({**result, **found.facts()}, indent=2) if args.json else "\n".join(reports))
    if args.ranks:
        write_rows(args.ranks, rows)
    print_remarks(found.remarks())
    return EXIT_SOME_FAILED if found.failures else EXIT_OK
