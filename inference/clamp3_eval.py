"""Measure how well the vectors of one folder find their partners in another: MRR and Hit@K.

    python inference/clamp3_eval.py query_features/ reference_features/

The name and place that CLaMP 3's readme gives it; retrieval/eval_mrr.py does the work and explains it.
"""

from __future__ import annotations

from pathlib import Path

from clamp3.cli import run, run_script


def main(argv: list[str] | None = None) -> int:
    """Run the script that does the work; return its exit code."""
    return run_script(Path(__file__).resolve().parents[1] / "retrieval/eval_mrr.py", argv, __doc__)


if __name__ == "__main__":
    raise SystemExit(run(main))
