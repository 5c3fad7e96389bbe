r"""Make pairs of songs that listeners chose after each other from a log; what HTCL's second stage trains on.

A listening log with columns user, item, timestamp and event:
    python preprocessing/preferences.py log.parquet --output_path pairs/ --positive like complete
Ratings (MovieLens' columns are known), of which four stars and more count, the last tenth of the time held out:
    python preprocessing/preferences.py ratings.csv --output_path pairs/ --min_value 4 --split time
Then:
    python code/train_htcl.py --stage 2 --songs songs.jsonl --pairs pairs/pairs.parquet \
        --eval_pairs pairs/eval_pairs.parquet --init runs/htcl1

Reads .csv, .tsv, .jsonl and .parquet, several of one kind too. A time is a number of seconds or milliseconds, or ISO
8601. A session ends where a user pauses for --gap_minutes; a song is paired with the next --window ones of its session.
Writes pairs, eval_pairs (none of which is trained on, unless --keep_known) and report.json, which has the number of
rows at every step and what of the evaluation is known from training. Needs duckdb: pip install 'clamp3[preferences]'.
"""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from clamp3.cli import EXIT_OK
from clamp3.formats.tables import json_text

RULES = {
    "gap_minutes": "a session ends where a user pauses longer; 0 = all that a user chose is one session",
    "window": "pair a song with so many of the next ones of its session",
    "min_events": "how often a user has to have chosen an item",
    "min_users": "users an item needs",
    "min_items": "items a user needs",
    "min_support": "users who made a pair",
    "max_per_song": "popularity cap: most pairs of a song, on each side; 0 = no cap",
    "split": "hold out pairs of users, after a point in time, of users after it, or none: user, time, both, none",
    "eval_share": "share of the users, or of the choices, held out",
    "keep_known": "keep evaluation pairs that are trained on too, or their reverse",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    from clamp3.data.preferences import FORMS, PairRules

    parser.add_argument("log", type=Path, nargs="+", help="files of the log")
    parser.add_argument("--output_path", type=Path, required=True, help="folder to write to")
    for name in ("user", "item", "time", "event"):
        parser.add_argument(f"--{name}_column", help=f"column of the {name}, if its name is not a usual one")
    parser.add_argument("--min_value", type=float, help="rows count whose event is a number of at least this")
    parser.add_argument("--positive", nargs="+", default=[], help="rows count whose event is one of these words")
    for item in fields(PairRules):
        about = f"{RULES[item.name]} (default: {item.default})"
        if isinstance(item.default, bool):
            parser.add_argument(f"--{item.name}", action="store_true", help=RULES[item.name])
        else:
            parser.add_argument(f"--{item.name}", type=type(item.default), default=item.default, help=about)
    parser.add_argument("--form", choices=sorted(FORMS), default="parquet", help="of the pairs (default: parquet)")
    parser.add_argument("--memory_mb", type=int, default=600, help="what duckdb may use; more goes to disk (600)")
    parser.add_argument("--threads", type=int, default=2, help="of duckdb (default: 2)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    from clamp3.data.listening import COLUMNS, Log, database
    from clamp3.data.preferences import PairRules, in_words, make_pairs

    columns = {name: given for name in COLUMNS if (given := getattr(args, f"{name}_column")) is not None}
    log = Log(args.log, columns, args.min_value, args.positive)
    rules = PairRules(**{item.name: getattr(args, item.name) for item in fields(PairRules)})
    args.output_path.mkdir(parents=True, exist_ok=True)
    with database(args.output_path, memory_mb=args.memory_mb, threads=args.threads) as connection:
        report = make_pairs(connection, log, rules, args.output_path, form=args.form)
    print(json_text(report, indent=2) if args.json else in_words(report))
    return EXIT_OK
