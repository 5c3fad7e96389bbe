"""The schema of a training record: one object of a JSONL, its texts, and the files of music it names."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from clamp3.data.views import views, views_with

# CLaMP 3 (M4-RAG, arXiv 2502.10362) and CLaMP 2 (arXiv 2410.13267). Each may be a string or a list of strings.
LONG_TEXTS = ("background", "analysis", "description", "scene")
TEXT_FIELDS = frozenset(
    {
        *LONG_TEXTS,
        *("title", "artists", "region", "language", "genres", "tags"),
        *("composer", "lyricist", "lyrics", "key", "ensembles", "instruments", "summary_en"),
    }
)
NESTED = {
    "translations": frozenset({*LONG_TEXTS, "title", "language"}),
    "summary_nen": frozenset({"language", "summary"}),
}
FIELDS = TEXT_FIELDS | NESTED.keys() | {"id", "filepaths"}
NO_TEXT_OF_THEIR_OWN = frozenset({"language"})
UNKNOWN = "unknown field"  # how its problem begins
_HALF = re.compile("[\ud800-\udfff]")  # of a surrogate pair; together they are one character after parsing


def known_fields() -> str:
    """Return the names a record may have, for a message; those of nested objects after a colon."""
    nested = [f"{name}: {', '.join(sorted(NESTED[name]))}" for name in sorted(NESTED)]
    return "; ".join([", ".join(sorted(FIELDS)), *nested])


def record_problems(
    record: Mapping[str, Any], *, need_files: bool = True, fields: Collection[str] = FIELDS
) -> list[str]:
    """Return what is wrong with one record, a sentence each; nothing is read from the disk.

    Parameters
    ----------
    record : mapping
        One object of a JSONL. Every field may be missing, None or an empty list.
    need_files : bool
        Whether a record without ``filepaths`` is a problem.
    fields : collection of str
        Known names.

    Returns
    -------
    list of str
        Empty if the record is fine.
    """
    problems = [f"{UNKNOWN} {name!r}" for name in record if name not in fields]
    item_id = record.get("id")
    if item_id is not None and (not isinstance(item_id, str | int) or isinstance(item_id, bool) or item_id == ""):
        problems.append(f"id must be a non-empty string or a number, got {item_id!r}")
    has_text = False
    for name in record:
        value = record[name]
        if name in TEXT_FIELDS:
            problems += _text_problems(name, value)
            has_text |= name not in NO_TEXT_OF_THEIR_OWN and _has_text(value)
        elif name in NESTED and value:
            for part in value if isinstance(value, list) else [value]:
                if not isinstance(part, Mapping):
                    problems.append(f"{name} must be an object, got {type(part).__name__}")
                    continue
                problems += [f"{UNKNOWN} {name}.{key}" for key in part if key not in NESTED[name]]
                for key in part:
                    problems += _text_problems(f"{name}.{key}", part[key])
                    has_text |= key not in NO_TEXT_OF_THEIR_OWN and _has_text(part[key])
    if not has_text:
        problems.append("no text in any field")
    return problems + _path_problems(record.get("filepaths"), need_files)


def _text_problems(name: str, value: Any) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, str | list):
        return [f"{name} must be a string or a list of strings, got {type(value).__name__}"]
    parts = value if isinstance(value, list) else [value]
    problems = [f"{name} holds {type(part).__name__}, not a string" for part in parts if not isinstance(part, str)]
    problems += [f"{name} is empty" for part in parts if isinstance(part, str) and not part.strip()]
    halves = [half for part in parts if isinstance(part, str) for half in _HALF.findall(part)]
    return problems + [f"{name} holds half a character, {half!a}, read as ?" for half in dict.fromkeys(halves)]


def _has_text(value: Any) -> bool:
    parts = value if isinstance(value, list) else [value]
    return any(isinstance(part, str) and part.strip() for part in parts)


def _path_problems(value: Any, needed: bool) -> list[str]:
    names = [value] if isinstance(value, str) else value
    if names is None or names == []:
        return ["no filepaths"] if needed else []
    if not isinstance(names, list):
        return [f"filepaths must be a list of strings, got {type(value).__name__}"]
    problems = []
    for name in names:
        if not isinstance(name, str) or not name.strip():
            problems.append(f"filepaths holds {name!r}, not a path")
        elif PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or name.startswith("\\"):
            problems.append(f"{name} is an absolute path; name it relative to the JSONL")
        elif ".." in PurePosixPath(name.replace("\\", "/")).parts:
            problems.append(f"{name} leads out of the folder of the JSONL")
    strings = [name for name in names if isinstance(name, str)]
    return problems + [f"{name} is named twice" for name in sorted({n for n in strings if strings.count(n) > 1})]


def file_names(fields: Mapping[str, Any]) -> list[str]:
    """Return the names of the files of a record, none of what is no name."""
    named = fields.get("filepaths")
    names = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    return [name for name in names if isinstance(name, str) and name.strip()]


@dataclass(frozen=True)
class Record:
    """One record whose files are indexed.

    Attributes
    ----------
    item_id : str
    fields : mapping
        The object.
    files : tuple of (str, int)
        View and number of its files, in the order they are named.
    """

    item_id: str
    fields: Mapping[str, Any]
    files: tuple[tuple[str, int], ...]

    def of(self, view: str) -> list[tuple[str, int]]:
        """Return the files of a view, in the order they are named."""
        return [file for file in self.files if file[0] in views()[view].parts]

    @property
    def views(self) -> set[str]:
        """Every view the record has, text included."""
        return views_with({view for view, _ in self.files})
