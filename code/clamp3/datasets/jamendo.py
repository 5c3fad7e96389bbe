"""MTG-Jamendo: 55,000 full tracks with tags of genre, instrument, mood and theme, and the 50 most frequent."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from clamp3.datasets.labelled import Example, Part, recording
from clamp3.datasets.source import Dataset, Input, without_suffix
from clamp3.formats.tables import read_csv

SUBSETS = {"genre": "genre", "instrument": "instrument", "mood": "moodtheme", "top50": "top50tags"}
_PARTS: dict[str, Part] = {"train": "train", "validation": "valid", "test": "test"}
_FOLDERS = ("raw_30s/audio-low", "audio-low", "raw_30s/audio", "audio")


def _table(subset: str, part: str) -> str:
    return f"data/splits/split-0/autotagging_{SUBSETS[subset]}-{part}.tsv"


JAMENDO = Dataset(
    "jamendo",
    "MTG-Jamendo",
    "https://github.com/MTG/mtg-jamendo-dataset",
    "metadata CC BY-NC-SA 4.0, recordings Creative Commons, by track",
    (
        *(Input(_table(subset, "<part>"), f"parts {', '.join(_PARTS)}") for subset in SUBSETS),
        Input(
            "audio-low/NN/<id>.low.mp3",
            "or in raw_30s/audio-low; or audio/NN/<id>.mp3, raw_30s/audio",
            tuple(f"{folder}/*/*" for folder in _FOLDERS),
        ),
    ),
)


def missing_parts(root: Path, subset: str) -> list[str]:
    """Return the parts of a subset whose tables a folder lacks.

    Parameters
    ----------
    root : Path
    subset : {"genre", "instrument", "mood", "top50"}
    """
    return [part for part in _PARTS if not (root / _table(subset, part)).is_file()]


def read(root: Path, subset: str) -> list[Example]:
    """Return the tracks of a subset in split 0.

    Parameters
    ----------
    root : Path
    subset : {"genre", "instrument", "mood", "top50"}

    Raises
    ------
    ConfigError
        If a table is missing.
    """
    folders = [root / name for name in (*_FOLDERS, ".")]
    folder = next((path for path in folders if path.is_dir()), root)
    examples = []
    for name, part in _PARTS.items():
        path = JAMENDO.need(root, _table(subset, name))
        for row in read_csv(path, "PATH", "TAGS", delimiter="\t"):
            # Tags fill as many columns as there are; the reader keeps those beyond the header under None.
            more = cast("dict[str | None, list[str]]", row).get(None, [])
            tags = tuple(tag.strip() for tag in (row["TAGS"], *more) if tag.strip())
            relative = row["PATH"]
            low = f"{without_suffix(relative)}.low.mp3"
            source = recording(folder, low) or recording(folder, relative)
            examples.append(Example(without_suffix(relative), source, tags, part))
    return examples
