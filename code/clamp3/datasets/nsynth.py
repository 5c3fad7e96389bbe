"""NSynth: 305,979 notes of 4 s of 1,006 instruments, labelled with the instrument's family and the pitch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clamp3.datasets.labelled import PARTS, Example, recording
from clamp3.datasets.source import Dataset, Input
from clamp3.errors import FormatError, printable
from clamp3.formats.tables import read_json

# MARBLE trains 128 outputs, one per MIDI pitch, though the pitches range from 9 to 120.
PITCHES = tuple(f"{pitch:03d}" for pitch in range(1, 129))

NSYNTH = Dataset(
    "nsynth",
    "NSynth",
    "https://magenta.tensorflow.org/datasets/nsynth",
    "CC BY 4.0",
    tuple(
        each
        for part in PARTS
        for each in (
            Input(f"nsynth-{part}/examples.json", "of the json/wav archives"),
            Input(f"nsynth-{part}/audio/*.wav", others=(f"nsynth-{part}/audio/*",)),
        )
    ),
)


def read(root: Path, field: str) -> list[Example]:
    """Return the notes of the official three parts.

    Parameters
    ----------
    root : Path
    field : {"instrument", "pitch"}
        Which label.

    Raises
    ------
    ConfigError
        If a table is missing.
    FormatError
        If it is not the table of this data set.
    """
    examples = []
    for part in PARTS:
        path = NSYNTH.need(root, f"nsynth-{part}/examples.json")
        for name, facts in _table(path).items():
            try:
                label = f"{int(facts['pitch']):03d}" if field == "pitch" else str(facts["instrument_family_str"])
            except (KeyError, TypeError, ValueError):
                raise FormatError(f"{printable(path)}: {name} has no pitch or no instrument_family_str.") from None
            id = f"nsynth-{part}/audio/{name}"
            examples.append(Example(id, recording(root, f"{id}.wav"), label, part))
    return examples


def _table(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = read_json(path, dict[str, Any])
    return found
