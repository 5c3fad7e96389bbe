"""Train CLaMP 2: text and symbolic music, with metadata and summaries as texts (arXiv 2410.13267).

    python code/train_clamp2.py --train_jsonl train.jsonl --init m3 --out runs/clamp2

This is `clamp3 train clamp2` as a script; --help, and code/clamp3/commands/train/clamp2.py, explain it.
"""

from __future__ import annotations

import config as released
from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("train clamp2", file=released)

if __name__ == "__main__":
    raise SystemExit(run(main))
