"""Write a short text about each piece, in English and in one of 100 other languages, from its metadata.

    python preprocessing/text/summarize.py metadata/ summaries.jsonl --dry_run

This is `clamp3 text summarize` as a script; --help, and code/clamp3/commands/text/summarize.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("text summarize")

if __name__ == "__main__":
    raise SystemExit(run(main))
