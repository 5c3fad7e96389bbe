r"""Write M4-RAG records (ten fields and a translation) about pieces from the results of a web search.

With results saved before, one JSON file per piece or one line per piece:
    python preprocessing/text/generate_records.py metadata.jsonl records.jsonl --results results/ --model gpt-4o
With a program that prints results as JSON, or a search engine such as SearXNG:
    python preprocessing/text/generate_records.py metadata.jsonl records.jsonl --model gpt-4o \
        --search_command "python my_search.py {query}"
    python preprocessing/text/generate_records.py metadata.jsonl records.jsonl --model gpt-4o \
        --search_url "http://localhost:8080/search?format=json&q={query}"
See the requests without sending any: --dry_run. Other servers than OpenAI's: --base_url.

Needs a title; uses artists or composer and whatever else is known. Each piece becomes a line of records.jsonl, as
train_clamp3_symbolic.py and train_clamp3_audio.py read it, or a refusal (no piece named, thin or contradicting
results, not about music), or a failure, both with a reason in records.ledger.jsonl. records.provenance.jsonl names
sources, model, prompts and tokens of each line. Run again, only what is missing, changed or failed is asked for.
Exit code 1: some items failed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from clamp3.metadata.job import Work, add_job_flags, run_job


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_job_flags(parser, languages="m4-rag")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--results", type=Path, help="JSONL or folder of saved search results")
    where.add_argument("--search_command", help="program, with {query} or reading it from standard input; no shell")
    where.add_argument("--search_url", help="address with {query} that answers with JSON")
    parser.add_argument("--search_timeout_sec", type=float, default=60.0, help="default: %(default)s")


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""

    def make_work() -> Work:
        from clamp3.metadata.languages import language_pool
        from clamp3.metadata.records import MakeRecords
        from clamp3.metadata.sources import open_search

        search = open_search(args.results, args.search_command, args.search_url, args.search_timeout_sec)
        return MakeRecords(search, language_pool(args.languages), args.seed)

    return run_job(args, make_work)
