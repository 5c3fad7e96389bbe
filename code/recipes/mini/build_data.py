"""Turn music21's corpus into training data for the mini model: ABC, MTF and text records.

python code/recipes/mini/build_data.py DATA_DIR
python code/recipes/mini/build_data.py DATA_DIR --lieder ../shared/data/openscore_lieder
python code/recipes/mini/build_data.py DATA_DIR --records_only     write the records again, music as it is

DATA_DIR gets pieces/ (ABC and MTF of everything), pieces.jsonl (facts), train/, valid/ and heldout/ (links to the
pieces of each part) with train.jsonl, valid.jsonl and heldout.jsonl, and stats.json.
Pieces that are already converted are kept; about ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import logging
import os
import shutil
import sys
import time
from collections import Counter
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `recipes` and `clamp3`, without installation

from clamp3.cli import parser_for, run
from recipes.mini.works import KERN_BARS, Source, corpus_root, list_works

log = logging.getLogger(__name__)
SPLITS = ("train", "valid", "heldout")


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = parser_for(__doc__)
    parser.add_argument("data_dir", type=Path, help="folder to write to")
    parser.add_argument("--lieder", type=Path, help="OpenScore Lieder, as further training pieces")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes (default: all cores)")
    parser.add_argument("--limit", type=int, help="take only every n-th piece so that about this many are left")
    parser.add_argument("--records_only", action="store_true", help="do not convert, only write the records")
    return parser


def draw(text: str, n: int) -> int:
    """Return a number below ``n`` that depends on the text only."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % n


def source_xml(work: Source, root: Path) -> bytes:
    """Return the MusicXML of a piece: as it is, or made from ABC or kern."""
    if work.kind == "abc":
        from abctoolkit.abc2xml import fixDoctype, getXmlDocs

        from clamp3.errors import FormatError

        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            trees = getXmlDocs(work.text, skip=0, num=1)
            if not trees:
                raise FormatError("abc2xml cannot read this tune.")
            return str(fixDoctype(trees[0])).encode("utf-8")
    data = (root / work.path).read_bytes()
    if work.kind == "kern":
        from clamp3.formats.notation import score_to_musicxml

        return score_to_musicxml(cut_kern(data), suffix=".krn", name=work.id)
    if data[:2] == b"PK":
        from clamp3.formats.guards import unpack_mxl

        data = unpack_mxl(data)
    return data


def cut_kern(data: bytes) -> bytes:
    """Return the first `KERN_BARS` bars: more does not fit the model's window, and music21 is slow."""
    lines = data.decode("utf-8", "replace").splitlines()
    stop = next((at for at, line in enumerate(lines) if line.startswith(f"={KERN_BARS + 1}\t")), None)
    if stop is not None:
        lines = [*lines[:stop], "\t".join(["*-"] * (lines[stop].count("\t") + 1))]
    return ("\n".join(lines) + "\n").encode()


def convert(work: Source, *, root: str, out: str) -> dict[str, Any]:
    """Write a piece's ABC and MTF and return its row for ``pieces.jsonl``.

    The MIDI file behind the MTF varies in resolution and velocity from piece to piece, as users' files do.
    """
    from clamp3.formats.abc import interleave
    from clamp3.formats.mtf import midi_to_mtf
    from clamp3.formats.musicxml import musicxml_to_abc
    from recipes.mini import scores

    xml = source_xml(work, Path(root))
    score = scores.read_musicxml(xml)
    abc = interleave(musicxml_to_abc(xml, name=work.id).text).text
    ticks = (480, 480, 480, 480, 10080, 10080, 10080, 96, 120, 192, 240, 384, 960, 1024)[draw(work.id + "ticks", 14)]
    velocity = (90, 90, 90, 64, 72, 80, 96, 100, 110, 127)[draw(work.id + "velocity", 10)]
    mtf = midi_to_mtf(scores.to_midi(score, ticks=ticks, velocity=velocity)).text
    row = {name: value for name, value in asdict(work).items() if name not in ("text", "tonic", "mode")}
    row["title"] = work.title or score.title
    if work.kind == "musicxml" and work.collection in ("bach_chorale", "monteverdi", "string_quartet") and " " in score.title:
        row["title"] = f"{work.title}: {score.title}"
    row["facts"] = scores.facts_of(score, work.tonic, work.mode)
    row["whole"], row["incipit"] = scores.fingerprints(score)
    for kind, text in (("abc", abc), ("mtf", mtf)):
        row[kind] = f"{work.collection}/{work.id}.{kind}"
        path = Path(out, "pieces", row[kind])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return row


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSONL, without a torn last line."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return rows


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write objects as JSONL, replacing the file at once."""
    from clamp3.jobs.atomic import write_text

    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def convert_all(works: list[Source], root: Path, out: Path, workers: int | None) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Convert what ``pieces.jsonl`` does not list yet; returns all rows by id, and how often each error came."""
    from clamp3.jobs.parallel import process_map

    path = out / "pieces.jsonl"
    out.mkdir(parents=True, exist_ok=True)
    done = {row["id"]: row for row in read_rows(path)}
    todo = [work for work in works if work.id not in done]
    failed: Counter[str] = Counter()
    # Slow kern pieces first, so that both processes end together.
    todo.sort(key=lambda work: (("kern", "musicxml", "abc").index(work.kind), work.id))
    with path.open("a", encoding="utf-8") as stream:
        job = partial(convert, root=str(root), out=str(out))
        for outcome in process_map(job, todo, n_workers=workers, timeout_sec=60, desc="converting"):
            if outcome.error is not None:
                failed[f"{todo[outcome.index].collection}: {str(outcome.error)[:80]}"] += 1
                continue
            done[outcome.value["id"]] = outcome.value
            stream.write(json.dumps(outcome.value, ensure_ascii=False) + "\n")
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
    from recipes.mini.records import make_record
    from recipes.mini.split import assign, drop_copies

    args = build_parser().parse_args(argv)
    started = time.monotonic()
    root, out = corpus_root(), args.data_dir
    works = list_works(root, args.lieder)
    if args.limit:
        works = works[:: max(1, len(works) // args.limit)]
    if args.records_only:
        wanted = {work.id for work in works}
        rows = sorted((row for row in read_rows(out / "pieces.jsonl") if row["id"] in wanted), key=lambda row: row["id"])
        failed: Counter[str] = Counter()
    else:
        rows, failed = convert_all(works, root, out, args.workers)
    kept = drop_copies(rows)
    split = assign(kept)
    counts: dict[str, Counter[str]] = {name: Counter() for name in SPLITS}
    for name in SPLITS:
        chosen = [row for row in kept if split[row["id"]] == name]
        counts[name].update(row["collection"] for row in chosen)
        link_part(out, name, chosen)
        write_rows(out / f"{name}.jsonl", [make_record(row, folder=name) for row in chosen])
    stats = {
        "listed": len(works), "converted": len(rows), "copies_dropped": len(rows) - len(kept),
        "pieces": {name: sum(count.values()) for name, count in counts.items()},
        "by_collection": {name: dict(sorted(count.items())) for name, count in counts.items()},
        "failed": dict(failed.most_common(30)), "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip
    from clamp3.jobs.atomic import write_text

    write_text(out / "stats.json", json.dumps(stats, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps(stats, indent=1, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
