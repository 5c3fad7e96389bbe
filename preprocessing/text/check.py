"""Check the texts of a training JSONL, and print statistics of them.

    python preprocessing/text/check.py records.jsonl

This is `clamp3 text check` as a script; --help, and code/clamp3/commands/text/check.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("text check")

if __name__ == "__main__":
    raise SystemExit(run(main))
