"""Look for pieces of a benchmark among those that a model was trained on.

    python preprocessing/text/leaks.py benchmark.jsonl train.jsonl more.jsonl
    python preprocessing/text/leaks.py benchmark.jsonl train.jsonl --vectors bench_features/ train_features/

Records are the same by id (YouTube ids, names of files) or by title and first artist, without case, accents and
punctuation. --vectors also compares two folders of vectors, or of music, of one model: pairs with a cosine of --limit
and more are listed. Exit code 1: something was found.
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path

from clamp3.cli import add_model_flags, open_model
from clamp3.errors import EXIT_OK, EXIT_SOME_FAILED
from clamp3.formats.tables import json_text
from clamp3.jobs.walk import existing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("benchmark", type=existing, help="JSON Lines of the benchmark")
    parser.add_argument("training", type=existing, nargs="+", help="JSON Lines of training")
    parser.add_argument("--vectors", type=existing, nargs=2, metavar="DIR", help="folders of both")
    parser.add_argument("--limit", type=float, default=0.98, help="cosine of near-duplicates (default: %(default)s)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="also write what was found as JSON")
    add_model_flags(parser)


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    from clamp3.index.vectors import check_comparable, load_folder
    from clamp3.jobs.atomic import write_text
    from clamp3.retrieval.leaks import shared_records, shared_vectors

    records = shared_records(args.benchmark, args.training)
    vectors = []
    if args.vectors:
        once = functools.cache(lambda: open_model(args))
        first, second = (load_folder(folder, once) for folder in args.vectors)
        check_comparable(first, second)
        vectors = shared_vectors(first, second, args.limit)
    for row in records:
        print(f"{args.benchmark.name}:{row['row']} is {row['training']} by {row['by']}: {row['key']}")
    for pair in vectors:
        print(f"{pair['name']} is near {pair['training']}: {pair['similarity']:.4f}")
    print(f"{len({row['row'] for row in records})} records and {len(vectors)} files of the benchmark are in training")
    if args.output:
        write_text(args.output, json_text({"records": records, "vectors": vectors}, indent=1) + "\n")
    return EXIT_SOME_FAILED if records or vectors else EXIT_OK
