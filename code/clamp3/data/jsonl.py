"""A JSONL of millions of objects as a sequence: offsets in an array on the disk, objects parsed when asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from clamp3.data.disk_array import DiskArray
from clamp3.errors import ConfigError, DataError, FormatError, printable
from clamp3.formats.tables import lines_in, parse_json, reading


def read_objects(path: Path) -> Iterator[tuple[int, int, dict[str, Any] | None]]:
    """Yield (offset, line number from 1, object or None where the line is no JSON object); blank lines are skipped.

    Raises
    ------
    ConfigError
        If there is no such file.
    DataError
        If it cannot be read.
    """
    if not path.exists():
        raise ConfigError(f"{printable(path)} does not exist.")
    with reading(path, DataError):
        for number, (offset, line) in enumerate(lines_in(path), 1):
            if line.strip():
                yield offset, number, _object(line)


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = parse_json(line)
    except FormatError:
        return None
    return value if isinstance(value, dict) else None


class JsonLines:
    """Objects of a JSONL by number.

    Parameters
    ----------
    path : Path
    starts : int64 array or rows, shape (n,)
        Offsets of their lines, ascending.
    """

    def __init__(self, path: Path, starts: np.ndarray | DiskArray) -> None:
        self.path, self.starts = path, starts

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return object ``index``.

        Raises
        ------
        DataError
            If the file has changed since it was indexed.
        """
        start, *after = self.starts[index : index + 2].tolist()
        length = after[0] - start if after else 2**16
        # Opened anew each time: an open file shared by forked workers has one position for all.
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(start)
                data = file.read(min(length, 2**20))
                while b"\n" not in data and (more := file.read(2**16)):
                    data += more
        except OSError as error:
            raise DataError(f"{printable(self.path)} cannot be read ({error.strerror or error}).") from None
        found = _object(data.partition(b"\n")[0])
        if found is None:
            raise DataError(f"{printable(self.path)} has changed: no JSON object at byte {start}. Start the run anew.")
        return found
