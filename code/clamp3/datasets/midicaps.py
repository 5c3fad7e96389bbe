"""MidiCaps: captions of 168,385 files of the Lakh MIDI Dataset (CC BY-SA 4.0).

The 1,010 pairs of the published table are not known. Without a list of them a sample of equal size is drawn from the
test set by a hash of the locations: reproducible, but not the published one, so only the order of magnitude can be
compared with the published row.
"""

from __future__ import annotations

import hashlib
import heapq
from dataclasses import dataclass
from pathlib import Path

from clamp3.datasets.source import Dataset, Input
from clamp3.errors import DataError, printable
from clamp3.formats import Kind
from clamp3.formats.tables import each_jsonl
from clamp3.sources import Source, sentence

N_PAIRS = 1010
SUBSET = "subset.txt"

MIDICAPS = Dataset(
    "midicaps",
    "MidiCaps",
    "https://huggingface.co/datasets/amaai-lab/MidiCaps",
    "CC BY-SA 4.0",
    (
        Input("train.json", "rows: location, caption, test_set"),
        Input("lmd_full", "unpacked from midicaps.tar.gz; locations start here"),
        Input(SUBSET, "optional: the locations to evaluate, one per line", optional=True),
    ),
)


@dataclass(frozen=True)
class Piece:
    """One captioned file; ``id`` is its location. ``midi`` is None if the file is missing."""

    id: str
    caption: Source
    midi: Source | None


def read(root: Path, *, n_pieces: int = N_PAIRS) -> list[Piece]:
    """Return the pieces to evaluate: those of ``subset.txt`` if it exists, else a fixed sample of the test set.

    Parameters
    ----------
    root : Path
        The data set's folder.
    n_pieces : int
        Size of the sample.

    Raises
    ------
    ConfigError
        If ``train.json`` is missing.
    DataError
        If the list names a location that has no caption.
    """
    rows = each_jsonl(MIDICAPS.need(root, "train.json"), "location", "caption")
    captions = ((str(row["location"]), str(row["caption"]), row.get("test_set", True)) for row in rows)
    if (root / SUBSET).is_file():
        wanted = [line.strip() for line in (root / SUBSET).read_text(encoding="utf-8").splitlines() if line.strip()]
        listed = set(wanted)
        found = {location: caption for location, caption, _ in captions if location in listed}
        if unknown := [location for location in wanted if location not in found]:
            raise DataError(
                f"{printable(root / SUBSET)}: {len(unknown)} locations have no caption, first {unknown[0]}."
            )
        chosen = [(location, found[location]) for location in dict.fromkeys(wanted)]
    else:
        in_test = ((location, caption) for location, caption, test in captions if test)
        chosen = sorted(heapq.nsmallest(n_pieces, in_test, key=lambda row: hashlib.sha256(row[0].encode()).digest()))
    return [Piece(location, sentence(caption), _midi(root, location)) for location, caption in chosen]


def _midi(root: Path, location: str) -> Source | None:
    path = root / location
    inside = path.resolve().is_relative_to(root.resolve())  # a location is data, not to be trusted
    return Source(Kind.MIDI, location, path=path) if inside and path.is_file() else None
