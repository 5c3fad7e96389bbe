"""Recommend music of a folder or an index from what is liked and disliked, or from a log; measure recommendations.

    python retrieval/recommend.py features/ --liked a/song1 song2 --disliked song3

This is `clamp3 recommend` as a script; --help, and code/clamp3/commands/recommend.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("recommend")

if __name__ == "__main__":
    raise SystemExit(run(main))
