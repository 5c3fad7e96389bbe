"""Measure what words add to vectors: pieces asked for by title, by misspelt title, and descriptions.

    python benchmarks/index_words.py ~/music/.clamp3_index

Of an index that is there, 60 scores with titles of their own are asked for by title, as it is and with two letters
changed; the reciprocal rank of the piece is averaged. "A slow sad piece by X" shows how many of ten results are by each
of the composers that at least ten pieces name. Twenty descriptions show how many of their ten best results the words
leave as they are.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

from machine import write_result

from clamp3 import Clamp3
from clamp3.cli import EXIT_OK, parser_for, run
from clamp3.errors import DataError
from clamp3.formats.tables import json_text
from clamp3.index.folder import find_index
from clamp3.index.library import Library
from clamp3.index.query import find
from clamp3.index.question import Question
from clamp3.index.words import words_of
from clamp3.jobs.cache import VectorCache

DESCRIPTIONS = (
    "a lively jig for fiddle",
    "slow and sad piece in a minor key",
    "a cheerful waltz",
    "baroque chorale for four voices",
    "a solemn hymn",
    "string quartet, fast movement",
    "a lullaby",
    "video game battle music, fast and aggressive",
    "calm ambient piano",
    "renaissance polyphony a cappella",
    "a ragtime for piano",
    "folk song in 3/4",
    "march in B flat major",
    "a reel in D major",
    "melancholic ballad",
    "eine ruhige Klaviersonate",
    "un vals triste",
    "悲しいピアノ曲",
    "весёлая народная песня",
    "a piece with many triplets",
)
COMPOSERS = ("Bach", "Beethoven", "Brahms", "Carolan", "Chopin", "Haydn", "Mozart", "Palestrina", "Schubert", "Wolf")


def misspelt(title: str, rng: random.Random) -> str:
    """Return a title with up to two letters left out, replaced or exchanged with the next."""
    places = [n for n, char in enumerate(title) if char.isalpha() and 0 < n < len(title) - 1]
    for n in sorted(rng.sample(places, min(2, len(places))), reverse=True):
        other = rng.choice(("", rng.choice("aeioutrn"), title[n + 1] + title[n]))
        title = title[:n] + other + title[n + (2 if len(other) == 2 else 1) :]
    return title


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("index", type=Path, help="an index of the mini model with at least 60 scores that have titles")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; return its exit code."""
    args = build_parser().parse_args(argv)
    model = Clamp3.from_pretrained("mini", cache=VectorCache(None))
    rng = random.Random(5)
    with Library.open(find_index(args.index) or args.index) as library:
        rows = sorted(library.pieces.rows(["name", "title", "modality", "composer"]), key=lambda row: str(row["name"]))
        uses = Counter(row["title"] for row in rows)
        own = [row for row in rows if row["modality"] == "score" and uses[row["title"]] == 1]
        own = [row for row in own if len(words_of(row["title"])) > 1 and len(row["title"]) < 60]
        if len(own) < 60:
            raise DataError(f"the index has {len(own)} scores with titles of their own; 60 are needed.")
        asked = [(row["title"], row["name"]) for row in rng.sample(own, 60)]

        def names(query: str, words: bool, top_k: int = 10) -> list[set[str]]:
            hits = find(library, model, Question.of(query, top_k=top_k, words=words))
            return [{hit.name, *hit.also} for hit in hits]

        def mean_reciprocal_rank(queries: list[tuple[str, str]], words: bool) -> float:
            total = 0.0
            for query, name in queries:
                places = (n for n, hit in enumerate(names(query, words, 50), start=1) if name in hit)
                total += 1 / next(places, float("inf"))
            return round(total / len(queries), 3)

        wrong = [(misspelt(title, rng), name) for title, name in asked]
        figures: dict[str, Any] = {"pieces": len(rows)}
        for label, queries in {"titles": asked, "misspelt titles": wrong}.items():
            figures[label] = {way: mean_reciprocal_rank(queries, way == "hybrid") for way in ("vectors", "hybrid")}
        of_name = {row["name"]: words_of(str(row["composer"])) for row in rows}
        people = [who for who in COMPOSERS if sum(who.lower() in each for each in of_name.values()) >= 10]

        def share_by_composer(words: bool) -> float:
            found = [(who, hit) for who in people for hit in names(f"a slow sad piece by {who}", words)]
            return round(sum(any(who.lower() in of_name[name] for name in hit) for who, hit in found) / len(found), 3)

        figures["composers"] = {"asked": people, "vectors": share_by_composer(False), "hybrid": share_by_composer(True)}
        firsts = {words: [set().union(*names(text, words)) for text in DESCRIPTIONS] for words in (False, True)}
        shared = [len(one & other) / len(one) for one, other in zip(firsts[False], firsts[True], strict=True)]
        figures["descriptions: results that stay"] = round(sum(shared) / len(shared), 3)
        begun = time.perf_counter()
        for text in DESCRIPTIONS:
            names(text, True)
        figures["ms per question"] = round((time.perf_counter() - begun) / len(DESCRIPTIONS) * 1e3, 1)
    print(json_text(figures, indent=2))
    print(write_result("index_words", figures))
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
