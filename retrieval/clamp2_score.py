"""Compare two folders of CLaMP 2's vectors as wholes: the cosine of their mean vectors.

    python retrieval/clamp2_score.py reference_features/ test_features/

The name that CLaMP 2's readme gives it: retrieval/clamp3_score.py --group.
"""

from __future__ import annotations

from pathlib import Path

from clamp3.cli import run, run_script


def main(argv: list[str] | None = None) -> int:
    """Run the script that does the work; return its exit code."""
    return run_script(Path(__file__).resolve().parents[1] / "retrieval/clamp3_score.py", argv, __doc__, group=True)


if __name__ == "__main__":
    raise SystemExit(run(main))
