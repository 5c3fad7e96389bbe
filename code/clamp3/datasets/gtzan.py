"""GTZAN: 1,000 clips of 30 s in ten genres, in the fault-filtered split (no artist in two parts, no broken files)."""

from __future__ import annotations

from pathlib import Path

from clamp3.datasets.labelled import PARTS, Example, recording
from clamp3.datasets.source import Dataset, Input, without_suffix
from clamp3.errors import FormatError, printable
from clamp3.formats.guards import decode_text, read_file

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
FOLDERS = ("genres", "genres_original", "Data/genres_original")
BROKEN = "jazz/jazz.00054"  # unreadable in the usual distribution; left out as in MARBLE

GTZAN = Dataset(
    "gtzan",
    "GTZAN",
    "https://www.kaggle.com/datasets/andradaolteanu/gtzan-dataset-music-genre-classification, its lists from "
    "https://github.com/jongpillee/music_dataset_split (GTZAN_split)",
    "none stated",
    (
        *(Input(f"{part}_filtered.txt", "lines such as blues/blues.00029.wav") for part in PARTS),
        Input(
            "genres/<genre>/<genre>.000NN.wav",
            f"or in {' or '.join(FOLDERS[1:])}",
            tuple(f"{folder}/*/*" for folder in FOLDERS),
        ),
    ),
)


def read(root: Path) -> list[Example]:
    """Return the clips of the three lists.

    Raises
    ------
    ConfigError
        If a list or the folder of recordings is missing.
    FormatError
        If a line names no genre.
    """
    lists = {part: GTZAN.need(root, f"{part}_filtered.txt") for part in PARTS}
    folder = GTZAN.need(root, *FOLDERS)
    examples = []
    for part, path in lists.items():
        for number, line in enumerate(decode_text(read_file(path)).splitlines(), start=1):
            relative = line.strip()
            if not relative or without_suffix(relative) == BROKEN:
                continue
            genre = relative.split("/")[0]
            if genre not in GENRES:
                raise FormatError(f"{printable(path)}:{number} starts with {genre!r}, which is no genre.")
            source = recording(folder, relative)
            examples.append(Example(without_suffix(relative), source, genre, part))
    return examples
