"""Find the pieces of folders that are closest to a sentence or a file.

    python retrieval/clamp3_search.py "a lively jig for fiddle" my_scores/ --top_k 10
    python retrieval/clamp3_search.py "eine ruhige Klaviersonate" my_scores/ --model saas --json
    python retrieval/clamp3_search.py tune.abc my_midi/ more_files/ --kind midi,abc --exclude drafts --min_score .4
    python retrieval/clamp3_search.py hummed.m4a my_scores/ --passages
    python retrieval/clamp3_search.py "a lively jig" s3://bucket/library    # an index that many share (index.py --uri)

Folders are read with their sub-folders and may hold any mixture of .txt .xml .musicxml .mxl .krn .mei .abc .mid .midi
.mtf, recordings (.wav .mp3 .flac .ogg .opus .m4a .aac .wma .aiff …) and .npy (audio features). Vectors are cached by
content (in $CLAMP3_CACHE, else ~/.cache/clamp3), so the next search only has to encode its query.
Texts are ranked with --kind text or all, or where there is no music. Files with the same content are one result, and a
query from the searched folder is none (--keep_duplicates). --passages ranks passages of 30 s, or of 16 bars of a score.
On a terminal the output is a table; in a pipe lines of name, score, position (with --passages) and title (if any result
has one), separated by tabs. Files that fail are listed on stderr; with --strict the exit code is then 1.
"""

from __future__ import annotations

import argparse

from clamp3.cli import add_model_flags, add_result_flags, open_model
from clamp3.errors import ConfigError
from clamp3.index.place import Uri, Where, where
from clamp3.index.selection import add_question_flags
from clamp3.jobs.walk import existing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("query", help="a sentence, or the path of a file of any kind")
    parser.add_argument("reference_dir", type=_place, nargs="+", help="folders to search, or an index's address")
    parser.add_argument("--passages", action="store_true", help="rank passages of pieces, and show where they are")
    parser.add_argument("--no_index", action="store_true", help="read the folder, though it has an index (index.py)")
    add_model_flags(add_result_flags(add_question_flags(parser)))


def _place(text: str) -> Where:
    return where(text) if "://" in text else existing(text)


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    from clamp3.index.question import question_of
    from clamp3.index.render import show
    from clamp3.index.search import ask

    if any(isinstance(place, Uri) for place in args.reference_dir) and (len(args.reference_dir) > 1 or args.no_index):
        raise ConfigError("an address is searched alone, and by its index.")
    question = question_of(args, args.query)  # what is wrong with flags, paths and query is said before torch is loaded
    from clamp3.embedding.passages import PassagePlan
    from clamp3.index.query import ask_index

    clamp3 = open_model(args)
    plan = PassagePlan() if args.passages else None
    only = None if args.no_index or len(args.reference_dir) > 1 else args.reference_dir[0]
    answer = ask_index(clamp3, question, only, passages=plan) if only else None
    answer = answer or ask(clamp3, question, args.reference_dir, passages=plan)
    facts = {"query": args.query, "model": clamp3.identity, "n_references": answer.n_references}
    return show(answer, form=args.format, strict=args.strict, **facts)
