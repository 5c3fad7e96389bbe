"""Measure how well the files of one folder find their partners in another, with the published weights: MRR and Hit@K.

    python clamp3_eval.py queries/ references/
    python clamp3_eval.py queries/ references/ --model mini --ranks ranks.jsonl

The name and place that CLaMP 3's readme gives it; retrieval/eval_mrr.py does the work and explains it. Weights are saas
unless --model names others; mini is in the package.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("evaluate mrr", doc=__doc__, defaults={"model": "saas"})

if __name__ == "__main__":
    raise SystemExit(run(main))
