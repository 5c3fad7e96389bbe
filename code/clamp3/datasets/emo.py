"""EMO (Emomusic, "1000 Songs"): 744 clips of 45 s with the mean arousal and valence that listeners gave."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from clamp3.datasets.labelled import Example, Part, hashed, recording
from clamp3.datasets.source import Dataset, Input
from clamp3.errors import FormatError, printable
from clamp3.formats.tables import read_csv

VALUES = ("arousal", "valence")
_SONGS, _VALUES = "annotations/songs_info.csv", "annotations/static_annotations.csv"

EMO = Dataset(
    "emo",
    "Emomusic",
    "https://cvml.unige.ch/databases/emoMusic/",
    "see the site",
    (
        Input("songs_info.csv", "song_id, Artist, Mediaeval 2013 set …  (or in annotations/)", (_SONGS,)),
        Input("static_annotations.csv", "song_id, mean_arousal, mean_valence …  (or in annotations/)", (_VALUES,)),
        Input("clips_45seconds/<song_id>.mp3", "744 clips", ("clips_45seconds/*.*",)),
    ),
)


def read(root: Path) -> list[Example]:
    """Return the clips with (arousal, valence).

    The test set is MediaEval 2013's evaluation set; of the rest a fifth of the artists, by the SHA-1 of their name, is
    for validation (as in MARBLE and JukeMIR, so that the split is the published one).

    Raises
    ------
    ConfigError
        If a table is missing.
    FormatError
        If one lacks a column, or a cell that must be a number is none.
    """
    songs = EMO.need(root, "songs_info.csv", _SONGS)
    path = EMO.need(root, "static_annotations.csv", _VALUES)
    means = [f"mean_{name}" for name in VALUES]
    values = {number: found for number, found, _ in _rows(path, numbers=means)}
    examples = []
    for number, _, row in _rows(songs, "Artist"):
        source = recording(root / "clips_45seconds", f"{number}.mp3")
        part: Part = "test" if (row.get("Mediaeval 2013 set") or "").strip() == "evaluation" else _part(row["Artist"])
        if number in values:
            examples.append(Example(str(number), source, values[number], part))
    return examples


def _rows(path: Path, *texts: str, numbers: Sequence[str] = ()) -> Iterator[tuple[int, tuple[float, ...], Any]]:
    """Yield number of the song, numbers and whole row; empty rows, which spreadsheets leave, are skipped."""
    for line, row in enumerate(read_csv(path, "song_id", *texts, *numbers), start=2):
        if not any(cell.strip() for cell in row.values() if isinstance(cell, str)):
            continue
        try:
            song, values = int(row["song_id"]), tuple(float(row[column]) for column in numbers)
            if not all(map(math.isfinite, values)):
                raise ValueError
        except ValueError:
            cells = ", ".join(f"{column} {row[column]!r}" for column in ("song_id", *numbers))
            raise FormatError(f"{printable(path)}:{line} lacks a number: {cells}.") from None
        yield song, values, row


def _part(artist: str) -> Part:
    letters = "".join(c for c in artist.lower() if c.isascii() and (c.isalpha() or c.isspace()))
    return "train" if hashed(" ".join(letters.split())) % 10 < 8 else "valid"
