"""Rewrite captions so that a model which was trained on them does not know their words: for a leak-free MusicCaps.

    python preprocessing/text/rewrite_captions.py data/musiccaps/musiccaps-public.csv data/musiccaps/rewritten.csv

This is `clamp3 text rewrite` as a script; --help, and code/clamp3/commands/text/rewrite.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("text rewrite")

if __name__ == "__main__":
    raise SystemExit(run(main))
