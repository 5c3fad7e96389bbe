"""Print the global vectors of a folder that are closest to a query vector, best first.

    python retrieval/semantic_search.py query.npy features/ --top_k 10
    python retrieval/semantic_search.py query.npy features/ --json

Both come from `code/extract_clamp3.py IN OUT --get_global` with the same model. The folder is read with its
sub-folders; a result's name is its path in the folder without suffix. Output in a pipe is lines of name and score,
separated by a tab. Files that hold no global vector are listed on stderr; with --strict the exit code is then 1.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from clamp3.cli import add_result_flags
from clamp3.jobs.walk import existing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("query", type=Path, help="one global vector, .npy of shape (1, D) or (D,)")
    parser.add_argument("folder", type=existing, help="folder of global vectors, or one such file")
    add_result_flags(parser)


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    from clamp3.errors import ConfigError, printable
    from clamp3.formats import Kind
    from clamp3.index.answer import Answer
    from clamp3.index.ranking import search
    from clamp3.index.render import show
    from clamp3.index.vectors import check_same_model, load_folder, read_vector
    from clamp3.sources import Source

    if not args.query.is_file():
        raise ConfigError(
            f"{args.query} is no file; the query is a .npy file with one vector (clamp3 search takes words)."
        )
    query = read_vector(Source(Kind.FEATURES, printable(args.query), path=args.query).read(), printable(args.query))
    references = load_folder(args.folder)
    check_same_model(args.query, references)
    hits = search(query, references, args.top_k)
    facts = {"query": str(args.query), "folder": str(args.folder)}
    return show(Answer(hits, references.problems), form=args.format, strict=args.strict, **facts)
