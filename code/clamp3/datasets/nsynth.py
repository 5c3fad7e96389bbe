"""NSynth: 305,979 notes of 4 s of 1,006 instruments, labelled with the instrument's family and the pitch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from clamp3.datasets.labelled import PARTS, Example, recording
from clamp3.datasets.source import Dataset
from clamp3.errors import FormatError, printable

# MARBLE trains 128 outputs, one per MIDI pitch, though the pitches range from 9 to 120.
PITCHES = tuple(f"{pitch:03d}" for pitch in range(1, 129))

NSYNTH = Dataset(
    "nsynth",
    "NSynth",
    "https://magenta.tensorflow.org/datasets/nsynth",
    "CC BY 4.0",
    "nsynth-train/examples.json  nsynth-train/audio/*.wav    and so for nsynth-valid, nsynth-test (json/wav archives)",
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
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FormatError(f"{printable(path)} cannot be read as JSON ({error}).") from None
    if not isinstance(found, dict):
        raise FormatError(f"{printable(path)} is no object from notes to their facts.")
    return found
