"""The folder of a run: one run at a time, without what killed ones left unfinished."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clamp3.jobs.atomic import sweep
from clamp3.jobs.locks import FolderLock
from clamp3.training.ranks import Ranks


@contextmanager
def only_run(out: Path, ranks: Ranks) -> Iterator[None]:
    """Hold the folder of a run, on the first rank; a second run into it is refused on every rank.

    Parameters
    ----------
    out : Path
        Made if absent.
    ranks : Ranks

    Raises
    ------
    ConfigError
        If another process trains into it.
    """
    lock = None
    with ranks.together():
        if ranks.main:
            out.mkdir(parents=True, exist_ok=True)
            lock = FolderLock.only(out, "trains into")
            sweep([out])  # checkpoints that killed runs left unfinished
    try:
        yield
    finally:
        if lock is not None:
            lock.release()
