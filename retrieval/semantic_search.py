"""Print the global vectors of a folder that are closest to a query vector, best first.

    python retrieval/semantic_search.py query.npy features/ --top_k 10
    python retrieval/semantic_search.py query.npy features/ --json

Both come from `code/extract_clamp3.py IN OUT --get_global` with the same model. The folder is read with its
sub-folders; a result's name is its path in the folder without suffix. Files that hold no global vector are
named on stderr with the reason, and the exit code is then 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from clamp3.cli import EXIT_OK, EXIT_SOME_FAILED, parser_for, run


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("query", type=Path, help="one global vector, .npy of shape (1, D) or (D,)")
    parser.add_argument("folder", type=Path, help="folder of global vectors, or one such file")
    parser.add_argument("--top_k", type=int, default=10, help="how many results (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the script; return its exit code."""
    args = build_parser().parse_args(argv)
    from clamp3.errors import ConfigError
    from clamp3.retrieval.present import as_json, as_lines, as_table
    from clamp3.retrieval.search import check_same_model, load_folder, read_vector, search

    if not args.query.is_file():
        raise ConfigError(f"{args.query} is no file; the query is a .npy file with one vector.")
    query = read_vector(args.query.read_bytes(), str(args.query))
    check_same_model(args.query, args.folder)
    references = load_folder(args.folder)
    hits = search(query, references, args.top_k)
    if args.json:
        failures = [{"name": name, "reason": reason} for name, reason in references.problems]
        print(as_json(hits, query=str(args.query), folder=str(args.folder), failures=failures))
    else:
        print(as_table(hits) if sys.stdout.isatty() else as_lines(hits))
    for name, reason in references.problems:
        print(f"left out: {name}: {reason}", file=sys.stderr)
    return EXIT_SOME_FAILED if references.problems else EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
