"""Encode a folder of scores and performances with M3's encoder into a folder of .npy files.

    python code/extract_m3.py my_scores/ features/                 # hidden states of all patches, (1, L, 768)

This is `clamp3 extract m3` as a script; --help, and code/clamp3/commands/extract/m3.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("extract m3", model=None)

if __name__ == "__main__":
    raise SystemExit(run(main))
