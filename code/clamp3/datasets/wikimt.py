"""WikiMT: 1,010 lead sheets with title, artist, genre and a description from Wikipedia (MIT licence).

The distributed rows have no music. Its card tells how to add it from Wikifonia's archive of MusicXML files, as
``music``, a list of lines; here a folder of these files next to the table does as well, joined by artist and title.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clamp3.datasets.source import Dataset, Input, files_by_key, plain
from clamp3.errors import FormatError, printable
from clamp3.formats import Kind
from clamp3.formats.tables import read_jsonl
from clamp3.sources import Source, sentence

WIKIFONIA = "Wikifonia"
SCORES = f"the field music of wikimusictext.jsonl, or as {WIKIFONIA}/<artist> - <title>.mxl"
_FIELDS = ("title", "artist", "genre", "description")

WIKIMT = Dataset(
    "wikimt",
    "WikiMT",
    "https://huggingface.co/datasets/sander-wood/wikimusictext",
    "MIT",
    (
        Input("wikimusictext.jsonl", "1,010 rows: title, artist, genre, description; music where you added it"),
        Input(
            f"{WIKIFONIA}/<artist> - <title>.mxl",
            "the lead sheets, if the rows have no music: they are not distributed, but the card says where to find "
            "Wikifonia.zip, and has code that writes them into the rows",
        ),
    ),
)


@dataclass(frozen=True)
class Song:
    """One row; ``id`` is its number in the file, from 0001, and ``abc`` its lead sheet, None if there is none."""

    id: str
    genre: str
    description: Source
    abc: Source | None


def read(root: Path) -> list[Song]:
    """Return the songs of a WikiMT folder.

    Raises
    ------
    ConfigError
        If its file is missing.
    FormatError
        If a row lacks a field.
    """
    path = WIKIMT.need(root, "wikimusictext.jsonl")
    sheets = _sheets(root / WIKIFONIA)
    songs = []
    for number, row in enumerate(read_jsonl(path, *_FIELDS), start=1):
        id, abc = f"{number:04d}", _music(row.get("music"), f"{printable(path)}:{number}")
        score = Source(Kind.ABC, f"{id} {row['title']}", data=abc.encode()) if abc else _sheet(row, sheets)
        songs.append(Song(id, row["genre"], sentence(str(row["description"])), score))
    return songs


def _music(value: Any, place: str) -> str:
    """Return ABC that a row has, as a text or as a list of its lines; "" if it has none."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "".join(line.rstrip("\r\n") + "\n" for line in value)
    raise FormatError(f"{place} has music that is neither a text nor a list of lines.")


def _sheets(folder: Path) -> dict[str, list[tuple[str, Source]]]:
    """Return the lead sheets of a folder by title, each with its artist; names are ``<artist> - <title>``."""
    found: dict[str, list[tuple[str, Source]]] = {}
    for name, source in files_by_key(folder, lambda path: path.stem, "symbolic").items():
        artist, dash, title = name.partition(" - ")
        found.setdefault(plain(title if dash else name), []).append((plain(artist) if dash else "", source))
    return found


def _sheet(row: Mapping[str, Any], sheets: Mapping[str, Sequence[tuple[str, Source]]]) -> Source | None:
    """Return the lead sheet of a row: the artist's, or the only one of its title."""
    found, artist = sheets.get(plain(str(row["title"])), ()), plain(str(row["artist"]))
    same = [source for name, source in found if name == artist]
    return same[0] if same else found[0][1] if len(found) == 1 else None
