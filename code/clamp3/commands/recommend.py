r"""Recommend music of a folder or an index from what is liked and disliked, or from a log; measure recommendations.

Like these two, unlike that one; names are those of the files without suffix, as extract_clamp3.py writes them:
    python retrieval/recommend.py features/ --liked a/song1 song2 --disliked song3
From an index (index.py add music/), with the vectors that it has:
    python retrieval/recommend.py music/.clamp3_index --liked a/song1
    python retrieval/recommend.py s3://bucket/library --liked a/song1
What a user of a log may like:
    python retrieval/recommend.py features/ --log log.parquet --min_value 4 --user u17
How good recommendations are for users that are held out, beside popularity, item-kNN and other vectors:
    python retrieval/recommend.py features2/ --log log.parquet --min_value 4 --evaluate --against features1/ --k 10
Only items that no training user chose:
    python retrieval/recommend.py features/ --log log.parquet --evaluate --candidates cold

A user's profile is the mean direction of what was liked, so that items without any listener are recommended too. Of a
held-out user (the same as preferences.py holds out) the earlier half of the choices is known, the later half has to be
found. Recall@k, NDCG@k, MAP, coverage, novelty; differences with a paired bootstrap interval and a paired permutation
test. A log needs duckdb and scipy: pip install 'clamp3[preferences,eval]'. Raw files are encoded with --model.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from clamp3.cli import EXIT_OK, add_model_flags, open_model
from clamp3.errors import ConfigError
from clamp3.formats.tables import json_text
from clamp3.index.place import where


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("folder", type=where, help="vectors, raw files, or both; or an index, or its address")
    parser.add_argument("--liked", nargs="+", default=[], help="names of items")
    parser.add_argument("--disliked", nargs="+", default=[], help="names of items")
    parser.add_argument("--top_k", type=int, default=10, help="how many to recommend (default: 10)")
    parser.add_argument("--aversion", type=float, default=0.5, help="how much dislikes count (default: 0.5)")
    parser.add_argument("--log", type=Path, nargs="+", help="files of a log, as preferences.py reads them")
    for name in ("user", "item", "time", "event"):
        parser.add_argument(f"--{name}_column", help=f"column of the {name}, if its name is not a usual one")
    parser.add_argument("--min_value", type=float, help="rows count whose event is a number of at least this")
    parser.add_argument("--positive", nargs="+", default=[], help="rows count whose event is one of these words")
    parser.add_argument("--user", help="whom to recommend to")
    parser.add_argument("--evaluate", action="store_true", help="measure on held-out users")
    parser.add_argument("--against", type=where, nargs="+", default=[], help="other vectors of the same items")
    parser.add_argument("--candidates", choices=("all", "cold", "warm"), default="all", help="what may be recommended")
    parser.add_argument("--eval_share", type=float, default=0.1, help="share of users held out (default: 0.1)")
    parser.add_argument("--k", type=int, default=10, help="length of the list that is measured (default: 10)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_model_flags(parser)


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    if not args.liked and not args.log:
        raise ConfigError("Name what is liked by --liked, or a log by --log.")
    if args.log and not args.user and not args.evaluate:
        raise ConfigError("With --log, name a user by --user, or measure with --evaluate.")
    from clamp3.retrieval.recommend_folder import as_text, evaluate_folders, recommend_from

    opener = partial(open_model, args)
    found = evaluate_folders(args, opener) if args.evaluate else recommend_from(args, opener)
    print(json_text(found, indent=2) if args.json else as_text(found))
    return EXIT_OK
