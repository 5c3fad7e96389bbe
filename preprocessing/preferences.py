"""Make pairs of songs that listeners chose after each other from a log; what HTCL's second stage trains on.

    python preprocessing/preferences.py log.parquet --output_path pairs/ --positive like complete

This is `clamp3 train pairs` as a script; --help, and code/clamp3/commands/train/pairs.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("train pairs")

if __name__ == "__main__":
    raise SystemExit(run(main))
