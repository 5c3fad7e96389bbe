"""GiantSteps: previews of electronic dance music of two minutes with their key; 24 classes.

Training and validation are the MTG set (confident annotations of a single key), the test set is the original one of
604. MARBLE cuts the previews into clips of 30 s and aggregates their predictions; here a preview is one example.
"""

from __future__ import annotations

import re
from pathlib import Path

from clamp3.datasets.labelled import Example, Part, hashed, recording
from clamp3.datasets.source import Dataset, Input
from clamp3.errors import ConfigError, FormatError, printable
from clamp3.formats.tables import read_csv

TONICS = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
KEYS = tuple(f"{tonic} {mode}" for mode in ("major", "minor") for tonic in TONICS)
MTG, KEY = "giantsteps-mtg-key-dataset", "giantsteps-key-dataset"
_FLATS = {"C#": "Db", "D#": "Eb", "F#": "Gb", "G#": "Ab", "A#": "Bb"}
_TRAIN_SHARE, _VALID_SHARE = 100, 16  # of 116, by the hash of an artist's name

GIANTSTEPS = Dataset(
    "gs",
    "GiantSteps",
    "https://github.com/GiantSteps/giantsteps-key-dataset and https://github.com/GiantSteps/giantsteps-mtg-key-dataset",
    "none stated",
    (
        Input(f"{MTG}*/annotations/annotations.txt", "tab-separated: ID, MANUAL KEY, C …"),
        Input(f"{MTG}*/annotations/beatport_metadata.txt", "tab-separated: ID, ARTIST …"),
        Input(f"{MTG}*/audio/<id>.LOFI.mp3", "previews, which audio_dl.sh fetches", (f"{MTG}*/audio/*",)),
        Input(f"{KEY}*/annotations/key/<id>.LOFI.key", "604 files, each a key such as Eb minor"),
        Input(f"{KEY}*/audio/<id>.LOFI.mp3", "previews, which audio_dl.sh fetches", (f"{KEY}*/audio/*",)),
    ),
)


def read(root: Path) -> list[Example]:
    """Return the previews with their keys, written as ``Eb minor``.

    Raises
    ------
    ConfigError
        If one of the two folders or its annotations are missing.
    FormatError
        If a key of the test set cannot be read.
    """
    return _training(_folder(root, MTG)) + _test(_folder(root, KEY))


def _folder(root: Path, name: str) -> Path:
    """Return the folder of a repository; archives of it have the commit behind the name."""
    for path in sorted(root.glob(f"{name}*")):
        if path.is_dir():
            return path
    raise ConfigError(f"{printable(root / name)} is missing. {GIANTSTEPS.how_to_get(root)}")


def _need(folder: Path, name: str) -> Path:
    return GIANTSTEPS.need(folder.parent, f"{folder.name}/{name}")


def _training(folder: Path) -> list[Example]:
    metadata = _need(folder, "annotations/beatport_metadata.txt")
    artists = {
        row["ID"]: [name.strip() for name in row["ARTIST"].split(",")]
        for row in read_csv(metadata, "ID", "ARTIST", delimiter="\t")
    }
    parts = _artist_parts(list(artists.values()))
    examples = []
    annotations = _need(folder, "annotations/annotations.txt")
    for row in read_csv(annotations, "ID", "MANUAL KEY", "C", delimiter="\t"):
        key = _key(row["MANUAL KEY"])
        if row["C"].strip() != "2" or key is None or row["ID"] not in artists:
            continue  # low confidence, several keys, or none
        part = parts[artists[row["ID"]][0]]
        id = f"{row['ID']}.LOFI"
        examples.append(Example(f"train/{id}", recording(folder / "audio", f"{id}.mp3"), key, part))
    return examples


def _artist_parts(teams: list[list[str]]) -> dict[str, Part]:
    """Return a part per artist by the SHA-1 of the name; collaborators of a validation artist follow, in two rounds."""
    parts: dict[str, Part] = {}
    for artist in (artist for team in teams for artist in team):
        number = hashed(artist.lower()) % (_TRAIN_SHARE + _VALID_SHARE)
        parts[artist] = "train" if number < _TRAIN_SHARE else "valid"
    for _ in range(2):
        for team in teams:
            if any(parts[artist] == "valid" for artist in team):
                parts |= dict.fromkeys(team, "valid")
    return parts


def _test(folder: Path) -> list[Example]:
    examples = []
    for path in sorted(_need(folder, "annotations/key").glob("*.key")):
        text = path.read_text(encoding="utf-8").strip()
        key = _key(text)
        if key is None:
            raise FormatError(f"{printable(path)} holds {text[:40]!r}, which is no key such as 'Eb minor'.")
        examples.append(Example(f"test/{path.stem}", recording(folder / "audio", f"{path.stem}.mp3"), key, "test"))
    return examples


def _key(text: str) -> str | None:
    match = re.fullmatch(r"([A-G][#b]?)\s+(major|minor)", text.strip())
    if match is None:
        return None
    key = f"{_FLATS.get(match[1], match[1])} {match[2]}"
    return key if key in KEYS else None
