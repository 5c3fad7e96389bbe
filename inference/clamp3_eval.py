"""Measure how well the vectors of one folder find their partners in another: MRR and Hit@K.

    python inference/clamp3_eval.py query_features/ reference_features/

The name and place that CLaMP 3's readme gives it; retrieval/eval_mrr.py does the work and explains it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("evaluate mrr", doc=__doc__)

if __name__ == "__main__":
    raise SystemExit(run(main))
