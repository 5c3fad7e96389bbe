"""Score how alike two folders are: the mean cosine of their pairs, or with --group of the folders as wholes.

    python retrieval/clamp3_score.py generated/ references/

This is `clamp3 score` as a script; --help, and code/clamp3/commands/score.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("score")

if __name__ == "__main__":
    raise SystemExit(run(main))
