"""VocalSet: 3,560 recordings of 20 singers in 17 techniques, labelled with the singer and one of ten techniques.

MARBLE cuts every recording into pieces of 3 s after removing silence, and tests the pieces. Here a recording is one
example, and the split is drawn with MARBLE's seed and shares, so it is not the published one.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from clamp3.datasets.labelled import Example, drawn
from clamp3.datasets.source import Dataset, files_by_key, without_suffix
from clamp3.errors import DataError, printable

# The task has these ten of 17; the paper's caption says 17, its numbers come from MARBLE's code, which has ten.
TECHNIQUES = (
    *("belt", "breathy", "inhaled", "lip_trill", "spoken"),
    *("straight", "trill", "trillo", "vibrato", "vocal_fry"),
)
TEST_SINGERS = frozenset({"female2", "female8", "male3", "male5", "male10"})
SEED = 42617

VOCALSET = Dataset(
    "vocalset",
    "VocalSet",
    "https://zenodo.org/records/1203819",
    "CC BY 4.0",
    "FULL/<singer>/<context>/<technique>/*.wav    singers female1 to female9, male1 to male11",
)


def read(root: Path, task: str) -> list[Example]:
    """Return the recordings.

    Parameters
    ----------
    root : Path
    task : {"singer", "technique"}
        Singer: 20 % for testing, 40 % of the rest for validation. Technique: five singers for testing, 40 % of the
        recordings of the others for validation.

    Raises
    ------
    ConfigError
        If the folder is missing.
    DataError
        If it holds no recordings of this layout.
    """
    folder = VOCALSET.need(root, "FULL", "VocalSet/FULL")
    found = files_by_key(folder, _in_layout, "audio")
    if not found:
        raise DataError(f"{printable(folder)} has no recordings below singer, context, technique.")
    if task == "singer":
        parts = drawn(list(found), SEED, ("test", 0.2), ("valid", 0.4))
        return [Example(id, source, id.split("/")[0], parts[id]) for id, source in found.items()]
    found = {id: source for id, source in found.items() if id.split("/")[2] in TECHNIQUES}
    parts = drawn([id for id in found if id.split("/")[0] not in TEST_SINGERS], SEED, ("valid", 0.4))
    return [Example(id, source, id.split("/")[2], parts.get(id, "test")) for id, source in found.items()]


def _in_layout(path: PurePosixPath) -> str | None:
    return without_suffix(path) if len(path.parts) == 4 else None
