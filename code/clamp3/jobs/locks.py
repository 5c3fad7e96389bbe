"""One writer at a time: a lock on a folder, held by the kernel and gone with its holder, ``kill -9`` included.

Where the system can lock a folder itself, no file is left behind. On network disks and Windows, which cannot, a hidden
file in it is locked; where nothing can be locked (a few network disks), work goes on without.
"""

from __future__ import annotations

import errno
import os
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from clamp3.errors import ConfigError, printable

LOCK_NAME = ".clamp3.lock"
_HELD = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
_POLL_SEC = 0.2


class FolderLock:
    """The only holder of a folder; released at the end of the block, or with the process.

    Parameters
    ----------
    folder : Path
        Exists.
    busy : callable
        Called while another process holds the lock; it raises, or returns to wait.

    Examples
    --------
    >>> import tempfile
    >>> with FolderLock(Path(tempfile.mkdtemp())) as lock:
    ...     lock.held
    True
    """

    def __init__(self, folder: Path, busy: Callable[[], object] = lambda: None) -> None:
        self._handle: int | None = None
        while not self._take(folder):
            busy()
            time.sleep(_POLL_SEC)
        forget = weakref.WeakMethod(self._forget)
        if hasattr(os, "register_at_fork"):  # worker processes that outlive a killed holder must not keep its lock
            os.register_at_fork(after_in_child=lambda: (forget() or int)())

    @classmethod
    def only(cls, folder: Path, what: str) -> FolderLock:
        """Lock a folder, or refuse it at once.

        Parameters
        ----------
        folder : Path
            Exists.
        what : str
            What another process may be doing with it.

        Raises
        ------
        ConfigError
            If another process holds the lock: to wait for it could take days, and what it makes need not be made twice.
        """

        def refuse() -> None:
            raise ConfigError(f"another process {what} {printable(folder)}; let it end first, or give another folder.")

        return cls(folder, refuse)

    @property
    def held(self) -> bool:
        """Whether there is a lock; False where nothing can be locked, or after the end."""
        return self._handle is not None

    def release(self) -> None:
        """Let others in."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            _unlock(handle)  # a forked process may still have it open
            os.close(handle)

    def _forget(self) -> None:
        """Close the handle in a forked process; the lock stays with the process that took it."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            os.close(handle)

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()

    def _take(self, folder: Path) -> bool:
        """Lock, unless another process has; True too where nothing can be locked."""
        flags = os.O_RDWR | os.O_CREAT
        for path, how in ((folder, os.O_RDONLY), (folder / LOCK_NAME, flags)):
            try:
                handle = os.open(path, how, 0o666)
            except OSError:
                continue
            try:
                _lock(handle)
            except OSError as error:
                os.close(handle)
                if error.errno in _HELD:
                    return False
            else:
                self._handle = handle
                return True
        return True


if os.name == "posix":
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)

else:
    import msvcrt

    def _lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]

    def _unlock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined]
