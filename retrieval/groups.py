"""Compare groups of pieces: regions, centuries, composers. How alike are they, and which words tell them apart?

    python retrieval/groups.py songs/ --labels songs.csv --by region --out regions/

This is `clamp3 groups` as a script; --help, and code/clamp3/commands/groups.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("groups")

if __name__ == "__main__":
    raise SystemExit(run(main))
