"""Files appear whole or not at all: written under a hidden name in the same folder, then renamed.

An unfinished file is called ``.clamp3-<host>-<pid>-<n>.part``, where n counts from the time at which its writer
started: no reader takes it for an output, and `sweep` removes those whose writer is gone.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import platform
import re
import time
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path

_PART = re.compile(r"\.clamp3-([0-9a-f]{8})-(\d+)-(\d+)\.part")
_STARTED = time.time_ns()  # in containers host and pid come again; a forked child's files are younger too
_NUMBERS = itertools.count(_STARTED)


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a path to write to; it becomes ``path`` if the block ends well, and vanishes if not.

    Parameters
    ----------
    path : Path
        The file to create or replace; missing parent folders are made. Trouble of the disk names it.
    durable : bool
        Also wait until the content is on the disk. A rename alone survives the end of the process, ``kill -9``
        included; only a power cut needs more, and costs milliseconds per file.

    Yields
    ------
    Path
        A name in the same folder with the suffix ``.part``. Writers that add a suffix of their own, such as
        ``np.save``, must be given an open file.
    """
    part, handle = _open_part(path)
    os.close(handle)
    with _becoming(part, path, durable):
        yield Path(part)


def write_bytes(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write ``data`` to ``path``, whole or not at all.

    Parameters
    ----------
    path, durable
        See `replacing`.
    data : bytes
        The whole content.
    """
    part, handle = _open_part(path)
    with _becoming(part, path, durable), open(handle, "wb", buffering=0) as stream:
        rest = memoryview(data)
        while rest:
            rest = rest[stream.write(rest) :]


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write ``text`` as UTF-8, line ends as they are; whole or not at all.

    Parameters
    ----------
    path, durable
        See `replacing`.
    text : str
        The whole content.
    """
    write_bytes(path, text.encode("utf-8"), durable=durable)


def sweep(folders: Collection[Path]) -> int:
    """Remove unfinished files that a killed process of this machine left in ``folders``; return how many."""
    removed = 0
    for folder in folders:
        try:
            names = [name for name in os.listdir(folder) if name.startswith(".clamp3-")]
        except OSError:
            continue
        for name in names:
            match = _PART.fullmatch(name)
            if match and match[1] == _host() and not _alive(int(match[2]), int(match[3])):
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(folder, name))
                    removed += 1
    return removed


def _open_part(path: Path) -> tuple[str, int]:
    """Create an unfinished file beside ``path``, with its folder if need be; return its name and handle."""
    folder = os.path.dirname(path)
    # Short, so that it fits wherever the longest allowed file name fits.
    part = os.path.join(folder, f".clamp3-{_host()}-{os.getpid()}-{next(_NUMBERS)}.part")
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
    try:
        if folder and not os.path.isdir(folder):
            os.makedirs(folder, exist_ok=True)
        return part, os.open(part, flags, 0o666)  # the umask applies, unlike in tempfile
    except OSError as error:
        if error.filename == part:  # a hidden name means nothing to a user
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise


@contextlib.contextmanager
def _becoming(part: str, path: Path, durable: bool) -> Iterator[None]:
    """Rename ``part`` to ``path`` if the block ends well, else remove it."""
    try:
        yield
        if durable:
            _flush(part)
        os.replace(part, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(part)
        trouble = _trouble(error)
        if trouble is not None and trouble.filename in (None, part):  # a hidden name means nothing to a user
            raise OSError(trouble.errno, os.strerror(trouble.errno or 0), str(path)) from error
        raise
    if durable:
        _flush(os.path.dirname(path) or ".")
        sweep([path.parent])  # jobs that write many files at once sweep once, and do not wait for the disk


def _trouble(error: BaseException) -> OSError | None:
    """Return the disk's trouble behind an error; torch and safetensors raise others for it."""
    if isinstance(error, OSError) or type(error).__name__ not in ("RuntimeError", "SafetensorError"):
        return error if isinstance(error, OSError) and error.errno is not None else None
    if number := re.search(r"\(os error (\d+)\)", str(error)):
        return OSError(int(number[1]), "")
    return _trouble(error.__context__) if error.__context__ is not None else None


@functools.cache
def _host() -> str:
    return f"{zlib.crc32(platform.node().encode()):08x}"


def _alive(pid: int, number: int) -> bool:
    if pid == os.getpid():
        return number >= _STARTED
    return runs(pid) or False  # elsewhere than on POSIX an open file cannot be unlinked anyway


def runs(pid: int) -> bool | None:
    """Return whether a process of this computer runs; None elsewhere than on POSIX, where to ask would end it."""
    if os.name != "posix":
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _flush(path: str) -> None:
    """Wait until a file, or where the system allows it a folder's list of names, is on the disk."""
    try:
        handle = os.open(path, os.O_RDWR if os.path.isfile(path) else os.O_RDONLY)
    except OSError:
        return  # Windows opens no folders
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
