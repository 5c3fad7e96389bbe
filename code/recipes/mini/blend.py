"""Join converted collections into the training data of mini 2, balanced, without what the tests hold out.

python code/recipes/mini/blend.py OUT_DIR --parts runs/mini/data runs/wider --outside runs/outside

The parts are what build_data.py and wider.py wrote. A work (split.py) of which one piece is held out, by heldout.txt or
as part of an outside collection, is left out whole. At most --most pieces of a collection are taken, chosen by a hash
of the id. OUT_DIR gets train.jsonl and valid.jsonl with the texts of phrases.py and, where a
piece has them, those of records.py; file paths are absolute.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `recipes` and `clamp3`, without installation

from clamp3.cli import parser_for, run

VALID_PERCENT = 3


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = parser_for(__doc__)
    parser.add_argument("out_dir", type=Path, help="folder to write to")
    parser.add_argument("--parts", type=Path, nargs="+", required=True, help="folders with pieces.jsonl, to train on")
    parser.add_argument("--outside", type=Path, nargs="*", default=[], help="folders with pieces.jsonl, held out whole")
    parser.add_argument("--most", type=int, default=1500, help="pieces of a collection (default: %(default)s)")
    return parser


def trainable(rows: list[dict[str, Any]], outside: list[dict[str, Any]], held: set[str]) -> list[dict[str, Any]]:
    """Return the rows of works of which nothing is held out.

    Parameters
    ----------
    rows, outside : list of dict
        Rows of ``pieces.jsonl``: to train on, and of outside collections.
    held : set of str
        Ids of held-out pieces.
    """
    from recipes.mini.split import drop_copies, works_of

    works = works_of([*rows, *outside])
    banned = {works[row["id"]] for row in outside} | {works[name] for name in held if name in works}
    return [row for row in drop_copies(rows) if works[row["id"]] not in banned]


def draw(name: str) -> int:
    """Return a number of 32 bits that depends on the name only."""
    return int.from_bytes(hashlib.sha256(f"blend {name}".encode()).digest()[:4], "big")


def balanced(rows: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """Return at most so many rows of each collection, in an order of their own.

    Parameters
    ----------
    rows : list of dict
    most : int
    """
    taken: Counter[str] = Counter()
    chosen = []
    for row in sorted(rows, key=lambda row: draw(row["id"])):
        taken[row["collection"]] += 1
        if taken[row["collection"]] <= most:
            chosen.append(row)
    return chosen


def record_of(row: dict[str, Any]) -> dict[str, Any]:
    """Return a record with all texts there are of a piece; file paths are absolute."""
    from recipes.mini.lexicon import SCORING_OF
    from recipes.mini.phrases import record_of as phrases_of
    from recipes.mini.records import make_record

    folder = str(Path(row["folder"]).resolve() / "pieces")
    record = phrases_of(row, folder)
    if row["collection"] in SCORING_OF:
        old = make_record(row)
        record = {**{name: old[name] for name in ("title", "artists")}, **record}
        record["analysis"] = old["analysis"]
        record["scene"] = old["description"]
        old_words = old["translations"]
        record["translations"]["analysis"] = f"{old_words['analysis']}\n{old_words['description']}"
    elif row["title"]:
        record["title"] = row["title"]
    return record


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    from clamp3.errors import DataError
    from recipes.mini.build_data import read_rows, write_rows
    from recipes.mini.heldout import heldout_ids

    args = build_parser().parse_args(argv)
    rows = [{**row, "folder": str(part)} for part in args.parts for row in read_rows(part / "pieces.jsonl")]
    outside = [row for part in args.outside for row in read_rows(part / "pieces.jsonl")]
    if not rows:
        raise DataError(f"no pieces.jsonl with pieces in {', '.join(map(str, args.parts))}.")
    kept = trainable(rows, outside, set(heldout_ids()))
    valid = [row for row in kept if draw(row["id"] + " part") % 100 < VALID_PERCENT]
    names = {row["id"] for row in valid}
    train = balanced([row for row in kept if row["id"] not in names], args.most)
    for name, chosen in (("train", train), ("valid", valid)):
        write_rows(args.out_dir / f"{name}.jsonl", [record_of(row) for row in chosen])
        counts = Counter(row["collection"] for row in chosen)
        print(f"{name}: {len(chosen)} records; {', '.join(f'{key} {n}' for key, n in sorted(counts.items()))}")
    print(f"{len(rows) - len(kept)} of {len(rows)} pieces were left out: held out, or copies.")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
