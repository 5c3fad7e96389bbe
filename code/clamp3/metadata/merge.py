"""Merges JSON files into one JSONL whose ``filepaths`` are relative to it, as training reads them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clamp3.data.shards import SEPARATOR
from clamp3.errors import DataError, FormatError
from clamp3.jobs.atomic import replacing
from clamp3.metadata.items import line_of, list_items


@dataclass
class Merged:
    """How many files became lines; the others are in ``failed``, with a reason."""

    written: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


def merge(source: Path, output: Path, *, music: Sequence[Path] = (), allow_missing: bool = False) -> Merged:
    """Write all objects below a folder as lines of one file, in the order of their names, at once or not at all.

    Parameters
    ----------
    source : Path
        Folder of ``.json`` files, or a JSONL.
    output : Path
        The JSONL, replaced if it exists.
    music : sequence of Path
        Folders that ``filepaths`` are relative to; each file is taken from the first that has it. By default the
        folder of the object's own file.
    allow_missing : bool
        Keep paths of files that are not there (relative to the first folder).

    Raises
    ------
    ConfigError
        If ``source`` has no object.
    DataError
        If none can be merged; ``output`` is then left as it was.
    """
    merged = Merged()
    items = list_items(source)
    with replacing(output) as part, open(part, "wb") as stream:
        for item in items:
            try:
                record = item.load()
                record["filepaths"] = [
                    rebase(path, music or [item.path.parent], output.parent, allow_missing=allow_missing)
                    for path in _paths(record)
                ]
            except FormatError as error:
                merged.failed.append((item.name, str(error)))
                continue
            stream.write(line_of(record))
            merged.written += 1
        if not merged.written:
            raise DataError(f"nothing could be merged; the first of {len(items)}: {': '.join(merged.failed[0])}.")
    return merged


def rebase(path: str, roots: Sequence[Path], target: Path, *, allow_missing: bool = False) -> str:
    """Return a path relative to ``target``, in posix form.

    Parameters
    ----------
    path : str
        Relative to one of the roots; may name a member of a tar, ``shard.tar::member``.
    roots : sequence of Path
        Searched in order.
    target : Path
        A folder.
    allow_missing : bool
        Accept a path that no root has.

    Raises
    ------
    FormatError
        If no root has the file, or it does not lie below ``target``.
    """
    outer, mark, member = path.partition(SEPARATOR)
    candidates = [root / outer for root in roots]
    found = next((candidate for candidate in candidates if candidate.exists()), None)
    if found is None and not allow_missing:
        raise FormatError(f"{path} is not below {' or '.join(map(str, roots))}")
    # Not resolved: a link below the target counts as a file there.
    relative = Path(os.path.relpath(os.path.abspath(found or candidates[0]), os.path.abspath(target)))
    if relative.parts[:1] in ((), ("..",)):
        raise FormatError(f"{found or candidates[0]} lies outside {target}, the folder of the JSONL")
    return relative.as_posix() + mark + member


def _paths(record: dict[str, Any]) -> list[str]:
    paths = record.get("filepaths")
    paths = [paths] if isinstance(paths, str) else paths
    if not isinstance(paths, list) or not paths or not all(isinstance(path, str) and path for path in paths):
        raise FormatError(f"filepaths must name files, got {paths!r}")
    return paths
