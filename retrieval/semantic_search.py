"""Print the global vectors of a folder that are closest to a query vector, best first.

    python retrieval/semantic_search.py query.npy features/ --top_k 10

This is `clamp3 nearest` as a script; --help, and code/clamp3/commands/nearest.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("nearest")

if __name__ == "__main__":
    raise SystemExit(run(main))
