"""Run a published benchmark of retrieval and print the result below the published rows.

    python retrieval/benchmark.py wikimt --data data/wikimt --model saas

This is `clamp3 evaluate benchmark` as a script; --help, and code/clamp3/commands/evaluate/benchmark.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("evaluate benchmark")

if __name__ == "__main__":
    raise SystemExit(run(main))
