"""The Song Describer Dataset: 1,106 captions of 706 recordings of about two minutes (CC BY-SA 4.0).

The published table uses the full set; its "valid" subset has 746 captions of 547 recordings. The recordings come from
the test part of MTG-Jamendo's split-0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clamp3.datasets.source import Dataset, Input, before_dot, files_by_key
from clamp3.formats.tables import read_csv
from clamp3.sources import Source, sentence

SONGDESCRIBER = Dataset(
    "songdescriber",
    "the Song Describer Dataset",
    "https://zenodo.org/records/10072001",
    "data CC BY-SA 4.0, recordings under their own Creative Commons licences",
    (
        Input("song_describer.csv", "1,106 rows: caption_id, track_id, caption, is_valid_subset, …"),
        Input("audio/<NN>/<track_id>.2min.mp3", "706 recordings, or their features (.npy)", ("audio/**/*.*",)),
    ),
)


@dataclass(frozen=True)
class Caption:
    """One caption; ``audio`` is None if the recording is missing."""

    id: str
    track: str
    text: Source
    valid: bool
    audio: Source | None


def read(root: Path) -> list[Caption]:
    """Return the captions of a Song Describer folder.

    Raises
    ------
    ConfigError
        If its table or its ``audio`` folder is missing.
    """
    table = SONGDESCRIBER.need(root, "song_describer.csv")
    audio = files_by_key(SONGDESCRIBER.need(root, "audio"), before_dot, "audio")
    return [
        Caption(
            row["caption_id"],
            row["track_id"],
            sentence(row["caption"]),
            row["is_valid_subset"].strip().lower() == "true",
            audio.get(row["track_id"]),
        )
        for row in read_csv(table, "caption_id", "track_id", "caption", "is_valid_subset")
    ]
