"""Where the bytes of a training file lie: a file of its own, or a member of a tar shard.

``filepaths`` of a JSONL name files relative to its folder, members as ``shard.tar::member``, or pieces of a file that
holds several as ``jigs.abc#12`` (`clamp3.formats.pieces`). With ``--shards`` a
folder of tars (WebDataset's layout) holds members of the very names that ``filepaths`` has. Tars are read
through an index of their members, at their offsets, so random access costs one read; nothing is unpacked.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clamp3.data.disk_array import DiskArray, save_array
from clamp3.data.splits import hash_of
from clamp3.errors import ConfigError, DataError, FormatError
from clamp3.formats.archives import tar_members
from clamp3.formats.pieces import SIGN, Piece, pieces_of, read_piece, split_name

SEPARATOR = "::"
WHOLE = -1


@dataclass(frozen=True)
class Location:
    """Bytes of a file: all of them (``size`` -1), ``size`` from ``offset`` on, or a piece. Messages say ``name``."""

    path: str
    offset: int = 0
    size: int = WHOLE
    name: str = ""
    piece: Piece | None = None

    @property
    def stem(self) -> str:
        """Name without folder and suffix, which renderings of one piece share."""
        within = f"{SIGN}{os.path.splitext(self.piece.name)[0]}" if self.piece is not None else ""
        return f"{Path(self.path).stem}{within}"

    def read(self) -> bytes:
        """Return the bytes.

        Raises
        ------
        FormatError
            If the file is absent, unreadable, or shorter than it was when it was indexed.
        """
        try:
            if self.piece is not None:
                return read_piece(Path(self.path), self.piece)
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                data = file.read(self.size)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            raise FormatError(f"{self}: {getattr(error, 'strerror', None) or error}.") from None
        except FormatError as error:
            raise FormatError(f"{self}: {error}") from None
        if self.size != WHOLE and len(data) < self.size:
            raise FormatError(f"{self}: the shard ends before it.")
        return data

    def __str__(self) -> str:
        return self.name or self.path


class Locations(Sequence[Location]):
    """Locations of millions of files, on the disk: names as one blob, the rest as arrays.

    Parameters
    ----------
    stem : Path
        ``STEM.names`` and ``STEM.npy``, as `LocationWriter` made them.
    folder : Path
        What relative names are relative to.
    """

    def __init__(self, stem: Path, folder: Path) -> None:
        self.folder, self.names = str(folder), str(stem.with_suffix(".names"))
        self.table = DiskArray(stem.with_suffix(".npy"))  # (n, 4): end of name, offset, size, print

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> Location:  # type: ignore[override]
        start = int(self.table[index - 1][0]) if index else 0
        end, offset, size, _ = self.table[index].tolist()
        with open(self.names, "rb", buffering=0) as file:
            file.seek(start)
            stored, _, piece = os.fsdecode(file.read(end - start)).partition("\0")
        name = os.path.join(self.folder, stored)
        if piece:
            part = Piece.from_json(piece)
            return Location(name.removesuffix(f"{SIGN}{part.name}"), offset, size, name, part)
        return Location(name.partition(SEPARATOR)[0], offset, size, name)

    def changed(self, n_checked: int = 20_000) -> bool:
        """Return whether files are no longer those that were listed: their size, time, or being there.

        All of them up to ``n_checked``, else so many, evenly spaced: looking at millions would take minutes.
        """
        checked = np.unique(np.linspace(0, len(self) - 1, min(len(self), n_checked)).astype(int))
        listed = {(self[int(i)].path, int(self.table[int(i)][3])) for i in checked}  # a shard once, not once per member
        return any(fingerprint(path) != known for path, known in listed)


class LocationWriter:
    """Writes what `Locations` reads; the files exist when the block has ended well."""

    def __init__(self, stem: Path) -> None:
        self.stem = stem
        self.columns = [array("q") for _ in range(4)]
        self.end, self.last, self.mark = 0, "", 0

    def __enter__(self) -> LocationWriter:
        self.file = self.stem.with_suffix(".names").open("wb")
        return self

    def add(self, name: str, location: Location) -> int:
        """Add a file under its name in the JSONL; return its number.

        Parameters
        ----------
        name : str
        location : Location
            Where `Resolver` has found it.

        Raises
        ------
        FormatError
            If no file can have that name.
        """
        try:
            encoded = os.fsencode(name if location.size == WHOLE else location.name)
            if b"\0" in encoded:
                raise FormatError(f"{location}: embedded null byte.")
            if location.piece is not None:
                encoded += b"\0" + location.piece.to_json().encode()
        except UnicodeEncodeError as error:  # half of a surrogate pair
            raise FormatError(f"{location}: {error}.") from None
        self.end += self.file.write(encoded)
        if location.path != self.last:  # members of one shard follow one another
            self.last, self.mark = location.path, fingerprint(location.path)
        for column, value in zip(self.columns, (self.end, location.offset, location.size, self.mark), strict=True):
            column.append(value)
        return len(self.columns[0]) - 1

    def __exit__(self, kind: object, *_: object) -> None:
        self.file.close()
        if kind is None:
            save_array(self.stem.with_suffix(".npy"), np.array(self.columns, dtype=np.int64).reshape(4, -1).T.copy())


def fingerprint(path: str) -> int:
    """Return a number that changes when a file's size or time of change does; 0 if there is no file."""
    try:
        stat = os.stat(path)
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return 0
    return (stat.st_mtime_ns * 31 + stat.st_size) & (2**62 - 1)


@dataclass(frozen=True)
class TarIndex:
    """Members of tars by the hash of their name.

    Attributes
    ----------
    paths : list of str
        The tars.
    table : int64 array, shape (3, n)
        Which tar, offset and size of every member, in the order of ``hashes``.
    hashes : uint64 array, shape (n,)
        Ascending.
    """

    paths: list[str]
    hashes: np.ndarray
    table: np.ndarray

    def find(self, name: str) -> Location | None:
        """Return where a member lies, the last of that name as tar has it; None if there is none."""
        wanted = np.uint64(hash_of(_plain(name)))
        at = int(np.searchsorted(self.hashes, wanted, side="right")) - 1
        if at < 0 or self.hashes[at] != wanted:
            return None
        tar, offset, size = (int(value) for value in self.table[:, at])
        return Location(self.paths[tar], offset, size, f"{self.paths[tar]}{SEPARATOR}{name}")


def _plain(member: str) -> str:
    return member.removeprefix("./")


def index_tars(paths: Sequence[str]) -> TarIndex:
    """Index the members of uncompressed tars.

    Raises
    ------
    FormatError
        If one cannot be read as an uncompressed tar.
    """
    hashes, columns = array("Q"), [array("q") for _ in range(3)]
    for number, path in enumerate(paths):
        try:
            with open(path, "rb") as file:
                for name, offset, size in tar_members(file):
                    hashes.append(hash_of(_plain(name)))
                    for column, value in zip(columns, (number, offset, size), strict=True):
                        column.append(value)
        except (FormatError, OSError, ValueError) as error:
            raise FormatError(f"{path}: {getattr(error, 'strerror', None) or str(error).rstrip('.')}.") from None
    found = np.array(hashes, dtype=np.uint64)
    order = np.argsort(found, kind="stable")  # of one name, the last comes last
    return TarIndex(list(paths), found[order], np.array(columns, dtype=np.int64).reshape(3, -1)[:, order])


class Resolver:
    """From names in ``filepaths`` to locations.

    Parameters
    ----------
    folder : Path
        Of the JSONL.
    shards : Path, optional
        A folder of tars to look in first.
    """

    def __init__(self, folder: Path, shards: Path | None = None) -> None:
        self.folder = str(folder)
        self.tars: dict[str, TarIndex] = {}
        self.pieces: dict[str, dict[str, Piece]] = {}
        # Members are stored by the path of their tar and read relative to the JSONL, which leaves absolute paths alone.
        self.shards = index_tars([str(path.absolute()) for path in tars_in(shards)]) if shards else None

    def locate(self, name: str) -> Location:
        """Return where a file's bytes lie; whether they are there is found when they are read.

        Raises
        ------
        FormatError
            If the name is that of a member that its tar does not have.
        """
        if self.shards is not None and (found := self.shards.find(name)):
            return found
        tar, separator, member = name.partition(SEPARATOR)
        path = os.path.join(self.folder, tar)
        if not separator:
            return self._piece(path) or Location(path)
        if path not in self.tars:
            self.tars[path] = index_tars([str(Path(path).absolute())])
        found = self.tars[path].find(member)
        if found is None:
            raise FormatError(f"{path}: no member {member}.")
        return found

    def _piece(self, path: str) -> Location | None:
        """Return where a piece of a file lies, None if the path is that of a file."""
        named = split_name(path)
        if named is None or os.path.lexists(path):
            return None
        file, name = named
        if file not in self.pieces:
            try:
                self.pieces[file] = {piece.name: piece for piece in pieces_of(Path(file))}
            except (FormatError, OSError, ValueError) as error:
                raise FormatError(f"{file}: {getattr(error, 'strerror', None) or error}") from None
        if name not in self.pieces[file]:
            raise FormatError(f"{file} has no piece {name}.")
        return Location(file, name=path, piece=self.pieces[file][name])


def tars_in(folder: Path) -> list[Path]:
    """Return the tars of a folder, sorted.

    Raises
    ------
    ConfigError
        If there are none.
    """
    found = sorted(folder.glob("*.tar")) if folder.is_dir() else []
    if not found:
        raise ConfigError(f"--shards {folder}: no folder with .tar files.")
    return found


def file_digest(path: Path) -> bytes:
    """Return a digest of a file's size, time of change and first 64 KiB.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            head, stat = file.read(2**16), os.fstat(file.fileno())
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    return hashlib.sha256(f"{stat.st_size} {stat.st_mtime_ns}\n".encode() + head).digest()
