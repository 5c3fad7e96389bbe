r"""Rewrite captions so that a model which was trained on them does not know their words: for a leak-free MusicCaps.

    python preprocessing/text/rewrite_captions.py data/musiccaps/musiccaps-public.csv data/musiccaps/rewritten.csv \
        --only is_audioset_eval=True --model gpt-4o --price_in 2.5 --price_out 10
    python retrieval/benchmark.py musiccaps --data data/musiccaps --model saas

See the requests without sending any: --dry_run. Other servers than OpenAI's: --base_url. A rewritten caption that is
much longer or shorter, changes a number, is not English or keeps six words in a row is asked for again. rewritten.html
shows old beside new, those that kept most first. Run again, only what is missing, changed or failed is asked for.
Exit code 1: some captions failed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from clamp3.jobs.walk import existing
from clamp3.metadata.job import add_endpoint_flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("source", type=existing, help="CSV, TSV or JSON Lines: ytid (or name, id …), caption")
    parser.add_argument("output", type=Path, help="CSV to write; what it is made from lies beside it")
    parser.add_argument("--only", default="", metavar="COLUMN=VALUE", help="only such rows")
    add_endpoint_flags(parser)


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    from clamp3.metadata.rewrite import rewrite_captions

    return rewrite_captions(args)
