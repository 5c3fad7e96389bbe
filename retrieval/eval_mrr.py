"""Measure how well the queries of one folder find their references in another: MRR, Hit@1, 10 and 100.

    python retrieval/eval_mrr.py queries/ references/

This is `clamp3 evaluate mrr` as a script; --help, and code/clamp3/commands/evaluate/mrr.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("evaluate mrr")

if __name__ == "__main__":
    raise SystemExit(run(main))
