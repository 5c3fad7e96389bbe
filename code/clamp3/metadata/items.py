"""The items of a job: JSON objects, one per file of a folder or one per line of a JSONL, read one at a time."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from clamp3.errors import ConfigError, FormatError, printable
from clamp3.formats.tables import lines_in, parse_json, reading
from clamp3.jobs.atomic import write_bytes
from clamp3.jobs.walk import walk
from clamp3.sources import digest

MAX_RECORD_BYTES = 16 * 2**20
_AWAY = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}  # line breaks for some readers, not in JSON


@dataclass(frozen=True)
class Item:
    """Where an object is stored, and its name.

    Attributes
    ----------
    name : str
        The same in every run: the relative path of its file, or in a JSONL its ``id``, else its ``filepaths``, else a
        hash of its content.
    sha256 : str
        Of its bytes; empty if they cannot be read.
    problem : str
        Why there is no object, "" if there is one.
    """

    name: str
    path: Path
    start: int = 0
    size: int = -1
    sha256: str = ""
    problem: str = ""

    def load(self) -> dict[str, Any]:
        """Return the object.

        Raises
        ------
        FormatError
            If there is none; the message is ``problem``.
        """
        if self.problem:
            raise FormatError(self.problem)
        try:
            with open(self.path, "rb") as stream:
                stream.seek(self.start)
                return parse(stream.read(self.size))
        except OSError as error:
            raise FormatError(f"cannot be read: {error.strerror or error}") from None


def parse(data: bytes) -> dict[str, Any]:
    """Return the JSON object in some bytes.

    Raises
    ------
    FormatError
        If there is none, or it contains NaN or Infinity, which JSON does not have.
    """
    value = parse_json(data, strict=True)
    if not isinstance(value, dict):
        raise FormatError(f"a JSON {type(value).__name__}; an object is wanted")
    return value


def line_of(record: dict[str, Any]) -> bytes:
    """Return an object as one line of JSON, with its end, that every reader sees as one line."""
    text = json.dumps(record, ensure_ascii=False, allow_nan=False).translate(_AWAY)
    try:
        return text.encode("utf-8") + b"\n"
    except UnicodeEncodeError:  # a lone surrogate, which JSON can represent and UTF-8 cannot
        return json.dumps(record, allow_nan=False).encode("ascii") + b"\n"


def write_items(path: Path, rows: Iterable[dict[str, Any]]) -> list[Item]:
    """Write objects as a JSONL, unless it has them already, and list them; none give no items.

    Parameters
    ----------
    path : Path
    rows : iterable of dict
    """
    data = b"".join(map(line_of, rows))
    if not path.exists() or path.read_bytes() != data:
        write_bytes(path, data)
    return list_items(path) if data else []


def answers_to(items: Iterable[Item], path: Path) -> list[dict[str, Any]]:
    """Return the lines of a job's output that are about these items, in the order of the file.

    Parameters
    ----------
    items : iterable of Item
    path : Path
        A JSONL whose lines have the item's name as ``id``.
    """
    wanted = {item.name for item in items}
    return [row for row in (parse(line) for _, line in lines_in(path)) if str(row["id"]) in wanted]


def list_items(source: Path) -> list[Item]:
    """List the objects of a folder of ``.json`` files (recursively), a single one, or a JSONL.

    Returns
    -------
    list of Item
        In the order of relative paths or of lines; with distinct names.

    Raises
    ------
    ConfigError
        If there is nothing.
    """
    items = list(_of_lines(source) if source.suffix.lower() == ".jsonl" else _of_files(source))
    if not items:
        raise ConfigError(f"{printable(source)} holds no JSON object; give a folder of .json files or a JSONL.")
    taken = {item.name for item in items}  # a number is appended that no other item has in its name
    seen: set[str] = set()
    distinct = []
    for item in items:
        name = item.name
        if name in seen:
            name = next(free for n in itertools.count(2) if (free := f"{item.name}#{n}") not in taken)
            taken.add(name)
        seen.add(name)
        distinct.append(replace(item, name=name))
    return distinct


def files_below(root: Path, suffixes: Iterable[str]) -> tuple[list[PurePosixPath], list[Item]]:
    """Return the relative paths of files that are no music, and what could not be read, as items with a problem.

    Parameters
    ----------
    root : Path
        A folder, searched recursively, or a single file.
    suffixes : iterable of str
        Lower case, with the dot; none of them of a music file.

    Raises
    ------
    ConfigError
        If ``root`` does not exist or cannot be listed.
    """
    found, wanted = walk(root, kinds=()), set(suffixes)
    names = (PurePosixPath(name) for name in found.ignored if not name.endswith("/"))
    files = [name for name in names if name.suffix.lower() in wanted and not name.name.startswith(".")]
    return sorted(files, key=PurePosixPath.as_posix), [
        Item(problem.relative.as_posix(), root, problem=problem.reason) for problem in found.problems
    ]


def _of_files(root: Path) -> Iterator[Item]:
    files, unreadable = files_below(root, [".json"])
    yield from unreadable
    for name in files:
        path = root / name if root.is_dir() else root
        try:
            with open(path, "rb") as stream:
                data = stream.read(MAX_RECORD_BYTES + 1)
        except OSError as error:
            yield Item(name.as_posix(), path, problem=f"cannot be read: {error.strerror or error}")
            continue
        yield Item(name.as_posix(), path, 0, len(data), digest(data), _parsed(data)[1])


def _of_lines(path: Path) -> Iterator[Item]:
    with reading(path, ConfigError):
        for number, (start, line) in enumerate(lines_in(path), 1):
            if data := line.strip():
                record, problem = _parsed(data)
                sha256 = digest(data)
                name = f"line {number}" if problem else _name_of(record) or sha256[:16]
                yield Item(name, path, start, len(line), sha256, problem)


def _parsed(data: bytes) -> tuple[dict[str, Any], str]:
    """Return the object and "", or nothing and what is wrong with it."""
    if len(data) > MAX_RECORD_BYTES:
        return {}, f"larger than {MAX_RECORD_BYTES // 2**20} MiB"
    try:
        return parse(data), ""
    except FormatError as error:
        return {}, str(error)


def _name_of(record: dict[str, Any]) -> str:
    identity = record.get("id")
    if isinstance(identity, str | int) and identity != "":
        return str(identity)
    paths = record.get("filepaths")
    return " ".join(paths) if isinstance(paths, list) and all(isinstance(path, str) for path in paths) else ""
