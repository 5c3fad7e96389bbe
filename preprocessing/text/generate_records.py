"""Write M4-RAG records (ten fields and a translation) about pieces from the results of a web search.

    python preprocessing/text/generate_records.py metadata.jsonl records.jsonl --results results/ --model gpt-4o

This is `clamp3 text records` as a script; --help, and code/clamp3/commands/text/records.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("text records")

if __name__ == "__main__":
    raise SystemExit(run(main))
