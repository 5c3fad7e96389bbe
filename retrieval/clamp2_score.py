"""Compare two folders of CLaMP 2's vectors as wholes: the cosine of their mean vectors.

    python retrieval/clamp2_score.py reference_features/ test_features/

The name that CLaMP 2's readme gives it: retrieval/clamp3_score.py --group.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("score", doc=__doc__, defaults={"group": True})

if __name__ == "__main__":
    raise SystemExit(run(main))
