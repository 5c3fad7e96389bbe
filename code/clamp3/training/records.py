"""Objects of a JSONL as training records: which of their files and texts can be used, and why the others cannot."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clamp3.training.data import Record
from clamp3.training.features import FeatureFiles
from clamp3.training.pack import PatchPack
from clamp3.training.sides import KIND_OF, SYMBOLIC, Pair, music_choices, sides_of
from clamp3.training.text import SAMPLINGS

Row = tuple[str, "dict[str, Any] | None", Path]  # place, fields, folder that filepaths are relative to


def files_of(fields: Mapping[str, Any], folder: Path, pairs: Collection[Pair]) -> list[tuple[str, Path]]:
    """Return (kind, path) of the files an object names and the pairs need."""
    sides = sides_of(pairs)
    kinds = {*sides, *(SYMBOLIC if "symbolic" in sides else ())}
    named = fields.get("filepaths")
    named = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    found = [(KIND_OF.get(Path(name).suffix.lower(), ""), folder / name) for name in named if isinstance(name, str)]
    return [(kind, path) for kind, path in found if kind in kinds]


@dataclass(frozen=True)
class Files:
    """All music of a run: the packed scores and performances, and the audio features."""

    pack: PatchPack
    features: FeatureFiles | None
    number: Mapping[Path, int]

    def problem(self, kind: str, path: Path) -> str | None:
        """Return why a file cannot be used, None if it can."""
        if kind == "audio":
            assert self.features is not None
            return self.features.problems.get(self.number[path])
        return self.pack.problems.get(self.number[path])


def make_records(
    rows: Sequence[Row], files: Files, pairs: Sequence[Pair], texts: str
) -> tuple[list[Record], list[str]]:
    """Return usable records, and a reason for every other object."""
    sampling = SAMPLINGS[texts]
    records, problems = [], []
    with_text = any("text" in pair for pair in pairs)
    for place, fields, folder in rows:
        if fields is None:
            problems.append(f"{place}: no JSON object.")
            continue
        named = files_of(fields, folder, pairs)
        reasons = [files.problem(kind, path) for kind, path in named]
        usable = [(kind, files.number[path]) for (kind, path), why in zip(named, reasons, strict=True) if not why]
        record = Record(str(fields.get("id") or fields.get("filepaths")), fields, tuple(usable))
        if not music_choices(pairs, record.sides):
            lost = next((why for why in reasons if why), None)
            problems.append(f"{place}: {lost or f'no {_wanted(pairs)} in filepaths.'}")
        elif with_text and not sampling.evaluation(fields):
            problems.append(f"{place}: no text.")
        else:
            records.append(record)
    return records, problems


def _wanted(pairs: Sequence[Pair]) -> str:
    sides = sides_of(pairs)
    found = [s for s, kind in KIND_OF.items() if kind in sides or (kind in SYMBOLIC and "symbolic" in sides)]
    return " or ".join(found) if all("text" in pair for pair in pairs) else f"pair of {', '.join(found)}"
