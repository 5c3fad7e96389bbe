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

from clamp3.cli import parser_for, run
from clamp3.metadata.job import Work, add_job_flags, run_job


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script's flags."""
    return add_job_flags(parser_for(__doc__))


def main(argv: list[str] | None = None) -> int:
    """Summarise, print the counts, return the exit code."""
    args = build_parser().parse_args(argv)

    def make_work() -> Work:
        from clamp3.metadata.languages import language_pool
        from clamp3.metadata.summarize import Summarize

        return Summarize(language_pool(args.languages), args.seed)

    return run_job(args, make_work)


if __name__ == "__main__":
    raise SystemExit(run(main))
