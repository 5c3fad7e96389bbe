"""Score how alike two folders are, pair by pair or with --group as wholes, with the published weights.

    python clamp3_score.py generated/ references/
    python clamp3_score.py generated/ references/ --group --model mini

The name and place that CLaMP 3's readme gives it; retrieval/clamp3_score.py does the work and explains it. Weights are
saas unless --model names others; mini is in the package.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("score", doc=__doc__, defaults={"model": "saas"})

if __name__ == "__main__":
    raise SystemExit(run(main))
