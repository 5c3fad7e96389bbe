"""Pre-train M3: mask 45 % of a piece's patches and predict their characters (arXiv 2410.13267).

    python code/train_m3.py --data abc/ mtf/ --out runs/m3

This is `clamp3 train m3` as a script; --help, and code/clamp3/commands/train/m3.py, explain it.
"""

from __future__ import annotations

import config as released
from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("train m3", file=released)

if __name__ == "__main__":
    raise SystemExit(run(main))
