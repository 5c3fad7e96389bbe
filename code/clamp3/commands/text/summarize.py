r"""Write a short text about each piece, in English and in one of 100 other languages, from its metadata.

See the requests without sending any:
    python preprocessing/text/summarize.py metadata/ summaries.jsonl --dry_run
OpenAI, with the key in OPENAI_API_KEY:
    python preprocessing/text/summarize.py metadata/ summaries.jsonl --model gpt-4o --price_in 2.5 --price_out 10
Any server that speaks the same protocol (vLLM, llama.cpp, Ollama, …):
    python preprocessing/text/summarize.py metadata.jsonl summaries.jsonl --base_url http://localhost:8000/v1 \
        --model Qwen/Qwen2.5-72B-Instruct --concurrency 32

Reads title, composer, genres, description, lyrics, tags, ensembles, instruments and whatever else there is; adds
summary_en and summary_nen {language, summary}; other keys, filepaths included, stay as they are. Run again, only what
is missing, changed or failed is asked for. Exit code 1: some items failed.
"""

from __future__ import annotations

import argparse

from clamp3.metadata.job import Work, add_job_flags, run_job


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_job_flags(parser)


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""

    def make_work() -> Work:
        from clamp3.metadata.languages import language_pool
        from clamp3.metadata.summarize import Summarize

        return Summarize(language_pool(args.languages), args.seed)

    return run_job(args, make_work)
