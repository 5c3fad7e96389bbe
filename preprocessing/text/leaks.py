"""Look for pieces of a benchmark among those that a model was trained on.

    python preprocessing/text/leaks.py benchmark.jsonl train.jsonl more.jsonl

This is `clamp3 text leaks` as a script; --help, and code/clamp3/commands/text/leaks.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("text leaks")

if __name__ == "__main__":
    raise SystemExit(run(main))
