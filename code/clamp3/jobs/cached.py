"""What lies in the folder of the cache, by kind, and its removal: of what is ours, and nothing that a link leads to."""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from clamp3.jobs.cache import FILE_NAME, VectorCache, default_cache_dir

KINDS = {
    "vectors": "vectors of what was encoded",
    "damaged": "damaged caches of vectors that were moved aside",
    "digests": "digests of weights, so that large files are hashed once",
    "exports": "towers that were exported for onnxruntime",
    "weights": "weights that were put there by hand",
}
UNASKED = ("vectors", "damaged", "digests", "exports")  # made again by themselves; weights have to be brought again
_FOLDERS = {"digests": "digests", "onnx": "exports", "weights": "weights"}
DAY_SEC = 86_400


@dataclass
class Kept:
    """The files of one kind; ``vectors`` counts the rows of the cache."""

    files: list[Path] = field(default_factory=list)
    n_bytes: int = 0
    vectors: int = 0


def cached(folder: Path | None = None) -> dict[str, Kept]:
    """Return what the cache has of each kind, and as ``other`` what is not ours; links are other.

    Parameters
    ----------
    folder : Path, optional
        Of the cache; by default `clamp3.jobs.cache.default_cache_dir`.
    """
    folder = folder or default_cache_dir()
    found = {kind: Kept() for kind in (*KINDS, "other")}
    for entry in _entries(folder):
        if entry.is_dir(follow_symlinks=False):
            kind = _FOLDERS.get(entry.name, "other")
            inside = _entries(Path(entry.path))
            if kind == "exports":
                inside = [
                    file
                    for inner in inside
                    if inner.is_dir(follow_symlinks=False)
                    for file in _entries(Path(inner.path))
                ]
            for inner in inside:
                _count(found[kind if inner.is_file(follow_symlinks=False) else "other"], inner)
        else:
            _count(found[_kind_of(entry)], entry)
    if found["vectors"].files:
        with VectorCache(folder / FILE_NAME) as cache:
            found["vectors"].vectors = len(cache)
    return found


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _kind_of(entry: os.DirEntry[str]) -> str:
    if not entry.is_file(follow_symlinks=False):
        return "other"
    if entry.name.startswith(f"{FILE_NAME}.damaged-"):
        return "damaged"
    return "vectors" if entry.name in (FILE_NAME, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm") else "other"


def _count(kept: Kept, entry: os.DirEntry[str]) -> None:
    kept.files.append(Path(entry.path))
    kept.n_bytes += entry.stat(follow_symlinks=False).st_size


def clear(
    kinds: Collection[str] = UNASKED, *, older_than_days: float | None = None, folder: Path | None = None
) -> dict[str, int]:
    """Remove what the cache has of some kinds; return how many vectors, or files, went of each.

    Parameters
    ----------
    kinds : collection of str
        Of `KINDS`.
    older_than_days : float, optional
        Only what was stored, or written, before so many days.
    folder : Path, optional
        Of the cache; by default `clamp3.jobs.cache.default_cache_dir`.

    Notes
    -----
    Vectors are removed as rows, so that a program that is using them goes on; links stay as they are.
    """
    folder = folder or default_cache_dir()
    there = cached(folder)
    before = None if older_than_days is None else time.time() - older_than_days * DAY_SEC
    removed = {}
    for kind in kinds:
        if kind == "vectors":
            day = None if before is None else int(before // DAY_SEC)
            with VectorCache(folder / FILE_NAME) as cache:
                removed[kind] = cache.clear(day) if there[kind].files else 0
            continue
        old = [path for path in there[kind].files if before is None or path.lstat().st_mtime < before]
        for path in old:
            path.unlink(missing_ok=True)
        removed[kind] = len(old)
    return removed
