"""Run a published benchmark of classification and print the result below the published rows.

    python classification/benchmark.py vgmidi --data data/vgmidi --model mini --floor --json result.json

This is `clamp3 classify benchmark` as a script; --help, and code/clamp3/commands/classify/benchmark.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("classify benchmark")

if __name__ == "__main__":
    raise SystemExit(run(main))
