"""Score how alike two folders of vectors are, pair by pair or with --group as wholes.

    python inference/clamp3_score.py query_features/ reference_features/ --group

The name and place that CLaMP 3's readme gives it; retrieval/clamp3_score.py does the work and explains it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("score", doc=__doc__)

if __name__ == "__main__":
    raise SystemExit(run(main))
