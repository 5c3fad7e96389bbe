"""Say everything that is wrong with a training JSONL before a run starts.

    python code/check_data.py train.jsonl
    python code/check_data.py train.jsonl --eval_jsonl eval.jsonl --json

Lines that are no JSON object, unknown fields, fields of another type, empty texts, paths that are absolute or lead out
of the folder, files that are absent, empty or unreadable, ids that occur twice, and what both files have in common.
Exit code 0 if nothing is wrong, 1 if something is.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from clamp3.data.check_data import Check
from clamp3.data.shards import Resolver, file_digest
from clamp3.errors import EXIT_OK, EXIT_SOME_FAILED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("train_jsonl", type=Path, help="one object per piece")
    parser.add_argument(
        "--eval_jsonl", type=Path, help="evaluation pieces: checked too, and for what both have in common"
    )
    parser.add_argument("--shards", type=Path, help="folder of tars that hold what filepaths name")
    parser.add_argument("--no_files", action="store_true", help="do not look at the files the records name")
    parser.add_argument("--show", type=int, default=100, help="problems to list per file; 0 = all (default: 100)")
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    paths = [path for path in (args.train_jsonl, args.eval_jsonl) if path]
    for path in paths:
        file_digest(path)  # fails now, not after an hour
    resolvers = [None if args.no_files else Resolver(path.parent, args.shards) for path in paths]
    checks = [Check(path, resolver, args.show).run() for path, resolver in zip(paths, resolvers, strict=True)]
    if len(checks) == 2:
        checks[1].overlap(checks[0])
    if args.json:
        print(json.dumps([check.facts() for check in checks], indent=1, ensure_ascii=False))
    else:
        for check in checks:
            print(*check.problems, sep="\n", end="\n" if check.problems else "")
            more = check.n_problems - len(check.problems)
            left = f", {more} not listed (--show 0)" if more else ""
            counts = f"{check.n_records} records, {check.n_files} files read, {check.n_problems} problems"
            print(f"{check.path}: {counts}{left}")
    return EXIT_SOME_FAILED if any(check.n_problems for check in checks) else EXIT_OK
