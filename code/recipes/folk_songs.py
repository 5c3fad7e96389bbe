"""Write songs of the Essen collection, which music21 ships, one file each, with a table: data for examples in docs/.

    python code/recipes/folk_songs.py songs/                     # 50 songs of each of eight regions
    python code/recipes/folk_songs.py songs/ --each 20 --parts   # and what docs/generation.md compares

Into songs/ go abc/<number>.abc, labels.csv (name, title, region, kind: the collection's own word for what is sung),
regions.csv (name, label) and words.txt. --parts also splits the songs into three, training/, real/ and other/, and
writes what a generator might: copied/ (pieces of training/), shuffled/ (the bars of other/ in random order), one_note/
(its notes all one), and prompts.csv for them. Songs are drawn with a seed.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
import re
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `recipes` and `clamp3`, without installation

from clamp3.cli import EXIT_OK, parser_for, run
from clamp3.jobs.atomic import write_text

# What the field O: of a song contains, the most particular first.
REGIONS = {
    "China": "China",
    "Ireland": "Irland",
    "Luxembourg": "Luxemburg",
    "Netherlands": "Niederlande",
    "Lower Rhine": "Niederrhein",
    "Silesia": "Schlesien",
    "Westphalia": "Westfalen",
    "Lorraine": "Lothringen",
}
WORDS = (
    *(
        "a Chinese folk song",
        "an Irish tune",
        "a German folk song",
        "a French song",
        "a Dutch song",
        "a children's song",
    ),
    *("a lively dance in 6/8", "a march in 2/4", "a waltz", "in a minor key", "in a major key", "a pentatonic melody"),
    *("a slow lament", "a hymn", "a long ballad with many verses", "fast running notes"),
)


@dataclass(frozen=True)
class Song:
    """One song: its ABC, and what its fields say."""

    title: str
    region: str
    kind: str
    abc: str


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = parser_for(__doc__)
    parser.add_argument("output_dir", type=Path, help="folder to write to")
    parser.add_argument("--each", type=int, default=50, help="songs of each region (default: %(default)s)")
    parser.add_argument("--parts", action="store_true", help="also write parts and imitations")
    parser.add_argument("--seed", type=int, default=0, help="of all draws (default: %(default)s)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Write the songs; return the exit code."""
    args = build_parser().parse_args(argv)
    from recipes.mini.works import corpus_root

    rng = random.Random(args.seed)
    songs = draw(list_songs(corpus_root() / "essenFolksong"), args.each, rng)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["name", "title", "region", "kind"])
    for number, song in enumerate(songs):
        write_text(args.output_dir / "abc" / f"{number:03d}.abc", song.abc)
        writer.writerow([f"{number:03d}.abc", song.title, song.region, song.kind])
    write_text(args.output_dir / "labels.csv", table.getvalue())
    regions = "".join(f"{number:03d}.abc,{song.region}\n" for number, song in enumerate(songs))
    write_text(args.output_dir / "regions.csv", "name,label\n" + regions)
    write_text(args.output_dir / "words.txt", "\n".join(WORDS) + "\n")
    if args.parts:
        write_parts(args.output_dir, songs, rng)
    print(f"{len(songs)} songs of {len(REGIONS)} regions in {args.output_dir}")
    return EXIT_OK


def list_songs(folder: Path) -> list[Song]:
    """Return the collection's songs whose region is one of `REGIONS`, each title once."""
    found: dict[str, Song] = {}
    for path in sorted(folder.glob("*.abc")):
        for tune in re.split(r"(?m)^(?=X:)", path.read_text(encoding="utf-8", errors="replace"))[1:]:
            fields = dict(re.findall(r"(?m)^([OTR]):[ \t]*(.*)$", tune))
            region = next((name for name, word in REGIONS.items() if word in fields.get("O", "")), "")
            body = "".join(line for line in tune.strip().splitlines(keepends=True) if not re.match(r"[NSOR]:", line))
            title = fields.get("T", "").strip()
            if region and title and body.count("|") >= 6:
                found.setdefault(title, Song(title, region, fields.get("R", "").strip(" ]"), body + "\n"))
    return list(found.values())


def draw(songs: list[Song], n_each: int, rng: random.Random) -> list[Song]:
    """Return as many songs of each region, or all it has."""
    by_region = {name: [song for song in songs if song.region == name] for name in REGIONS}
    return [song for found in by_region.values() for song in rng.sample(found, min(n_each, len(found)))]


def write_parts(folder: Path, songs: list[Song], rng: random.Random) -> None:
    """Write three parts of the songs, and imitations of the last."""
    order = rng.sample(range(len(songs)), len(songs))
    training, real, other = (sorted(order[start::3]) for start in range(3))
    for name, part in (("training", training), ("real", real), ("other", other)):
        for number in part:
            write_text(folder / name / f"{number:03d}.abc", songs[number].abc)
    for place, number in enumerate(other):
        abc = songs[number].abc
        write_text(folder / "copied" / f"{number:03d}.abc", songs[training[place % len(training)]].abc)
        head, _, body = abc.partition("K:")
        key, _, music = body.partition("\n")
        bars = [bar.strip() for bar in re.split(r"\|+\]?", music) if bar.strip()]
        shuffled = " | ".join(rng.sample(bars, len(bars)))
        write_text(folder / "shuffled" / f"{number:03d}.abc", f"{head}K:{key}\n{shuffled} |]\n")
        one_note = re.sub("[A-Ga-g][,']*", "G", music)
        write_text(folder / "one_note" / f"{number:03d}.abc", f"{head}K:{key}\n{one_note}\n")
    rows = [{"name": f"{number:03d}.abc", "prompt": f"a folk song of {songs[number].region}"} for number in other]
    table = io.StringIO()
    writer = csv.DictWriter(table, ["name", "prompt"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / "prompts.csv", table.getvalue())


if __name__ == "__main__":
    raise SystemExit(run(main))
