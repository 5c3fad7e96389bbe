"""Merge single JSON files into one JSONL with filepaths relative to it.

    python preprocessing/text/merge.py metadata/ data/train.jsonl --music data/abc data/mtf

This is `clamp3 text merge` as a script; --help, and code/clamp3/commands/text/merge.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("text merge")

if __name__ == "__main__":
    raise SystemExit(run(main))
