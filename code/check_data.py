"""Say everything that is wrong with a training JSONL before a run starts.

    python code/check_data.py train.jsonl

This is `clamp3 train check` as a script; --help, and code/clamp3/commands/train/check.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("train check")

if __name__ == "__main__":
    raise SystemExit(run(main))
