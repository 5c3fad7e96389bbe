"""Find the pieces of a folder that are closest to a sentence or a file.

    python retrieval/clamp3_search.py "a lively jig for fiddle" my_scores/ --top_k 10
    python retrieval/clamp3_search.py "eine ruhige Klaviersonate" my_scores/ --model saas --json
    python retrieval/clamp3_search.py tune.abc my_midi_files/
    python retrieval/clamp3_search.py hummed.m4a my_scores/ --passages

The folder is read with its sub-folders and may hold any mixture of .txt .xml .musicxml .mxl .krn .mei .abc .mid .midi
.mtf, recordings (.wav .mp3 .flac .ogg .opus .m4a .aac .wma .aiff …) and .npy (audio features). Vectors are cached by
content (in $CLAMP3_CACHE, else ~/.cache/clamp3), so the next search only has to encode its query.
--passages ranks passages of 30 s, or of 16 bars of a score, and prints their positions. Files that fail are listed on
stderr, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from clamp3.cli import add_model_flags, open_model, parser_for, run


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("query", help="a sentence, or the path of a file of any kind")
    parser.add_argument("reference_dir", type=Path, help="folder to search")
    parser.add_argument("--top_k", type=int, default=10, help="how many results (default: %(default)s)")
    parser.add_argument("--passages", action="store_true", help="rank passages of pieces, and show where they are")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return add_model_flags(parser)


def main(argv: list[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    """Run the script; return its exit code."""
    args = (parser or build_parser()).parse_args(argv)
    from clamp3.embedding.passages import PassagePlan
    from clamp3.index.render import show
    from clamp3.index.search import ask, describe_skipped

    clamp3 = open_model(args)
    plan = PassagePlan() if args.passages else None
    answer = ask(clamp3, args.query, args.reference_dir, top_k=args.top_k, passages=plan)
    facts = {"query": args.query, "model": clamp3.identity, "n_references": answer.n_references}
    code = show(answer.hits, answer.failures, in_json=args.json, **facts)
    if sentence := describe_skipped(answer.skipped):
        print(sentence, file=sys.stderr)
    return code


if __name__ == "__main__":
    raise SystemExit(run(main))
