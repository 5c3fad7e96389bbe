"""Say everything that is wrong with a training JSONL before a run starts.

    python -m clamp3.data.check_data train.jsonl
    python -m clamp3.data.check_data train.jsonl --eval_jsonl eval.jsonl --json

Lines that are no JSON object, unknown fields, fields of another type, empty texts, paths that are absolute or lead out
of the folder, files that are absent, empty or unreadable, ids that occur twice, and what both files have in common.
Exit code 0 if nothing is wrong, 1 if something is.
"""

from __future__ import annotations

import argparse
import json
import re
from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from clamp3.cli import parser_for, run
from clamp3.data.audio_features import THREADS, read_header
from clamp3.data.jsonl import read_objects
from clamp3.data.patch_pack import read_symbolic
from clamp3.data.shards import Resolver, identity
from clamp3.data.splits import hash_of, item_id
from clamp3.data.views import KIND_OF
from clamp3.errors import EXIT_OK, EXIT_SOME_FAILED, FormatError, printable

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
_HALF = re.compile("[\ud800-\udfff]")  # of a surrogate pair; together they are one character after parsing


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
    problems = [f"unknown field {name!r}" for name in record if name not in fields]
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
                problems += [f"unknown field {name}.{key}" for key in part if key not in NESTED[name]]
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


BLOCK = 1000  # records whose files are read at a time


class Check:
    """What was found in one JSONL.

    Parameters
    ----------
    path : Path
    resolver : Resolver, optional
        Where to find files; without one they are not read.
    show : int
        Problems to keep, 0 for all; every one is counted.
    """

    def __init__(self, path: Path, resolver: Resolver | None, show: int = 0) -> None:
        self.path, self.resolver, self.show = path, resolver, show
        self.problems: list[str] = []
        self.n_problems = self.n_records = self.n_files = 0
        self.widths: Counter[int] = Counter()
        self.ids, self.numbers = array("Q"), array("q")

    def add(self, number: int | None, reason: str) -> None:
        """Note a problem of a line, or of the whole file."""
        self.n_problems += 1
        if not self.show or len(self.problems) < self.show:
            place = self.path.name if number is None else f"{self.path.name}:{number}"
            self.problems.append(printable(f"{place}: {reason}"))

    def run(self) -> Check:
        """Look at every line and every file; return this."""
        records = self._records()
        with ThreadPoolExecutor(THREADS) as pool:
            while block := list(islice(records, BLOCK)):
                named = [(number, name) for number, fields in block for name in _names(fields)]
                if self.resolver is None:
                    continue
                for (number, _), reason in zip(named, pool.map(self._file_problem, (n for _, n in named)), strict=True):
                    self.n_files += 1
                    if reason:
                        self.add(number, reason)
        if len(self.widths) > 1:
            widths = ", ".join(f"{n} of {width}" for width, n in sorted(self.widths.items()))
            self.add(None, f"audio vectors of different width: {widths}")
        self._duplicates()
        return self

    def _records(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for _, number, fields in read_objects(self.path):
            self.n_records += 1
            if fields is None:
                self.add(number, "no JSON object")
                continue
            for reason in record_problems(fields):
                self.add(number, reason)
            self.ids.append(hash_of(item_id(fields)))
            self.numbers.append(number)
            yield number, fields
        if not self.n_records:
            self.add(None, "no records")

    def _file_problem(self, name: str) -> str:
        assert self.resolver is not None
        kind = KIND_OF.get(PurePath(name).suffix.lower())
        if kind is None:
            return f"{name}: training reads {', '.join(KIND_OF)}; convert or extract it first"
        try:
            place = self.resolver.place(name)
            if kind == "audio":
                self.widths[read_header(place)[1]] += 1
            else:
                read_symbolic(place)
        except FormatError as error:
            return str(error).rstrip(".")
        return ""

    def _duplicates(self) -> None:
        ids, numbers = np.array(self.ids, dtype=np.uint64), np.array(self.numbers)
        order = np.argsort(ids, kind="stable")
        again = np.flatnonzero(ids[order][1:] == ids[order][:-1]) + 1
        for at in again:
            self.add(int(numbers[order[at]]), f"the id of line {numbers[order[at - 1]]}")

    def overlap(self, train: Check) -> None:
        """Note the records that are training records too."""
        for number in np.array(self.numbers)[np.isin(np.array(self.ids), np.array(train.ids))]:
            self.add(int(number), f"the id of a record in {train.path.name}: evaluation would see what was trained on")

    def facts(self) -> dict[str, Any]:
        """Return what was found as JSON-ready values."""
        counts = {"records": self.n_records, "files_read": self.n_files, "n_problems": self.n_problems}
        return {"file": str(self.path), **counts, "problems": self.problems}


def _names(fields: Mapping[str, Any]) -> list[str]:
    named = fields.get("filepaths")
    named = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    return [name for name in named if isinstance(name, str) and name.strip()]


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = parser_for(__doc__)
    parser.prog = "python -m clamp3.data.check_data"
    parser.add_argument("train_jsonl", type=Path, help="one object per piece")
    parser.add_argument(
        "--eval_jsonl", type=Path, help="evaluation pieces: checked too, and for what both have in common"
    )
    parser.add_argument("--shards", type=Path, help="folder of tars that hold what filepaths name")
    parser.add_argument("--no_files", action="store_true", help="do not look at the files the records name")
    parser.add_argument("--show", type=int, default=100, help="problems to list per file; 0 = all (default: 100)")
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = build_parser().parse_args(argv)
    paths = [path for path in (args.train_jsonl, args.eval_jsonl) if path]
    for path in paths:
        identity(path)  # fails now, not after an hour
    resolvers = [None if args.no_files else Resolver(path.parent, args.shards) for path in paths]
    checks = [Check(path, resolver, args.show).run() for path, resolver in zip(paths, resolvers, strict=True)]
    if len(checks) == 2:
        checks[1].overlap(checks[0])
    if args.json:
        print(json.dumps([check.facts() for check in checks], indent=1, ensure_ascii=False))
    else:
        for check in checks:
            print(*check.problems, sep="\n", end="\n" if check.problems else "")
            more = check.n_problems - len(check.problems)
            left = f", {more} not listed (--show 0)" if more else ""
            counts = f"{check.n_records} records, {check.n_files} files read, {check.n_problems} problems"
            print(f"{check.path}: {counts}{left}")
    return EXIT_SOME_FAILED if any(check.n_problems for check in checks) else EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
