"""Find the pieces of folders that are closest to a sentence or a file.

    python retrieval/clamp3_search.py "a lively jig for fiddle" my_scores/ --top_k 10

This is `clamp3 search` as a script; --help, and code/clamp3/commands/search.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("search")

if __name__ == "__main__":
    raise SystemExit(run(main))
