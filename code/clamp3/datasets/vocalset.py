"""VocalSet: 3,560 recordings of 20 singers in 17 techniques, labelled with the singer and one of ten techniques.

MARBLE cuts every recording into pieces of 3 s after removing silence, and tests the pieces: `read_pieces` has its
split. For `read` a recording is one example, and the split has MARBLE's seed and shares, but is not the published one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np

from clamp3.datasets.labelled import Example, Part, drawn
from clamp3.datasets.source import Dataset, Input, files_by_key, without_suffix
from clamp3.errors import DataError, printable
from clamp3.sources import Source

# The task has these ten of 17; the paper's caption says 17, its numbers come from MARBLE's code, which has ten.
TECHNIQUES = (
    *("belt", "breathy", "inhaled", "lip_trill", "spoken"),
    *("straight", "trill", "trillo", "vibrato", "vocal_fry"),
)
OTHER_TECHNIQUES = ("fast_forte", "fast_piano", "forte", "messa", "pp", "slow_forte", "slow_piano")
TEST_SINGERS = frozenset({"female2", "female8", "male3", "male5", "male10"})
SEED = 42617
# MARBLE leaves out a duplicate, and four recordings that the data set's paper does not mention.
SKIPPED = frozenset(
    f"vibrato/{name}"
    for name in ("f2_scales_vibrato_a(1)", "caro_vibrato", "dona_vibrato", "row_vibrato", "slow_vibrato_arps")
)

VOCALSET = Dataset(
    "vocalset",
    "VocalSet",
    "https://zenodo.org/records/1203819",
    "CC BY 4.0",
    (
        Input(
            "FULL/<singer>/<context>/<technique>/*.wav",
            "singers female1 to female9, male1 to male11",
            ("VocalSet/FULL/*/*/*/*", "FULL/*/*/*/*"),
        ),
    ),
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
    found = _found(root)
    if task == "singer":
        parts = drawn(list(found), SEED, ("test", 0.2), ("valid", 0.4))
        return [Example(id, source, id.split("/")[0], parts[id]) for id, source in found.items()]
    found = {id: source for id, source in found.items() if id.split("/")[2] in TECHNIQUES}
    parts = drawn([id for id in found if id.split("/")[0] not in TEST_SINGERS], SEED, ("valid", 0.4))
    return [Example(id, source, id.split("/")[2], parts.get(id, "test")) for id, source in found.items()]


def read_pieces(root: Path, task: str) -> list[Example]:
    """Return the recordings to be cut into pieces, in MARBLE's parts.

    MARBLE numbers the recordings of each technique by their names, and draws parts of equal numbers with scikit-learn's
    `GroupShuffleSplit`, seeded once for both tasks: technique first. A name that begins with no singer gets that of its
    folder, as there. The published split also depends on which recordings give no piece; here all count.

    Parameters
    ----------
    root : Path
    task : {"singer", "technique"}

    Raises
    ------
    ConfigError, DataError
        As in `read`.
    """
    numbered = _numbered(_found(root))
    rng = np.random.RandomState(SEED)  # the generator that MARBLE seeds, whose numbers are fixed for good
    by_technique = [each for each in numbered if each[3] in TECHNIQUES]
    trained = [number for number, _, singer, _, _ in by_technique if singer not in TEST_SINGERS]
    valid = _held_out(trained, 0.4, rng)
    if task == "technique":
        return [
            Example(
                id, source, technique, "test" if singer in TEST_SINGERS else "valid" if number in valid else "train"
            )
            for number, id, singer, technique, source in by_technique
        ]
    test = _held_out((each[0] for each in numbered), 0.2, rng)
    valid = _held_out((each[0] for each in numbered if each[0] not in test), 0.4, rng)
    return [
        Example(id, source, singer, "test" if number in test else _part(number, valid))
        for number, id, singer, _, source in numbered
    ]


def _part(number: int, valid: set[int]) -> Part:
    return "valid" if number in valid else "train"


def _numbered(found: dict[str, Source]) -> list[tuple[int, str, str, str, Source]]:
    """Return number in its technique, id, singer, technique and source of every recording."""
    folders: dict[str, dict[str, tuple[str, Source]]] = {}
    for id, source in sorted(found.items()):
        singer, _, technique, name = id.split("/")
        if technique in (*TECHNIQUES, *OTHER_TECHNIQUES) and f"{technique}/{name}" not in SKIPPED:
            full = name if re.match(r"[fm]\d+_", name) else f"{singer[0]}{re.sub('[^0-9]', '', singer)}_{name}"
            folders.setdefault(technique, {}).setdefault(f"{full}.wav", (id, source))
    return [
        (number, id, _singer(name), technique, source)
        for technique, files in sorted(folders.items())
        for number, (name, (id, source)) in enumerate(sorted(files.items()))
    ]


def _singer(name: str) -> str:
    """Return the singer in a file's name: ``f2_scales.wav`` is of ``female2``."""
    letter, number = name[0], name[1:].partition("_")[0]
    return f"{'female' if letter == 'f' else 'male'}{number}"


def _held_out(numbers: Iterable[int], share: float, rng: np.random.RandomState) -> set[int]:
    """Return a share of the distinct numbers, those that scikit-learn's `GroupShuffleSplit` takes for testing."""
    distinct = sorted(set(numbers))
    order = rng.permutation(len(distinct))
    return {distinct[place] for place in order[: math.ceil(share * len(distinct))]}


def _found(root: Path) -> dict[str, Source]:
    folder = VOCALSET.need(root, "FULL", "VocalSet/FULL")
    found = files_by_key(folder, _in_layout, "audio")
    if not found:
        raise DataError(f"{printable(folder)} has no recordings below singer, context, technique.")
    return found


def _in_layout(path: PurePosixPath) -> str | None:
    return without_suffix(path) if len(path.parts) == 4 else None
