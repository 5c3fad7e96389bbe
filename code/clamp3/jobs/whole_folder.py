"""A folder that appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from clamp3.errors import ConfigError, printable


@contextlib.contextmanager
def whole_folder(path: Path, *, last: str, overwrite: bool = False) -> Iterator[Path]:
    """Yield a folder to write to; it becomes ``path`` if the block ends well, and vanishes if not.

    Parameters
    ----------
    path : Path
        Absent or empty, unless ``overwrite`` is set. Missing parent folders are made.
    last : str
        File that makes the others valid: where there are files already, they are replaced one by one, this one last.
    overwrite : bool
        Replace files of the same names; others stay.

    Raises
    ------
    ConfigError
        If ``path`` is in use.

    Examples
    --------
    >>> with TemporaryDirectory() as place, whole_folder(Path(place) / "out", last="a.json") as work:
    ...     _ = (work / "a.json").write_text("{}")
    """
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{printable(path)} is a file; name a folder.")
    if not overwrite and path.is_dir() and any(path.iterdir()):
        raise ConfigError(f"{printable(path)} is not empty; name another folder, or add --overwrite.")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        place = TemporaryDirectory(prefix=".clamp3-folder-", dir=path.parent)
    except OSError as error:  # a hidden name means nothing to a user
        raise OSError(error.errno, error.strerror, str(path)) from None
    with place:
        work = Path(place.name) / "new"
        work.mkdir()
        yield work
        if not path.exists() or not any(path.iterdir()):
            work.replace(path)
            return
        for file in sorted(work.iterdir(), key=lambda file: (file.name == last, file.name)):
            os.replace(file, path / file.name)
