"""Pianist8: 411 piano pieces in MIDI by eight composers of popular music."""

from __future__ import annotations

from pathlib import Path

from clamp3.datasets.labelled import Example
from clamp3.datasets.source import Dataset, Input, without_suffix
from clamp3.errors import DataError, printable
from clamp3.formats import Kind
from clamp3.jobs.walk import walk
from clamp3.sources import Source

PIANIST8 = Dataset(
    "pianist8",
    "Pianist8",
    "https://zenodo.org/records/5089279",
    "see the record",
    (
        Input("midi/<composer>/*.mid", "411 pieces"),
        Input("abc/<composer>/<name>.*", "the same pieces as scores, where you have them (published: ABC)"),
    ),
)


def read(root: Path) -> list[Example]:
    """Return the pieces; the composer is the folder.

    Raises
    ------
    ConfigError
        If the MIDI folder is missing.
    DataError
        If it holds no folder with MIDI files.
    """
    folder = PIANIST8.need(root, "midi")
    examples = [
        Example(without_suffix(str(f.relative)), Source(f.kind, str(f.relative), path=f.path), f.relative.parts[0])
        for f in walk(folder, {Kind.MIDI, Kind.MTF}, pieces=False).files
        if len(f.relative.parts) > 1
    ]
    if not examples:
        raise DataError(f"{printable(folder)} has no MIDI files in folders. {PIANIST8.how_to_get(root)}")
    return examples
