"""Score how alike two folders of vectors are, pair by pair or with --group as wholes.

    python inference/clamp3_score.py query_features/ reference_features/ --group

The name and place that CLaMP 3's readme gives it; retrieval/clamp3_score.py does the work and explains it.
"""

from __future__ import annotations

from pathlib import Path

from clamp3.cli import run, run_script


def main(argv: list[str] | None = None) -> int:
    """Run the script that does the work; return its exit code."""
    return run_script(Path(__file__).resolve().parents[1] / "retrieval/clamp3_score.py", argv, __doc__)


if __name__ == "__main__":
    raise SystemExit(run(main))
