"""A seal on files that belong together: their lengths and checksums, written last and checked before they are used.

What a seal does not vouch for is made again: a power cut, a full disk or a copy that broke off costs time, not a run.
"""

from __future__ import annotations

import json
import logging
import os
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from clamp3.errors import DataError, FormatError
from clamp3.formats.fields import typed
from clamp3.formats.tables import read_json
from clamp3.jobs.atomic import write_text
from clamp3.jobs.locks import FolderLock

logger = logging.getLogger(__name__)

T = TypeVar("T")

WHOLE_BYTES = 1 << 30  # of a larger file, `N_BLOCKS` blocks are read: a pack of 100 GB must not delay every start
N_BLOCKS = 256
_BLOCK = 1 << 20


@dataclass(frozen=True)
class _Seal:
    facts: dict[str, Any]
    files: dict[str, tuple[int, ...]]
    checksum: int


def write_seal(path: Path, files: Iterable[str], facts: dict[str, Any]) -> None:
    """Write the seal of files.

    Parameters
    ----------
    path : Path
        The seal, JSON.
    files : iterable of str
        Names in its folder.
    facts : dict
        What else it says; `read_seal` returns it.
    """
    sealed = {name: checksum(path.parent / name) for name in sorted(files)}
    write_text(path, json.dumps({"facts": facts, "files": sealed, "checksum": _own(facts, sealed)}))


def read_seal(path: Path, kind: Any) -> Any:
    """Return the facts of a seal whose files are as they were.

    Parameters
    ----------
    path : Path
    kind : type
        Of the facts, as `clamp3.formats.fields.typed` takes it.

    Raises
    ------
    DataError
        If a file is absent or has changed, or the seal is damaged.
    """
    try:
        seal: _Seal = read_json(path, _Seal, error=DataError)
        if seal.checksum != _own(seal.facts, seal.files):
            raise DataError(f"{path} is damaged.")
        for name, known in seal.files.items():
            if Path(name).name != name or checksum(path.parent / name) != known:
                raise DataError(f"{path.parent / name} has changed or is damaged.")
        return typed(kind, seal.facts, str(path))
    except OSError as error:
        raise DataError(f"{error.filename or path} cannot be read ({error.strerror or error}).") from None
    except FormatError as error:
        raise DataError(str(error)) from None


def made_once(folder: Path, load: Callable[[], T | None], make: Callable[[], object]) -> T | None:
    """Return what is loaded, making it first if it is not there: by one process at a time, while others wait.

    Parameters
    ----------
    folder : Path
        Exists; the lock is on it.
    load : callable
        Returns None if there is nothing that can be used.
    make : callable
    """
    found = load()
    if found is not None:
        return found
    waiting = iter([True])

    def say() -> None:
        if next(waiting, False):
            logger.info("another process writes to %s; waiting for it", folder)

    with FolderLock(folder, say):
        found = load()
        if found is None:
            make()
            found = load()
    return found


def checksum(path: Path) -> tuple[int, int]:
    """Return size and checksum of a file; of a large one, of blocks spread over it."""
    with path.open("rb", buffering=0) as file:
        size, found = os.fstat(file.fileno()).st_size, 0
        step = _BLOCK if size <= WHOLE_BYTES else (size - _BLOCK) // (N_BLOCKS - 1)
        for start in (*range(0, size, step), max(0, size - _BLOCK)):
            file.seek(start)
            found = zlib.crc32(file.read(_BLOCK), found)
    return size, found


def _own(facts: dict[str, Any], files: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps([facts, {name: list(values) for name, values in files.items()}]).encode())
