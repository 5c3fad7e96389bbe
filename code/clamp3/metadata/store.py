"""The JSONL that a job writes: whole lines, each item at most once, resumable after ``kill -9`` or a power cut.

Next to ``out.jsonl`` are ``out.ledger.jsonl`` (one row per attempt, see `clamp3.jobs.ledger`) and
``out.provenance.jsonl`` (the provenance of each line). A finished item is written in the order ledger, provenance,
line. Only the line counts: an item that a kill interrupts is processed again, and none is written twice. At the end
the lines are sorted into the order of the input, so that the file does not depend on which answer came first.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from clamp3.errors import Clamp3Error, ConfigError, FormatError, printable
from clamp3.formats.tables import lines_in, parse_json
from clamp3.jobs.atomic import replacing
from clamp3.jobs.ledger import Ledger, Row, Status
from clamp3.metadata.items import Item, line_of, parse

FSYNC_SEC = 2.0  # a power cut loses at most what was written since, which is then processed again


class Appender:
    """A file that grows by whole lines, flushed to the disk every `FSYNC_SEC` seconds and at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o666)
        self._flushed = time.monotonic()

    def append(self, line: bytes) -> None:
        """Write one line, which ends with a newline."""
        written = os.write(self._handle, line)
        while written < len(line):
            written += os.write(self._handle, line[written:])
        if time.monotonic() - self._flushed > FSYNC_SEC:
            os.fsync(self._handle)
            self._flushed = time.monotonic()

    def close(self) -> None:
        """Flush to the disk and close."""
        os.fsync(self._handle)
        os.close(self._handle)


class Store:
    """Lines, ledger and provenance of one output file, held by one process at a time.

    Parameters
    ----------
    path : Path
        The JSONL; created if absent.
    order : sequence of str
        Names of all items of the input, in their order.

    Raises
    ------
    ConfigError
        If another process is writing the file, or it was not made by such a job.
    """

    def __init__(self, path: Path, order: Sequence[str]) -> None:
        from filelock import FileLock, Timeout

        self.path, self.order = path, order
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(path.with_suffix(".lock"))
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ConfigError(f"{printable(path)} is being written by another process; let it end first.") from None
        self.ledger = Ledger(path.with_suffix(".ledger.jsonl"))
        self.sidecar = path.with_suffix(".provenance.jsonl")
        if path.exists() and path.stat().st_size and not len(self.ledger):
            self._lock.release()
            raise ConfigError(f"{printable(path)} exists and is not of this job's making; give another output file.")
        for file in (path, self.sidecar):
            repair(file)
        self._present = Counter(_digest(line) for _, line in lines_in(path)) if path.exists() else Counter()
        self._held: dict[str, Row] = {}
        for sha256 in self._present:
            row = self.ledger.maker(self._mark(sha256))
            if row is not None:
                self._held[row.input] = row
        self._live: dict[str, str] = {}
        self._tried: set[str] = set()
        self._lines, self._provenance = Appender(path), Appender(self.sidecar)

    def done(self, item: Item, content: str, task: str) -> Row | None:
        """Return the row of an item that is done: ok, or "skipped" if it was refused; None if it is not done.

        Parameters
        ----------
        item : Item
        content, task : str
            Identities of what the result depends on; they must be those of the row.
        """
        last = self.ledger.last(item.name)
        if last is not None and last.status == "skipped" and (last.sha256, last.task) == (content, task):
            return last
        for row in (last, self._held.get(item.name)):
            if row is None or row.status != "ok" or (row.sha256, row.task) != (content, task):
                continue
            if self._present[row.output_sha256] > 0:
                self._present[row.output_sha256] -= 1
                self._live[item.name] = row.output_sha256
                return row
        return None

    def foreign(self, item: Item) -> str:
        """Return the file that an item's line was made from if it is a namesake's in another folder, else "".

        In a JSONL an item is named by its id, wherever the file lies.
        """
        held = self._held.get(item.name)
        if held is None or item.path.suffix.lower() == ".jsonl" or Path(held.root).resolve() == item.path.resolve():
            return ""
        return held.root

    def keep(self, row: Row, record: dict[str, Any], provenance: dict[str, Any]) -> None:
        """Add the result of an item.

        Parameters
        ----------
        row : Row
            Its output and status are filled in.
        record : dict
            The line.
        provenance : dict
            What the sidecar stores besides the item's name and the line's SHA-256.
        """
        line = line_of(record)
        sha256 = _digest(line)
        self._add(row, "ok", self._mark(sha256), sha256)
        self._provenance.append(line_of({"input": row.input, "output_sha256": sha256, **provenance}))
        self._lines.append(line)
        self._live[row.input] = sha256

    def reject(self, row: Row, status: Status, reason: str, *, foreign: bool = False) -> None:
        """Record that an item has no result; a line of the same content under another task, or a namesake's, is kept.

        Parameters
        ----------
        row : Row
            Its status and reason are filled in.
        status : {"failed", "skipped"}
        reason : str
        foreign : bool
            The item's line is a namesake's; see `foreign`.
        """
        self._add(row, status, "", "", reason)
        held = self._held.get(row.input)
        if held is not None and (foreign or held.sha256 == row.sha256):
            self._live[row.input] = held.output_sha256

    def close(self) -> None:
        """Drop superseded lines, sort the others into the order of the input, and release the files."""
        try:
            self._lines.close()
            self._provenance.close()
            self.ledger.close()
            self._settle()
        finally:
            self._lock.release()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.close()
        except (Clamp3Error, OSError):
            if error is None:
                raise

    def _add(self, row: Row, status: Status, output: str, output_sha256: str, reason: str = "") -> None:
        changed = {"status": status, "reason": reason, "output": output, "output_sha256": output_sha256}
        self.ledger.append(Row(**(vars(row) | changed)))
        self._tried.add(row.input)

    def _mark(self, sha256: str) -> str:
        return f"{self.path.name}#{sha256[:16]}"

    def _line_of(self, name: str) -> str | None:
        """Return the SHA-256 of an item's current line: the new one, or the old one of an item that was not tried."""
        held = None if name in self._tried else self._held.get(name)
        return self._live.get(name) or (held.output_sha256 if held else None)

    def _settle(self) -> None:
        repair(self.path)
        places: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for start, line in lines_in(self.path):
            places[_digest(line)].append((start, len(line)))
        given = set(self.order)
        wanted = [sha256 for sha256 in map(self._line_of, self.order) if sha256 and places[sha256]]
        # First the lines of items that are not in this input, and lines that no job made.
        others = []
        for sha256 in places.keys() - set(wanted):
            row = self.ledger.maker(self._mark(sha256))
            if row is None or (row.input not in given and self._held.get(row.input) == row):
                others += [(place, sha256) for place in places[sha256]]
        others.sort()
        chosen = [place for place, _ in others] + [places[sha256].pop(0) for sha256 in wanted if places[sha256]]
        _reorder(self.path, chosen)

        rows = {sha256: place for sha256, place in _provenance_of(self.sidecar)}
        order = dict.fromkeys([sha256 for _, sha256 in others] + wanted)
        _reorder(self.sidecar, [rows[sha256] for sha256 in order if sha256 in rows])


def repair(path: Path) -> None:
    """Remove an incomplete last line, which a kill leaves; complete one that lacks only its line end."""
    if not path.exists():
        return
    with open(path, "rb+") as stream:
        last = b""
        end = stream.seek(0, os.SEEK_END)
        if not end:
            return
        stream.seek(-1, os.SEEK_END)
        if stream.read(1) == b"\n":
            return
        for start, last in lines_in(path):  # noqa: B007 - the last pair is wanted
            pass
        try:
            parse_json(last)
        except FormatError:
            stream.truncate(start)
        else:
            stream.seek(0, os.SEEK_END)
            stream.write(b"\n")


def _provenance_of(path: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    repair(path)
    for start, line in lines_in(path):
        with contextlib.suppress(FormatError):  # left by a power cut
            yield str(parse(line).get("output_sha256")), (start, len(line))


def _reorder(path: Path, places: Sequence[tuple[int, int]]) -> None:
    """Rewrite a file as the lines at these places, unless it is that already."""
    if list(places) == sorted(places) and sum(size for _, size in places) == path.stat().st_size:
        return
    with open(path, "rb") as source, replacing(path) as part, open(part, "wb") as target:
        for start, size in places:
            source.seek(start)
            target.write(source.read(size))


def _digest(line: bytes) -> str:
    return hashlib.sha256(line.rstrip(b"\r\n")).hexdigest()
