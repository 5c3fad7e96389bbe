"""Write scores that the model mini has not seen, with a table of what is known of them: for docs/own_benchmark.md.

    python examples/own_benchmark/songs.py songs/              # 200 of the pieces held out from mini's training
    python examples/own_benchmark/songs.py songs/ --seen 20    # and 20 of its training, to look for leaks

Into songs/ go scores/<id>.musicxml and songs.jsonl: file, title, artists, genre, and what code/recipes/mini reads from
each score (facts). All music is music21's corpus. --seen adds pieces of training, with training.jsonl and training/.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "code"))  # `clamp3` and `recipes`, without installation

from clamp3.cli import EXIT_OK, parser_for, run
from clamp3.formats.tables import json_text
from clamp3.jobs.atomic import write_bytes, write_text
from recipes.mini import pieces
from recipes.mini.pieces import musicxml_of, row_of
from recipes.mini.records import GENRE_OF
from recipes.mini.scores import read_musicxml
from recipes.mini.works import Source, corpus_root, list_works

KNOWN = ("form", "collection", "region", "century", "facts")


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = parser_for(__doc__)
    parser.add_argument("output_dir", type=Path, help="folder to write to")
    parser.add_argument("--n", type=int, default=200, help="pieces (default: %(default)s)")
    parser.add_argument("--seen", type=int, default=0, help="pieces of mini's training (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default: %(default)s)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Write scores and table; return the exit code."""
    args = build_parser().parse_args(argv)
    root, rng = corpus_root(), random.Random(args.seed)
    held = set((Path(pieces.__file__).with_name("heldout.txt")).read_text().split())
    works = [work for work in list_works(root) if work.kind != "kern"]  # which takes a second a piece
    chosen = rng.sample([work for work in works if work.id in held], args.n)
    seen = rng.sample([work for work in works if work.id not in held], args.seen)
    rows = [write_score(work, root, args.output_dir) for work in sorted([*chosen, *seen], key=lambda work: work.id)]
    write_text(args.output_dir / "songs.jsonl", "".join(json_text(row) + "\n" for row in rows))
    if seen:
        training = [{"id": work.id, "title": work.title, "artists": [work.composer or "traditional"]} for work in seen]
        write_text(args.output_dir / "training.jsonl", "".join(json_text(row) + "\n" for row in training))
        for work in seen:
            score = (args.output_dir / "scores" / f"{work.id}.musicxml").read_bytes()
            write_bytes(args.output_dir / "training" / f"{work.id}.musicxml", score, durable=False)
    print(f"{len(rows)} scores and songs.jsonl in {args.output_dir}")
    return EXIT_OK


def write_score(work: Source, root: Path, folder: Path) -> dict[str, object]:
    """Write a piece as MusicXML; return its row of the table."""
    xml = musicxml_of(work, root)
    write_bytes(folder / "scores" / f"{work.id}.musicxml", xml, durable=False)
    row = row_of(work, read_musicxml(xml))
    known = {name: row[name] for name in KNOWN}
    return {
        **{"id": work.id, "file": f"{work.id}.musicxml", "title": row["title"]},
        **{"artists": [work.composer or "traditional"], "genre": GENRE_OF.get(work.collection, "folk music"), **known},
    }


if __name__ == "__main__":
    raise SystemExit(run(main))
