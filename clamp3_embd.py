"""Encode a folder of music and texts, as it is, into a folder of .npy files, with the published weights.

    python clamp3_embd.py my_music/ features/ --get_global
    python clamp3_embd.py my_music/ features/ --get_global --model mini

The name and place of CLaMP 3's later interface; code/extract_clamp3.py does the work and explains it. Weights are saas
unless --model names others; mini is in the package.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("embed", doc=__doc__, model="saas")

if __name__ == "__main__":
    raise SystemExit(run(main))
