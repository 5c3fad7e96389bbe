"""Encode a folder of music and texts with CLaMP 2 into a folder of .npy files.

    python code/extract_clamp2.py my_scores/ features/ --normalize

This is `clamp3 extract clamp2` as a script; --help, and code/clamp3/commands/extract/clamp2.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("extract clamp2", model=None)

if __name__ == "__main__":
    raise SystemExit(run(main))
