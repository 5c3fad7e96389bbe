"""Align text with symbolic music: CLaMP 3's contrastive training (arXiv 2502.10362).

    python code/train_clamp3_symbolic.py --train_jsonl train.jsonl --init m3 --out runs/s

This is `clamp3 train symbolic` as a script; --help, and code/clamp3/commands/train/symbolic.py, explain it.
"""

from __future__ import annotations

import config as released
from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("train symbolic", file=released)

if __name__ == "__main__":
    raise SystemExit(run(main))
