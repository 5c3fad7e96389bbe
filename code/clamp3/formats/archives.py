"""Archives of music: zip, and uncompressed tar as in WebDataset's shards. Nothing is unpacked to the disk.

Names of members come from anywhere: one that leads out of the archive is a problem of that member, and of several
members with one name the last counts, as unpacking would have it. A member is read alone, at its offset.
"""

from __future__ import annotations

import posixpath
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO, cast

from clamp3.errors import FormatError, sentence_of
from clamp3.formats import SUFFIXES, kind_of
from clamp3.formats.containers import Container, Member, Place, span
from clamp3.formats.guards import MAX_FILE_BYTES, MAX_RATIO, MIB, MIN_BOMB_BYTES

MAX_MEMBERS = 200_000
_MAX_DIRECTORY = 64 * MIB  # of a zip: zipfile reads it as a whole
_END, _END_BYTES, _COMMENT = b"PK\x05\x06", 22, 1 << 16
_LOCAL = struct.Struct("<4s22sHH")  # signature, what the directory has too, lengths of name and of extra fields
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def is_safe(name: str) -> bool:
    """Return whether the name of a member is a path below the archive, on every system."""
    parts = name.replace("\\", "/").split("/")
    return "\0" not in name and not name.startswith(("/", "\\")) and name[1:2] != ":" and ".." not in parts


def _listed(members: Iterable[tuple[str, int, Place, str]]) -> Iterator[Member]:
    """Yield members from name, size, place and problem, the last of each name."""
    last: dict[str, Member] = {}
    for name, size, place, problem in members:
        safe = is_safe(name)
        name = posixpath.normpath(name) if safe else name
        hidden = any(part.startswith(".") for part in name.split("/")) or name.startswith("__MACOSX/")
        kind = kind_of(name)
        known = kind is not None and posixpath.splitext(name)[1].lower() in SUFFIXES and (not hidden or not safe)
        if not problem and not safe:
            problem = "its name leads out of the archive"
        elif not problem and size > MAX_FILE_BYTES:
            problem = f"it has {size / MIB:.0f} MiB, more than the limit of {MAX_FILE_BYTES // MIB}"
        last.pop(name, None)
        last[name] = Member(name, kind if known else None, size, place, problem if known else "")
        if len(last) > MAX_MEMBERS:
            raise FormatError(f"the archive has more than {MAX_MEMBERS} members.")
    yield from last.values()


def zip_members(file: BinaryIO) -> Iterator[tuple[str, int, Place, str]]:
    """Yield name, size, place and problem of every file in a zip; `unzip` reads one.

    Raises
    ------
    FormatError
        If the archive is damaged, or its directory cannot be that of an archive of its size.
    """
    _check_directory(file)
    try:
        with zipfile.ZipFile(file) as archive:
            found = [info for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, LookupError, struct.error) as error:
        raise FormatError(f"not a readable zip archive: {sentence_of(error, 200).rstrip('.')}.") from None
    file.seek(0, 2)
    if sum(info.compress_size for info in found) > file.tell():
        raise FormatError("the members of the archive overlap.")
    for info in found:
        problem = ""
        if info.flag_bits & 1:
            problem = "it is encrypted"
        elif info.compress_type not in _METHODS:
            problem = "it is packed in another way than DEFLATE"
        elif info.file_size > MIN_BOMB_BYTES and info.file_size > MAX_RATIO * info.compress_size:
            problem = f"it unpacks to more than {MAX_RATIO} times its size"
        place = (info.header_offset, info.compress_size, info.file_size, info.compress_type, info.CRC)
        yield info.filename, info.file_size, place, problem


def _check_directory(file: BinaryIO) -> None:
    """Refuse a directory of a size that only a hostile archive has; zipfile would read it whole."""
    file.seek(0, 2)
    size = file.tell()
    tail = span(file, max(0, size - _COMMENT - _END_BYTES), size)
    at = tail.rfind(_END)
    if at >= 0 and len(tail) >= at + _END_BYTES:
        directory = int.from_bytes(tail[at + 12 : at + 16], "little")
        if directory == 0xFFFFFFFF and tail[max(0, at - 20) : at].startswith(b"PK\x06\x07"):  # a large archive
            start = int.from_bytes(tail[at - 12 : at - 4], "little")
            directory = int.from_bytes(span(file, start + 40, start + 48), "little")
        if directory > _MAX_DIRECTORY:
            raise FormatError(f"the archive's directory has {directory} bytes, more than {_MAX_DIRECTORY // MIB} MiB.")


def unzip(file: BinaryIO, place: Place) -> bytes:
    """Return the bytes of a member of a zip.

    Parameters
    ----------
    file : binary file
    place : tuple
        From `zip_members`.

    Raises
    ------
    FormatError
        If it is damaged, or not what the archive's directory says.
    """
    offset, packed_size, size, method, checksum = cast("tuple[int, int, int, int, int]", place)
    head = span(file, offset, offset + _LOCAL.size)
    if not head.startswith(b"PK\x03\x04") or len(head) < _LOCAL.size:
        raise FormatError("the archive is damaged: a member is not where its directory says.")
    _, _, n_name, n_extra = _LOCAL.unpack(head)
    start = offset + _LOCAL.size + n_name + n_extra
    data = span(file, start, start + packed_size)
    try:
        if method == zipfile.ZIP_DEFLATED:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1)
    except zlib.error as error:
        raise FormatError(f"the archive is damaged: {sentence_of(error, 100)}.") from None
    if len(data) != size or zlib.crc32(data) != checksum:
        raise FormatError("the archive is damaged: a member is not what its directory says.")
    return data


class Zip(Container):
    """A zip archive in place of a folder."""

    whole = False

    def members(self, file: BinaryIO) -> Iterator[Member]:
        """Yield the files in the archive."""
        return _listed(zip_members(file))

    def read(self, file: BinaryIO, place: Place) -> bytes:
        """Return a file's bytes."""
        return unzip(file, place)


class Tar(Container):
    """An uncompressed tar in place of a folder; files of one sample share their stem."""

    whole = False

    def members(self, file: BinaryIO) -> Iterator[Member]:
        """Yield the files in the archive."""
        return _listed((name, size, (offset, size), "") for name, offset, size in tar_members(file))

    def read(self, file: BinaryIO, place: Place) -> bytes:
        """Return a file's bytes."""
        offset, size = cast("tuple[int, int]", place)
        data = span(file, offset, offset + size)
        if len(data) < size:
            raise FormatError("the archive ends before it.")
        return data


def tar_members(file: BinaryIO) -> Iterator[tuple[str, int, int]]:
    """Yield name, offset and size of every file in an uncompressed tar.

    Raises
    ------
    FormatError
        If it is none.
    """
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if member.isfile() and not member.issparse():
                    if min(member.offset_data, member.size) < 0:
                        raise ValueError(f"the member {member.name!r} has no size")
                    yield member.name, member.offset_data, member.size
                tar.members = []  # type: ignore[attr-defined]  # else it keeps an object per member
    except Exception as error:  # tarfile's, Python's of numbers beyond all sizes, and of a NUL in the name
        raise FormatError(f"no readable, uncompressed tar ({sentence_of(error)}).") from None
