"""Print the vectors of a folder that are closest to one vector.

    python inference/clamp3_search.py query.npy features/ --top_k 10

The name and place that CLaMP 3's readme gives it; retrieval/semantic_search.py does the work and explains it.
"""

from __future__ import annotations

from pathlib import Path

from clamp3.cli import run, run_script


def main(argv: list[str] | None = None) -> int:
    """Run the script that does the work; return its exit code."""
    return run_script(Path(__file__).resolve().parents[1] / "retrieval/semantic_search.py", argv, __doc__)


if __name__ == "__main__":
    raise SystemExit(run(main))
