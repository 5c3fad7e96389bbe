"""MusicCaps: captions of 5,521 clips of ten seconds from YouTube, 2,858 of them in AudioSet's evaluation part.

Distributed are captions and YouTube ids (CC BY-SA 4.0). The published table also has rewritten captions and whole
recordings, neither of which is distributed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clamp3.datasets.source import Dataset, Input, files_by_key, youtube_key
from clamp3.formats.tables import read_csv
from clamp3.sources import Source, sentence

MUSICCAPS = Dataset(
    "musiccaps",
    "MusicCaps",
    "https://huggingface.co/datasets/google/MusicCaps",
    "CC BY-SA 4.0",
    (
        Input("musiccaps-public.csv", "5,521 rows: ytid, start_s, end_s, caption, is_audioset_eval, …"),
        Input("clips/*<ytid>*", "the clips of ten seconds, named as downloaders do, or their features (.npy)"),
        Input("full/*<ytid>*", "the whole recordings, or their features (.npy)"),
        Input("rewritten.csv", "rewritten captions: ytid, caption"),
    ),
)


@dataclass(frozen=True)
class Clip:
    """One clip; what is missing in the folder is None."""

    id: str
    original: Source
    rewritten: Source | None
    clip: Source | None
    full: Source | None
    evaluation: bool


def read(root: Path) -> list[Clip]:
    """Return the clips of a MusicCaps folder.

    Raises
    ------
    ConfigError
        If its table is missing.
    """
    rows = read_csv(MUSICCAPS.need(root, "musiccaps-public.csv"), "ytid", "caption", "is_audioset_eval")
    again = read_csv(root / "rewritten.csv", "ytid", "caption") if (root / "rewritten.csv").is_file() else []
    rewritten = {row["ytid"]: sentence(row["caption"]) for row in again}
    key = youtube_key({row["ytid"] for row in rows})
    clips, full = (files_by_key(root / name, key, "audio") for name in ("clips", "full"))
    return [
        Clip(
            row["ytid"],
            sentence(row["caption"]),
            rewritten.get(row["ytid"]),
            clips.get(row["ytid"]),
            full.get(row["ytid"]),
            row["is_audioset_eval"].strip().lower() == "true",
        )
        for row in rows
    ]
