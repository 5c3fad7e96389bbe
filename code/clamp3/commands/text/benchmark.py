r"""Make a benchmark of your own like WikiMT-X: from scores and metadata to four texts, in ten more languages if wanted.

See what it would ask and cost, asking nobody:
    python preprocessing/text/make_benchmark.py scores/ my_benchmark/ --metadata songs.csv --dry_run \
        --price_in 2.5 --price_out 10
Write the texts, read and correct review.csv, then translate what was kept:
    python preprocessing/text/make_benchmark.py scores/ my_benchmark/ --metadata songs.csv --model gpt-4o --until texts
    python preprocessing/text/make_benchmark.py scores/ my_benchmark/ --metadata songs.csv --model gpt-4o \
        --reviewed corrected.csv --back_model another-model
Leave out what a model was trained on:
    … --training train.jsonl --training_vectors train_features/ --checkpoint saas --drop_leaks
Evaluate:
    python retrieval/benchmark.py own --data my_benchmark/ --model saas
Translate texts that are there, such as those of WikiMT-X, whose translations are not published:
    python preprocessing/text/make_benchmark.py data/wikimt-x/wikimt-x-public.jsonl data/wikimt-x/ --model gpt-4o

The table has a row per score (column name, file, path or id) with what is known of it: title, artists, genre, year …
Run again, only what is missing, changed or failed is asked for. docs/own_benchmark.md. Exit code 1: some items failed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from clamp3.jobs.walk import existing
from clamp3.metadata.job import add_endpoint_flags

TEN = "ru,fr,es,ar,zh,fi,el,ta,kk,am"  # of WikiMT-X's published table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "scores", type=existing, help="folder of scores (ABC, MusicXML, kern, MEI …), or JSONL as of WikiMT-X"
    )
    parser.add_argument("output", type=Path, help="folder to write to, or to go on with")
    parser.add_argument("--metadata", type=existing, help="CSV, TSV or JSON Lines: a row per score")
    parser.add_argument("--show_score", type=int, default=2000, help="characters of ABC shown (default: %(default)s)")
    parser.add_argument("--languages", default=TEN, help="codes or names of languages (default: %(default)s)")
    names = ("background", "analysis", "description", "scene")
    parser.add_argument("--translate", nargs="+", choices=names, default=["background"], help="which of the texts")
    parser.add_argument(
        "--until", choices=("songs", "texts", "translations"), default="translations", help="last stage"
    )
    parser.add_argument("--reviewed", type=existing, help="copy of review.csv, corrected; keep = no leaves a song out")
    parser.add_argument("--back_model", default="", help="who translates back (default: --model)")
    parser.add_argument("--back_base_url", default="", help="where (default: --base_url)")
    parser.add_argument("--back_key_variable", default="", help="default: --key_variable")
    parser.add_argument("--training", type=existing, nargs="+", help="JSON Lines of training, to look for the songs in")
    parser.add_argument("--training_vectors", type=existing, help="folder of vectors of the training music")
    parser.add_argument("--checkpoint", default="mini", help="model of these vectors (default: %(default)s)")
    parser.add_argument("--near", type=float, default=0.98, help="cosine of near-duplicates (default: %(default)s)")
    parser.add_argument("--drop_leaks", action="store_true", help="leave out what training has seen")
    add_endpoint_flags(parser)


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    from clamp3.metadata.own_benchmark import make_benchmark

    return make_benchmark(args)
