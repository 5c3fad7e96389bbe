"""The folder that a job writes to: one protocol for extraction, conversion and captions.

What holds whatever happens, ``kill -9`` included:

- an output is whole or absent, and every input ends as an output or as a named reason in the ledger;
- an output is trusted by a re-run only if the ledger knows its SHA-256 and that of its input. Outputs are therefore
  renamed into place without waiting for the disk: a file torn by a power cut is found by its hash and made again;
- a file that the ledger does not know is never overwritten with other content. Before a job writes an output, a row
  says ``begun`` and what is about to be written: one killed between output and row leaves no file of unknown origin.
  Worker processes have no ledger; what they left is recognised because the conversion gives the same content again;
- an output made from another input folder is not replaced: the input is refused, with a reason;
- an output made from content that an input no longer has goes when the new content fails; no other failure takes it;
- one process at a time writes to a folder (or the processes of one launch); a second one is refused, not kept waiting;
- what the ledger says is checked: a damaged row costs itself, and nothing outside the folder is written or removed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from clamp3.errors import ConfigError, DataError, FormatError, printable
from clamp3.formats import Kind
from clamp3.formats.pieces import find, read_piece
from clamp3.jobs.atomic import sweep, write_bytes
from clamp3.jobs.ledger import LEDGER_NAME, Ledger, Row, Status
from clamp3.jobs.locks import FolderLock
from clamp3.jobs.naming import shared_stems
from clamp3.jobs.summary import Summary
from clamp3.jobs.walk import Problem, Walk, walk
from clamp3.sources import digest_of


@dataclass(frozen=True)
class OutputPlan:
    """What the ledger knows of one output: all that is needed to write it, in this process or in a worker.

    Attributes
    ----------
    path : str
        Of the output.
    sha256, output_sha256 : str
        Of input and output when this task last made it of this input, or empty.
    maker : str or None
        The input it was made from if that lies in another input folder, "" if in this one, None if it is not known.
    begun : dict
        The same for contents that a job was about to write, by their SHA-256.
    advice : str
        What else a user can do about a refusal.
    """

    path: str
    sha256: str = ""
    output_sha256: str = ""
    maker: str | None = ""
    begun: Mapping[str, str] = field(default_factory=dict)
    advice: str = ""

    def is_done(self, sha256: str) -> bool:
        """Whether the output is there as this task made it from an input with this SHA-256."""
        with suppress(OSError):
            return sha256 == self.sha256 != "" and _sha256_of(self.path) == self.output_sha256 != ""  # absent
        return False

    def refuse_foreign(self, sha256: str) -> str:
        """Return the SHA-256 of what stands in the output's place, "" if nothing does.

        Raises
        ------
        DataError
            If that was made from an input in another folder, and of other content than ``sha256``.
        OSError
            If it cannot be read.
        """
        present = _sha256_of(self.path)
        maker = self.begun.get(present, self.maker)
        if present and maker and sha256 != self.sha256:
            raise DataError(f"its output was made from {maker}; give another output folder{self.advice}.")
        return present

    def write(self, sha256: str, content: bytes, announce: Callable[[str], object] | None = None) -> str:
        """Write the output, unless it is there; return its SHA-256.

        Parameters
        ----------
        sha256 : str
            Of the input.
        content : bytes
            Of the output.
        announce : callable, optional
            Called with the output's SHA-256 before it is written.

        Raises
        ------
        DataError
            If another file stands in its place that is of unknown origin or made from another input folder.
        OSError
            If it cannot be written.
        """
        present, made = self.refuse_foreign(sha256), hashlib.sha256(content).hexdigest()
        if present == made:
            return made
        if present and self.begun.get(present, self.maker) is None:
            raise DataError(
                f"its output exists with other content and is not in the ledger; move it away{self.advice}."
            )
        if announce is not None:
            announce(made)
        write_bytes(Path(self.path), content, durable=False)
        return made


class OutputFolder:
    """An output folder, its ledger and its summary while a job writes to it.

    Parameters
    ----------
    path : Path
        Made with the first row of the ledger.
    input_dir : Path
        A folder, or a single file.
    task : str
        Identity of what is done: outputs of another task are made anew.
    force : bool, optional
        Make also what is done, and overwrite files of unknown origin or of other input folders. None where a job has
        no such flag.
    shared : bool
        By processes of one launch, of which another holds the folder.

    Attributes
    ----------
    outputs : dict
        Output of every input, both as relative posix paths.

    Raises
    ------
    ConfigError
        If ``path`` is a file, or another process writes to it.
    Clamp3Error
        If the ledger cannot be read.
    """

    def __init__(
        self, path: Path, input_dir: Path, *, task: str, force: bool | None = None, shared: bool = False
    ) -> None:
        if path.exists() and not path.is_dir():
            raise ConfigError(f"{printable(path)} is a file; give a folder to write to.")
        self.path, self.input_dir, self.task = path, input_dir, task
        self.base = input_dir if input_dir.is_dir() else input_dir.parent
        self.root = str(self.base.resolve())
        self.outputs: dict[str, str] = {}
        self._shared, self._made, self._lock = shared, False, None if shared or not path.is_dir() else self._hold()
        self.ledger = Ledger(path / LEDGER_NAME)
        self.summary = Summary(ledger=str(self.ledger.path))
        self._force, self._advice = force, "" if force is None else ", or --force"
        self._current: frozenset[str] = frozenset()

    def __enter__(self) -> OutputFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.ledger.__exit__(kind, error, at)
        finally:
            if self._lock is not None:
                self._lock.release()
            if self._made:
                with suppress(OSError):
                    self.path.rmdir()  # nothing was written

    def walk(self, kinds: Collection[Kind] | None, *, pieces: bool = True) -> Walk:
        """List the inputs of these kinds, this folder excepted if it lies among them; see `clamp3.jobs.walk.walk`."""
        inside = self.input_dir.is_dir() and self.input_dir.resolve() in self.path.resolve().parents
        return walk(self.input_dir, kinds, exclude=[self.path] if inside else [], pieces=pieces)

    def assign(self, outputs: Mapping[str, str]) -> None:
        """Say which output each input gets."""
        self.outputs = dict(outputs)
        self._current = frozenset(self.outputs.values())

    def begin(
        self,
        outputs: Mapping[PurePosixPath, PurePosixPath],
        problems: Iterable[Problem] = (),
        containers: Iterable[str] = (),
    ) -> None:
        """Take the names of the outputs, note what cannot be listed, and remove what killed jobs left.

        Parameters
        ----------
        outputs : mapping
            Output of every input, as `clamp3.jobs.naming.output_names` gives them.
        problems : iterable of Problem
            Failures already.
        containers : iterable of str
            Files whose pieces are the inputs; an output made of one as a whole goes.
        """
        if self._lock is None and not self._shared:
            self._claim()
        self.assign({input.as_posix(): output.as_posix() for input, output in outputs.items()})
        self.summary.renamed = shared_stems(outputs)
        for problem in problems:
            self.record(self.row(problem.relative.as_posix(), "failed", reason=problem.reason))
        for name in containers:
            self.drop_stale(self.row(name, "ok"))
        self.sweep()

    def _hold(self) -> FolderLock:
        return FolderLock.only(self.path, "writes to")

    def _claim(self) -> None:
        """Make and lock a folder that was not there when this one was; read what has been written meanwhile."""
        with suppress(OSError):  # the ledger says what is wrong
            self.path.mkdir(parents=True)
            self._made = True
        if self.path.is_dir():
            self._lock = self._hold()
            self.ledger = Ledger(self.ledger.path)

    def sweep(self) -> None:
        """Remove unfinished files of killed processes."""
        sweep({self.path / folder for folder in {os.path.dirname(output) for output in self._current}})

    def plan(self, input: str) -> OutputPlan:
        """Return what has to be known to write the output of an input; it can be sent to another process."""
        output = self.outputs[input]
        path = os.path.join(self.path, output)
        if self._force:
            return OutputPlan(path)
        made = self.ledger.maker(output)
        known = made if made is not None and (made.input, made.task) == (input, self.task) else None
        return OutputPlan(
            path,
            known.sha256 if known else "",
            known.output_sha256 if known else "",
            self._foreign(made) if made else None,
            {sha256: self._foreign(row) for sha256, row in self.ledger.begun_rows(output).items()},
            self._advice,
        )

    def is_done(self, input: str, sha256: str) -> bool:
        """Whether the output of an input is there as this task made it; see `OutputPlan.is_done`.

        Parameters
        ----------
        input : str
            Relative posix path.
        sha256 : str
            Of its content now.
        """
        return self.plan(input).is_done(sha256)

    def refuse_foreign(self, input: str, sha256: str) -> None:
        """Raise `DataError` if the output was made from another input folder; see `OutputPlan.refuse_foreign`.

        Parameters
        ----------
        input, sha256 : str
            As in `is_done`.
        """
        self.plan(input).refuse_foreign(sha256)

    def write(self, row: Row, content: bytes) -> Row:
        """Write the output of an input, its ``begun`` row first.

        Parameters
        ----------
        row : Row
            With ``input`` and ``sha256``.
        content : bytes
            Of the output.

        Returns
        -------
        Row
            With the output and its SHA-256.

        Raises
        ------
        DataError, OSError
            As `OutputPlan.write` does.
        """
        row = replace(row, output=self.outputs[row.input])

        def announce(output_sha256: str) -> None:
            self.ledger.append(replace(row, status="begun", output_sha256=output_sha256))

        return replace(row, output_sha256=self.plan(row.input).write(row.sha256, content, announce))

    def row(self, input: str, status: Status, **facts: Any) -> Row:
        """Return a row of this task and input folder.

        Parameters
        ----------
        input : str
            Relative posix path.
        status : {"ok", "failed", "skipped"}
        **facts
            As `Row` takes them.
        """
        return Row(input, status, task=self.task, root=self.root, **facts)

    def record(self, row: Row) -> None:
        """Note what became of an input, in ledger and summary, and remove what no longer stands for it."""
        if row.status == "skipped":
            self.summary.skipped += 1
            return
        self.drop_stale(row)
        self.ledger.append(row)
        if row.status == "failed":
            self.summary.failed.append((row.input, row.reason))
        else:
            self.summary.ok += 1
            self.summary.notes += [(row.input, note) for note in row.notes]

    def drop_stale(self, row: Row) -> None:
        """Remove what an earlier run made of this input, if it no longer stands for it and nobody changed it."""
        candidates = {self.outputs[row.input]} if row.status == "failed" and row.input in self.outputs else set()
        last = self.ledger.output(row.input)
        if last and last not in self._current and self._holds(last):
            candidates.add(last)  # its name changed because another input now shares the stem
        for candidate in candidates:
            path = os.path.join(self.path, candidate)
            with suppress(OSError):
                present = _sha256_of(path)
                made = self.ledger.begun(candidate, present) or self.ledger.maker(candidate)
                if made is None or (made.input, made.root, made.output_sha256) != (row.input, row.root, present):
                    continue
                if row.status == "ok" or self._is_new(row, made):
                    os.unlink(path)

    def _holds(self, output: str) -> bool:
        """Whether a name from the ledger lies below this folder once links are followed; others are never removed."""
        folder, place = (os.path.realpath(p) for p in (self.path, os.path.join(self.path, os.path.dirname(output))))
        return os.path.commonpath([folder, place]) == folder

    def _foreign(self, row: Row) -> str:
        """Return the input of a row if it lies in another folder than ours, else ""."""
        name = f"{row.root}/{row.input}"
        # Earlier versions called a single file its own root.
        return "" if row.root in (self.root, os.path.join(self.root, row.input)) else name

    def _is_new(self, row: Row, made: Row) -> bool:
        """Whether the input of ``row``, which failed, can be read and is not what ``made`` was made from."""
        sha256 = row.sha256
        if not sha256:  # it ended its worker, is empty, or cannot be read
            with suppress(OSError, FormatError):
                path = os.path.join(self.base, row.input)
                piece = find(path)
                sha256 = _sha256_of(path) if piece is None else hashlib.sha256(read_piece(*piece)).hexdigest()
        return sha256 not in ("", made.sha256)


def _sha256_of(path: str) -> str:
    """Return the hash of a file's content, or an empty string if there is none."""
    try:
        with open(path, "rb") as stream:
            return digest_of(stream)
    except FileNotFoundError:
        return ""
