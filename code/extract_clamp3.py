"""Encode a folder of music and texts with CLaMP 3 into a folder of .npy files.

    python code/extract_clamp3.py my_scores/ features/ --get_global --model saas

This is `clamp3 embed` as a script; --help, and code/clamp3/commands/embed.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("embed", model=None)

if __name__ == "__main__":
    raise SystemExit(run(main))
