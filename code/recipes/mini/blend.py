"""Join converted collections into the training data of mini 2, balanced, without what the tests hold out.

python code/recipes/mini/blend.py OUT_DIR --parts runs/mini/data runs/wider --outside runs/outside

The parts are what build_data.py and wider.py wrote. A work (split.py) of which one piece is held out, by heldout.txt or
as part of an outside collection, is left out whole. At most --most pieces of a collection are taken, chosen by a hash
of the id. OUT_DIR gets train.jsonl and valid.jsonl with the texts of phrases.py and, where a piece has them, those of
records.py; file paths are absolute. With --variants N it gets, in place of train.jsonl, what train_clamp3_symbolic
takes: phrases.jsonl, where every piece comes 1 + N times, each time with a few other texts and then as somebody else
writes it (variants.py, files in OUT_DIR/pieces), and records.jsonl with the records of mini 1, where there are any.
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
SHORT = 5  # texts of a record of --variants, in English and in other languages


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = parser_for(__doc__)
    parser.add_argument("out_dir", type=Path, help="folder to write to")
    parser.add_argument("--parts", type=Path, nargs="+", required=True, help="folders with pieces.jsonl, to train on")
    parser.add_argument("--outside", type=Path, nargs="*", default=[], help="folders with pieces.jsonl, held out whole")
    parser.add_argument("--most", type=int, default=1500, help="pieces of a collection (default: %(default)s)")
    parser.add_argument("--variants", type=int, default=0, help="of every piece (default: none)")
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


def copies_of(row: dict[str, Any], out_dir: str, n_variants: int) -> list[dict[str, Any]]:
    """Write a piece and its variants below ``out_dir/pieces``; return their records with short texts.

    Parameters
    ----------
    row : dict
        With ``folder``.
    out_dir : str
    n_variants : int
    """
    import random

    from recipes.mini.phrases import record_of as phrases_of
    from recipes.mini.variants import LONGEST_ABC, cut, variant

    given = Path(row["folder"], "pieces")
    abc = (given / row["abc"]).read_text(encoding="utf-8") if "abc" in row else ""
    mtf = (given / row["mtf"]).read_text(encoding="utf-8")
    records = []
    for number in range(1 + n_variants):
        texts = (abc[:LONGEST_ABC], cut(mtf))
        if number:
            texts = variant(abc, mtf, row["facts"], random.Random(f"variant {row['id']} {number}"))
        renamed = {**row, "id": f"{row['id']}~{number}"}
        for kind, text in zip(("abc", "mtf"), texts, strict=True):
            if text:
                path = Path(out_dir, "pieces", row["collection"], f"{row['id']}~{number}.{kind}")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
                renamed[kind] = f"{row['collection']}/{path.name}"
        records.append(phrases_of(renamed, lines=SHORT))
    return records


def write_variants(rows: list[dict[str, Any]], out_dir: Path, n_variants: int) -> None:
    """Write phrases.jsonl and records.jsonl with the files they name.

    Parameters
    ----------
    rows : list of dict
        To train on, with ``folder``.
    out_dir : Path
    n_variants : int
    """
    from functools import partial

    from clamp3.jobs.parallel import process_map
    from recipes.mini.build_data import write_rows
    from recipes.mini.lexicon import SCORING_OF
    from recipes.mini.records import make_record

    job = partial(copies_of, out_dir=str(out_dir), n_variants=n_variants)
    made = {one.index: one.value or [] for one in process_map(job, rows, timeout_sec=60, desc="variants")}
    phrases = [record for index in range(len(rows)) for record in made[index]]
    write_rows(out_dir / "phrases.jsonl", phrases)
    records = [make_record(row) for row in rows if row["collection"] in SCORING_OF]
    paths = {record["id"]: record["filepaths"] for record in phrases}
    for record in records:
        record["filepaths"] = paths.get(f"{record['id']}~0", [])
    write_rows(out_dir / "records.jsonl", [record for record in records if record["filepaths"]])
    lost = sum(not records for records in made.values())
    print(f"{len(phrases)} records with short texts, {len(records)} with long ones; {lost} pieces were lost")


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
        if name == "valid" or not args.variants:
            write_rows(args.out_dir / f"{name}.jsonl", [record_of(row) for row in chosen])
        counts = Counter(row["collection"] for row in chosen)
        print(f"{name}: {len(chosen)} pieces; {', '.join(f'{key} {n}' for key, n in sorted(counts.items()))}")
    if args.variants:
        write_variants(train, args.out_dir, args.variants)
    print(f"{len(rows) - len(kept)} of {len(rows)} pieces were left out: held out, or copies.")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
