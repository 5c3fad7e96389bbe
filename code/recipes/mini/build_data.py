"""Turn music21's corpus into training data for the mini model: ABC, MTF and text records.

python code/recipes/mini/build_data.py DATA_DIR
python code/recipes/mini/build_data.py DATA_DIR --lieder LIEDER_DIR

DATA_DIR gets pieces/ (ABC and MTF of everything), pieces.jsonl (facts), train/, valid/ and heldout/ (links to the
pieces of each part) with train.jsonl, valid.jsonl and heldout.jsonl, and stats.json.
Pieces that are already converted are kept; about ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `recipes` and `clamp3`, without installation

from clamp3.cli import parser_for, run
from clamp3.errors import FormatError
from clamp3.formats.fields import typed
from clamp3.formats.tables import json_text, lines_in, parse_json
from recipes.mini.pieces import convert
from recipes.mini.works import Source, corpus_root, list_works

HELD_OUT_LIST = "heldout.txt"
SPLITS = ("train", "valid", "heldout")


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = parser_for(__doc__)
    parser.add_argument("data_dir", type=Path, help="folder to write to")
    parser.add_argument("--lieder", type=Path, help="OpenScore Lieder, as further training pieces")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes (default: all cores)")
    parser.add_argument("--limit", type=int, help="take only every n-th piece so that about this many are left")
    return parser


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSONL, without a torn last line."""
    rows = []
    for _, line in lines_in(path) if path.exists() else []:
        with contextlib.suppress(FormatError):
            rows.append(typed(dict[str, Any], parse_json(line)))
    return rows


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write objects as JSONL, replacing the file at once."""
    from clamp3.jobs.atomic import write_text

    write_text(path, "".join(json_text(row) + "\n" for row in rows))


def convert_all(
    works: list[Source], root: Path, out: Path, workers: int | None
) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Convert what ``pieces.jsonl`` does not list yet; returns all rows by id, and how often each error came."""
    from clamp3.jobs.parallel import process_map

    path = out / "pieces.jsonl"
    out.mkdir(parents=True, exist_ok=True)
    done = {row["id"]: row for row in read_rows(path)}
    todo = [work for work in works if work.id not in done]
    failed: Counter[str] = Counter()
    # Slow kern pieces first, so that both processes end together.
    todo.sort(key=lambda work: (("kern", "musicxml", "midi", "abc").index(work.kind), work.id))
    with path.open("a", encoding="utf-8") as stream:
        job = partial(convert, root=str(root), out=str(out))
        for outcome in process_map(job, todo, n_workers=workers, timeout_sec=60, desc="converting"):
            if outcome.error is not None or outcome.value is None:
                failed[f"{todo[outcome.index].collection}: {str(outcome.error)[:80]}"] += 1
                continue
            done[outcome.value["id"]] = outcome.value
            stream.write(json_text(outcome.value) + "\n")
            stream.flush()
    wanted = {work.id for work in works}
    return [done[name] for name in sorted(done) if name in wanted], failed


def link_part(out: Path, name: str, rows: list[dict[str, Any]]) -> None:
    """Make ``out/name`` hold the files of these pieces and no others, so that pre-training takes a folder."""
    shutil.rmtree(out / name, ignore_errors=True)
    for row in rows:
        for kind in ("abc", "mtf"):
            path = out / name / row[kind]
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(out / "pieces" / row[kind], path)
            except OSError:  # a file system without hard links
                shutil.copyfile(out / "pieces" / row[kind], path)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    from clamp3.errors import DataError
    from clamp3.jobs.atomic import write_text
    from recipes.mini.records import make_record
    from recipes.mini.split import assign, drop_copies

    args = build_parser().parse_args(argv)
    started = time.monotonic()
    root, out = corpus_root(), args.data_dir
    works = list_works(root, args.lieder)
    if args.limit:
        works = works[:: max(1, len(works) // args.limit)]
    rows, failed = convert_all(works, root, out, args.workers)
    kept = drop_copies(rows)
    split = assign(kept)
    counts: dict[str, Counter[str]] = {name: Counter() for name in SPLITS}
    for name in SPLITS:
        chosen = [row for row in kept if split[row["id"]] == name]
        counts[name].update(row["collection"] for row in chosen)
        link_part(out, name, chosen)
        write_rows(out / f"{name}.jsonl", [make_record(row, folder=name) for row in chosen])
    held = "".join(f"{row['id']}\n" for row in kept if split[row["id"]] == "heldout")
    write_text(out / HELD_OUT_LIST, held)
    stats = {
        "listed": len(works), "converted": len(rows), "copies_dropped": len(rows) - len(kept),
        "pieces": {name: sum(count.values()) for name, count in counts.items()},
        "by_collection": {name: dict(sorted(count.items())) for name, count in counts.items()},
        "failed": dict(failed.most_common(30)), "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip
    write_text(out / "stats.json", json_text(stats, indent=1) + "\n")
    print(json_text(stats, indent=1))
    empty = [name for name, count in counts.items() if not count]
    if empty:
        raise DataError(f"no pieces for {' and '.join(empty)}: too few were converted, or --limit is too small.")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
