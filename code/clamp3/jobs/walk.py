"""The one walker: which files below a folder are inputs, in an order that never changes."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from clamp3.errors import ConfigError, FormatError, printable
from clamp3.formats import Kind, kind_of

if TYPE_CHECKING:
    from clamp3.formats.pieces import Piece


@dataclass(frozen=True)
class Found:
    """A file to read, or a piece of one; ``relative`` to the walked root names it on every system alike."""

    path: Path
    relative: PurePosixPath
    kind: Kind
    piece: Piece | None = None

    @property
    def size(self) -> int:
        """Bytes; 0 if it cannot be looked at, whoever reads it will say why."""
        if self.piece is not None:
            return self.piece.size
        try:
            return os.stat(self.path).st_size
        except OSError:
            return 0


@dataclass(frozen=True)
class Problem:
    """A folder or file that could not be looked at, and why."""

    relative: PurePosixPath
    reason: str


@dataclass
class Walk:
    """Everything met below a root: inputs, unreadable places, what was ignored, and files whose pieces are inputs."""

    files: list[Found] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    containers: list[str] = field(default_factory=list)


def walk(
    root: Path, kinds: Collection[Kind] | None = None, *, exclude: Collection[Path] = (), pieces: bool = True
) -> Walk:
    """List the files below ``root``, recursively, by suffix in any case.

    In place of a file that holds several pieces each of them is listed (`clamp3.formats.pieces`).

    Links to folders are followed once, after the real folders, so loops end and no folder is read twice. Hidden
    entries (``.git``, the ``._*`` files of macOS, unfinished outputs) and other types of file are listed as ignored,
    what our own jobs leave there (indexes, ledgers) is not.

    Parameters
    ----------
    root : Path
        A folder, or a single file.
    kinds : collection of Kind, optional
        The kinds wanted; None takes every kind that has a reader.
    exclude : collection of Path
        Folders not to enter, such as an output folder inside the input folder.
    pieces : bool
        Otherwise files are listed whole, whatever they hold, and archives are ignored.

    Returns
    -------
    Walk
        Its lists are sorted by relative posix path.

    Raises
    ------
    ConfigError
        If ``root`` does not exist or cannot be listed.
    """
    root = Path(root)
    try:
        status = os.stat(root)
    except OSError as error:
        raise ConfigError(f"{printable(root)} cannot be read: {error.strerror or error}.") from None
    result = Walk()
    if stat.S_ISREG(status.st_mode):
        _take(result, Path(root), PurePosixPath(root.name), kinds, pieces, alone=True)
        return _sorted(result)
    try:
        os.scandir(root).close()
    except OSError as error:
        raise ConfigError(f"{printable(root)} cannot be listed: {error.strerror or error}.") from None

    seen = {_identity(path) for path in exclude if path.is_dir()} | {(status.st_dev, status.st_ino)}
    folders: list[tuple[Path, PurePosixPath]] = [(root, PurePosixPath())]
    links: list[tuple[Path, PurePosixPath]] = []
    while folders or links:
        if not folders:
            links.sort(key=lambda link: link[1].as_posix(), reverse=True)
            folder, relative = links.pop()
            identity = _identity(folder)
            if identity in seen:
                result.ignored.append(f"{relative}/")
                continue
            seen.add(identity)
        else:
            folder, relative = folders.pop()
        try:
            with os.scandir(folder) as entries:
                listed = list(entries)
        except OSError as error:
            result.problems.append(Problem(relative, f"the folder cannot be listed: {error.strerror or error}"))
            continue
        for entry in listed:
            name = relative / entry.name
            try:
                if _is_ours(entry.name):
                    continue
                if entry.name.startswith("."):
                    result.ignored.append(f"{name}/" if entry.is_dir(follow_symlinks=False) else str(name))
                elif entry.is_dir():
                    if entry.is_symlink():
                        links.append((Path(entry.path), name))
                    elif (identity := _identity(Path(entry.path))) not in seen:
                        seen.add(identity)
                        folders.append((Path(entry.path), name))
                elif entry.is_file():
                    _take(result, Path(entry.path), name, kinds, pieces)
                elif entry.is_symlink():
                    result.problems.append(Problem(name, "the link leads nowhere"))
                else:  # pipes, sockets and devices: reading one could wait forever
                    result.ignored.append(str(name))
            except OSError as error:
                result.problems.append(Problem(name, f"cannot be read: {error.strerror or error}"))
    return _sorted(result)


def _sorted(result: Walk) -> Walk:
    result.files.sort(key=lambda found: found.relative.as_posix())
    if result.containers:  # a file may have the name of a piece; or two files name the same one
        named = {found.relative for found in result.files if found.piece is None}
        for found in result.files:
            if found.piece is not None and found.relative in named:
                result.problems.append(Problem(found.relative, "a file has the same name as this piece of another"))
        result.files = [found for found in result.files if found.piece is None or found.relative not in named]
    result.problems.sort(key=lambda problem: problem.relative.as_posix())
    result.ignored.sort()
    result.containers.sort()
    return result


def _is_ours(name: str) -> bool:
    """Whether a file or folder is one that our own jobs leave beside their inputs or outputs."""
    return name in ("features.json", ".clamp3_index") or name.endswith("ledger.jsonl")


def _take(
    result: Walk,
    path: Path,
    relative: PurePosixPath,
    kinds: Collection[Kind] | None,
    pieces: bool,
    *,
    alone: bool = False,
) -> None:
    from clamp3.formats.pieces import is_archive  # here: scripts whose flags `existing` checks start without it

    if _is_ours(relative.name):
        return
    kind = kind_of(relative.name)
    wanted = kinds is None or kind in kinds or (is_archive(relative.name) and bool(kinds))
    if wanted and pieces and _expand(result, path, relative, kinds, alone=alone):
        result.containers.append(relative.as_posix())
    elif kind is None or not wanted:
        result.ignored.append(str(relative))
    else:
        result.files.append(Found(path, relative, kind))


def _expand(result: Walk, path: Path, relative: PurePosixPath, kinds: Collection[Kind] | None, *, alone: bool) -> bool:
    """List the pieces of a file; return whether it is nothing else."""
    from clamp3.formats.pieces import SIGN, is_archive, pieces_of

    n_pieces = 0
    try:
        for piece in pieces_of(path):
            n_pieces += 1
            name = PurePosixPath(f"{relative}{SIGN}{piece.name}")
            if piece.problem:
                result.problems.append(Problem(name, piece.problem))
            elif piece.link:
                if alone:  # else they are found where they are
                    _take_linked(result, path.parent / piece.name, PurePosixPath(piece.name), kinds)
            elif piece.kind is None or (kinds is not None and piece.kind not in kinds):
                result.ignored.append(str(name))
            else:
                result.files.append(Found(path, name, piece.kind, piece))
    except (FormatError, OSError) as error:
        if not is_archive(relative.name):
            return n_pieces > 0  # who reads the file says what is wrong with it
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        result.problems.append(Problem(relative, reason))
        return True
    return n_pieces > 0


def _take_linked(result: Walk, path: Path, relative: PurePosixPath, kinds: Collection[Kind] | None) -> None:
    if path.is_file():
        _take(result, path, relative, kinds, pieces=True)
    else:
        result.problems.append(Problem(relative, "there is no such file"))


def _identity(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def existing(text: str) -> Path:
    """Return the path of an argument that must exist: a wrong one is reported before anything is imported or loaded."""
    path = Path(text)
    try:
        path.stat()
    except FileNotFoundError:
        why = "there is no folder or file of this name; check it, and the order of arguments (--help)"
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
    else:
        return path
    raise ConfigError(f"{printable(text)} cannot be read: {why}.")
