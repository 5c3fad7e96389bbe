"""Measure how far the music of one folder is from that of another, as distributions: the Fréchet distance.

    python retrieval/frechet.py generated/ real/

This is `clamp3 evaluate frechet` as a script; --help, and code/clamp3/commands/evaluate/frechet.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("evaluate frechet")

if __name__ == "__main__":
    raise SystemExit(run(main))
