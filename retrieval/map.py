"""Draw a map of music and texts: a point per file; files that the model encodes alike lie close together.

    python retrieval/map.py features/

This is `clamp3 map` as a script; --help, and code/clamp3/commands/map.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("map")

if __name__ == "__main__":
    raise SystemExit(run(main))
