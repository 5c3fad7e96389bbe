"""Write the published rows of the pages in this folder anew from the data files.

    python docs/tables/update.py

Only what lies between ``<!-- published: ID -->`` and ``<!-- end -->`` changes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from clamp3.cli import EXIT_OK, parser_for, run


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    return parser_for(__doc__)


def main(argv: list[str] | None = None) -> int:
    """Run the script; return its exit code."""
    build_parser().parse_args(argv)
    from clamp3.datasets.published import HALVES, refreshed, tables
    from clamp3.jobs.atomic import write_text

    known = {table.id: table for half in HALVES for table in tables(half)}
    for page in sorted(Path(__file__).parent.glob("*.md")):
        write_text(page, refreshed(page.read_text(encoding="utf-8"), known))
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
