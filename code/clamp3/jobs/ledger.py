"""The ledger of a batch job: one JSON line per input that was tried, appended at once, never rewritten.

A job killed at any moment leaves at most one torn last line, which the next run skips. Lines are pure ASCII, so
that file names with undecodable bytes fit too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from clamp3.errors import Clamp3Error, FormatError, printable
from clamp3.formats.fields import typed
from clamp3.formats.tables import lines_in, parse_json

LEDGER_NAME = "ledger.jsonl"  # in the output folder of a job

Status = Literal["ok", "failed", "skipped", "begun"]


@dataclass(frozen=True)
class Row:
    """What became of one input; or, ``begun``, what is about to be written for it.

    Attributes
    ----------
    input, output : str
        Posix paths relative to the input and the output folder; ``output`` is empty unless the status is ok
        or begun.
    root : str
        The input folder, absolute.
    sha256, output_sha256 : str
        Of the contents; a re-run trusts an output only if both still hold.
    task : str
        Names the conversion and its options; another task makes the input be done again.
    """

    input: str
    status: Status
    reason: str = ""
    output: str = ""
    seconds: float = 0.0
    sha256: str = ""
    output_sha256: str = ""
    task: str = ""
    root: str = ""
    notes: tuple[str, ...] = ()


class Ledger:
    """Rows of a job, oldest first; read at the start, appended to while the job runs.

    Parameters
    ----------
    path : Path
        The JSONL file. It and its folder are made with the first row.

    Raises
    ------
    Clamp3Error
        If the file exists but cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.torn = 0
        self._last: dict[str, Row] = {}
        self._makers: dict[str, Row] = {}
        self._begun: dict[str, dict[str, Row]] = {}
        self._outputs: dict[str, str] = {}
        self._handle: int | None = None
        self._ends_clean = True
        try:
            for _, line in lines_in(self.path):
                self._ends_clean = line.endswith(b"\n")
                row = _parse(line)
                if row is not None:
                    self._note(row)
                elif line.strip():
                    self.torn += 1
        except FileNotFoundError:
            pass
        except OSError as error:
            raise _trouble(self.path, "read", error) from None

    def __len__(self) -> int:
        return len(self._last)

    def last(self, input: str) -> Row | None:
        """Return the latest row of an input, or None."""
        return self._last.get(input)

    def maker(self, output: str) -> Row | None:
        """Return the latest ok row that wrote ``output``, or None if this job never made it."""
        return self._makers.get(output)

    def output(self, input: str) -> str:
        """Return the output that an input got last, or an empty string; a begun one only if it has no other."""
        return self._outputs.get(input, "")

    def begun_rows(self, output: str) -> Mapping[str, Row]:
        """Return the rows of jobs that ended before they confirmed what they wrote to ``output``, by its SHA-256."""
        return self._begun.get(output, {})

    def begun(self, output: str, sha256: str) -> Row | None:
        """Return the row of a job that ended between writing an output with this content and its row, or None.

        Parameters
        ----------
        output : str
        sha256 : str
            Of its content.
        """
        return self.begun_rows(output).get(sha256)

    def append(self, row: Row) -> None:
        """Add one row, in one write.

        Raises
        ------
        Clamp3Error
            If the ledger cannot be written; what was done stays.
        """
        line = json.dumps(vars(row), ensure_ascii=True).encode("ascii") + b"\n"
        try:
            if self._handle is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._handle = os.open(self.path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o666)
                if not self._ends_clean:
                    line = b"\n" + line
            written = os.write(self._handle, line)
            while written < len(line):  # a nearly full disk takes part of it, then says why
                written += os.write(self._handle, line[written:])
        except OSError as error:
            raise _trouble(self.path, "written", error) from None
        self._note(row)

    def close(self) -> None:
        """Bring the rows to the disk and close the file."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            try:
                os.fsync(handle)
            except OSError as error:
                raise _trouble(self.path, "written", error) from None
            finally:
                os.close(handle)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.close()
        except Clamp3Error:
            if error is None:
                raise

    def _note(self, row: Row) -> None:
        if row.status == "begun":
            self._begun.setdefault(row.output, {})[row.output_sha256] = row
            self._outputs.setdefault(row.input, row.output)
            return
        self._last[row.input] = row
        if row.status == "ok" and row.output:
            self._makers[row.output] = row
            self._outputs[row.input] = row.output
            self._begun.get(row.output, {}).pop(row.output_sha256, None)


def _parse(line: bytes) -> Row | None:
    """Return the row of a line; a torn or damaged one costs nothing but itself."""
    try:
        row: Row = typed(Row, parse_json(line))
    except FormatError:
        return None
    return row if _is_path(row.root) and is_inside(row.output) else None


def is_inside(name: str) -> bool:
    """Whether a relative path from a file names something below its folder, whatever the file system."""
    parts = name.replace("\\", "/") if os.sep == "\\" else name
    absolute = os.path.isabs(name) or os.path.splitdrive(name)[0]
    return _is_path(name) and not absolute and ".." not in parts.split("/")


def _is_path(name: str) -> bool:
    try:
        return b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:  # half of a surrogate pair, which no file system has
        return False


def _trouble(path: Path, verb: str, error: OSError) -> Clamp3Error:
    return Clamp3Error(
        f"the ledger {printable(path)} cannot be {verb}: {error.strerror or error}. Outputs made so far are whole; "
        "clear the cause and run the same command again to go on."
    )
