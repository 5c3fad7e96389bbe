"""EMO (Emomusic, "1000 Songs"): 744 clips of 45 s with the mean arousal and valence that listeners gave."""

from __future__ import annotations

import hashlib
from pathlib import Path

from clamp3.datasets.labelled import Example, Part, recording
from clamp3.datasets.source import Dataset, read_csv

VALUES = ("arousal", "valence")

EMO = Dataset(
    "emo",
    "Emomusic",
    "https://cvml.unige.ch/databases/emoMusic/",
    "see the site",
    "songs_info.csv            song_id, Artist, Mediaeval 2013 set …  (or in annotations/)\n"
    "static_annotations.csv    song_id, mean_arousal, mean_valence …  (or in annotations/)\n"
    "clips_45seconds/<song_id>.mp3",
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
        If one lacks a column.
    """
    songs = read_csv(EMO.need(root, "songs_info.csv", "annotations/songs_info.csv"), "song_id", "Artist")
    path = EMO.need(root, "static_annotations.csv", "annotations/static_annotations.csv")
    values = {
        int(row["song_id"]): (float(row["mean_arousal"]), float(row["mean_valence"]))
        for row in read_csv(path, "song_id", "mean_arousal", "mean_valence")
    }
    examples = []
    for row in songs:
        number = int(row["song_id"])
        source = recording(root / "clips_45seconds", f"{number}.mp3")
        part: Part = "test" if row.get("Mediaeval 2013 set", "").strip() == "evaluation" else _part(row["Artist"])
        if number in values:
            examples.append(Example(str(number), source, values[number], part))
    return examples


def _part(artist: str) -> Part:
    letters = "".join(c for c in artist.lower() if c.isascii() and (c.isalpha() or c.isspace()))
    number = int(hashlib.sha1(" ".join(letters.split()).encode(), usedforsecurity=False).hexdigest(), 16)
    return "train" if number % 10 < 8 else "valid"
