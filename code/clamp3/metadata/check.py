"""Checks and statistics of the texts of a JSONL: languages, lengths, countries.

`clamp3.data.check_data` checks structure, ids and files, as training needs them; this adds what concerns the texts
themselves, above all whether they are in the language they claim. The table is that of the CLaMP 3 paper (arXiv
2502.10362, table 1): mean length of each field in bytes of UTF-8, lists joined by ", ".
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clamp3.data.check_data import Check
from clamp3.data.jsonl import read_objects
from clamp3.data.records import FIELDS, LONG_TEXTS, NESTED
from clamp3.data.shards import Resolver
from clamp3.metadata.detect import language_problem, script_only
from clamp3.metadata.languages import country_name, language_code

SHOWN = 12  # languages and regions that the text lists


@dataclass
class TextStatistics:
    """Counts over all records.

    Attributes
    ----------
    n_bytes : dict
        Field (``translations.scene`` for nested ones) to a count of lengths in bytes.
    languages : dict
        "original" and "translated" to a count of language names.
    regions : Counter
    n_checked, n_unchecked : int
        Texts whose language was checked, and those among them where only the script could be.
    """

    n_records: int = 0
    n_bytes: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    languages: dict[str, Counter[str]] = field(default_factory=lambda: {"original": Counter(), "translated": Counter()})
    regions: Counter[str] = field(default_factory=Counter)
    n_checked: int = 0
    n_unchecked: int = 0

    def add(self, record: Mapping[str, Any]) -> None:
        """Count one record."""
        self.n_records += 1
        for name, text in texts_of(record):
            self.n_bytes[name][len(text.encode("utf-8", "replace"))] += 1
        if isinstance(record.get("region"), str):
            self.regions[record["region"]] += 1
        for kind, language in languages_of(record).items():
            self.languages["original" if kind == "" else "translated"][language] += 1

    def table(self) -> list[tuple[str, int, float]]:
        """Return (field, records that have it, mean bytes) in the order of first appearance."""
        rows = []
        for name, lengths in self.n_bytes.items():
            n = sum(lengths.values())
            rows.append((name, n, sum(size * count for size, count in lengths.items()) / n))
        return rows

    def text(self) -> str:
        """Return the counts as text: the table, then the most common languages and regions."""
        lines = [f"{'field':26}{'records':>9}{'mean bytes':>12}"]
        lines += [f"{name:26}{n:9}{mean:12.2f}" for name, n, mean in self.table()]
        for label, count in (*self.languages.items(), ("region", self.regions)):
            if count:
                most = ", ".join(f"{name} {n}" for name, n in count.most_common(SHOWN))
                lines.append(f"{label} ({len(count)}): {most}{', …' if len(count) > SHOWN else ''}")
        lines.append(f"{self.n_checked} texts checked for their language, {self.n_unchecked} of them by script only")
        return "\n".join(lines)

    def facts(self) -> dict[str, Any]:
        """Return the counts as JSON-ready values."""
        fields = {name: {"records": n, "mean_bytes": round(mean, 2)} for name, n, mean in self.table()}
        languages = {kind: dict(count.most_common()) for kind, count in self.languages.items()}
        checked = {"texts_checked": self.n_checked, "texts_checked_by_script_only": self.n_unchecked}
        return {"fields": fields, "languages": languages, "regions": dict(self.regions.most_common()), **checked}


def check_texts(path: Path, *, files: bool = True, languages: bool = True) -> tuple[Check, TextStatistics]:
    """Check every record of a JSONL.

    Parameters
    ----------
    path : Path
    files : bool
        Also read the files that records name.
    languages : bool
        Also detect the language of each text, about 0.2 ms per text.

    Returns
    -------
    Check
        That of `clamp3.data.check_data`, with problems of language and region added.
    TextStatistics

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    check = Check(path, Resolver(path.parent, None) if files else None).run()
    statistics = TextStatistics()
    for _, number, record in read_objects(path):
        if record is None:
            continue
        statistics.add(record)
        for problem in name_problems(record):
            check.add(number, problem)
        for name, text, language in _claims(record) if languages else ():
            code = language_code(language)
            if not code:
                continue
            statistics.n_checked += 1
            statistics.n_unchecked += script_only(code)
            if problem := language_problem(text, code):
                check.add(number, f"{name}: {problem}")
    return check, statistics


def texts_of(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (field, text) of all known fields that have text, nested ones as ``translations.scene``."""
    for name, value in record.items():
        if name in NESTED:
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, Mapping):
                    yield from ((f"{name}.{key}", text) for key in part if (text := _joined(part[key])))
        elif name in FIELDS and name not in ("id", "filepaths") and (text := _joined(value)):
            yield name, text


def languages_of(record: Mapping[str, Any]) -> dict[str, str]:
    """Return the languages a record states: of its own texts under "", of nested ones under their field."""
    found = {"": record.get("language"), **{name: _first(record.get(name), "language") for name in NESTED}}
    if found[""] is None and "summary_en" in record:
        found[""] = "English"
    return {name: value for name, value in found.items() if isinstance(value, str) and value}


def name_problems(record: Mapping[str, Any]) -> list[str]:
    """Return which languages and regions are not names of ISO 639 and ISO 3166."""
    problems = [
        f"{place + '.' if place else ''}language: {language!r} is no English name of ISO 639"
        for place, language in languages_of(record).items()
        if not language_code(language)
    ]
    region = record.get("region")
    if isinstance(region, str) and region and not country_name(region):
        problems.append(f"region: {region!r} is no English name of ISO 3166")
    return problems


def _claims(record: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (field, text, language that the record states for it); short fields such as titles have none."""
    claimed = languages_of(record)
    for name, text in texts_of(record):
        place, _, last = name.rpartition(".")
        if (last in LONG_TEXTS or last in ("summary", "summary_en")) and place in claimed:
            # CLaMP 2's metadata have a `description` in any language: without a `language` none is stated.
            if not place and last in LONG_TEXTS and "language" not in record:
                continue
            yield name, text, claimed[place]


def _first(value: Any, key: str) -> Any:
    part = value[0] if isinstance(value, list) and value else value
    return part.get(key) if isinstance(part, Mapping) else None


def _joined(value: Any) -> str:
    parts = value if isinstance(value, list) else [value]
    return ", ".join(part for part in parts if isinstance(part, str) and part.strip())
