"""WikiMT: 1,010 lead sheets in ABC with title, artist, genre and a description from Wikipedia (MIT licence)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clamp3.datasets.source import Dataset
from clamp3.formats import Kind
from clamp3.formats.tables import read_jsonl
from clamp3.sources import Source, sentence

WIKIMT = Dataset(
    "wikimt",
    "WikiMT",
    "https://huggingface.co/datasets/sander-wood/wikimusictext",
    "MIT",
    "wikimusictext.jsonl    1,010 rows: title, artist, genre, description, music",
)


@dataclass(frozen=True)
class Song:
    """One row: ``id`` is its number in the file, from 0001."""

    id: str
    genre: str
    description: Source
    abc: Source


def read(root: Path) -> list[Song]:
    """Return the songs of a WikiMT folder.

    Raises
    ------
    ConfigError
        If its file is missing.
    FormatError
        If a row lacks a field.
    """
    rows = read_jsonl(WIKIMT.need(root, "wikimusictext.jsonl"), "title", "artist", "genre", "description", "music")
    songs = []
    for number, row in enumerate(rows, start=1):
        abc = Source(Kind.ABC, f"{number:04d} {row['title']}", data=str(row["music"]).encode())
        description = sentence(str(row["description"]))
        songs.append(Song(f"{number:04d}", row["genre"], description, abc))
    return songs
