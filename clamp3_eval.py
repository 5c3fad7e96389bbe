"""Measure how well the files of one folder find their partners in another, with the published weights: MRR and Hit@K.

    python clamp3_eval.py queries/ references/
    python clamp3_eval.py queries/ references/ --model mini --ranks ranks.jsonl

The name and place that CLaMP 3's readme gives it; retrieval/eval_mrr.py does the work and explains it. Weights are saas
unless --model names others; mini is in the package.
"""

from __future__ import annotations

from pathlib import Path

from clamp3.cli import run, run_script


def main(argv: list[str] | None = None) -> int:
    """Run the script that does the work; return its exit code."""
    return run_script(Path(__file__).resolve().parent / "retrieval/eval_mrr.py", argv, __doc__, model="saas")


if __name__ == "__main__":
    raise SystemExit(run(main))
