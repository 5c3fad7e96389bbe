"""Encode a folder into a folder of ``.npy`` files: shared by processes, resumable, one vector or one reason per input.

The output folder says in ``features.json`` which weights, arithmetic and conversions its arrays come from, and takes
no others; ``ledger.jsonl`` has a row per input, and before it one that says ``begun`` and what is about to be written:
a run killed between output and row leaves no output of unknown origin. Outputs are whole or absent, whatever ends the
run.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import logging
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from clamp3.cli import EXIT_OK, EXIT_SOME_FAILED
from clamp3.embedding.encoder import Encoder, Result
from clamp3.errors import ConfigError, DataError, FormatError
from clamp3.formats import Kind
from clamp3.jobs.atomic import sweep, write_bytes, write_text
from clamp3.jobs.batch import LEDGER_NAME, Summary, is_new, report
from clamp3.jobs.ledger import Ledger, Row
from clamp3.jobs.naming import output_names, shared_stems
from clamp3.jobs.progress import progress
from clamp3.jobs.walk import printable, walk
from clamp3.jobs.work_queue import Alone, Crew, crew_from_environment
from clamp3.modalities import modality_of, preprocessing
from clamp3.sources import Source, digest

log = logging.getLogger(__name__)

META_NAME = "features.json"
_DEAF = "+no MERT+"  # in the identity of a model whose MERT is absent: no recording becomes an array


class Maker(Protocol):
    """What makes arrays of files: an `Encoder`, or the features that an encoder takes."""

    dtype: Literal["float32", "bfloat16"]

    @property
    def identity(self) -> str:
        """Name of the weights, with the arithmetic after a colon."""

    def identity_of(self, kind: Kind) -> str:
        """Return the identity of all that makes arrays of inputs of a kind."""

    def stream(
        self, items: Iterable[Source], *, batch_size: int | None, temporal: bool, n_workers: int | None
    ) -> Iterator[Result]:
        """Yield a result per input."""


@dataclass(frozen=True)
class Task:
    """One input and where its array goes, relative to the two folders."""

    input: str
    output: str
    kind: Kind


def run_extract(encoder: Encoder, args: argparse.Namespace) -> int:
    """Extract as `clamp3.cli.add_extract_flags` says, sharing the work of a launch; return the exit code."""
    return run_shared(encoder, args.input_dir, args.output_dir, args, temporal=not args.get_global)


def run_shared(encoder: Maker, input_dir: Path, output_dir: Path, args: argparse.Namespace, **options: Any) -> int:
    """Extract, sharing the work of a launch, print the summary once, and return the exit code.

    Parameters
    ----------
    args : argparse.Namespace
        With ``batch_size``, ``n_workers`` and ``json``, where the script has them.
    **options
        As `extract_folder` takes them.
    """
    crew = crew_from_environment()
    for name in ("batch_size", "n_workers"):
        options[name] = getattr(args, name, None)
    summary = extract_folder(encoder, input_dir, output_dir, crew=crew, **options)
    if crew.rank == 0:
        return report(summary, as_json=args.json)
    return EXIT_SOME_FAILED if summary.failed else EXIT_OK


def extract_folder(
    encoder: Maker,
    input_dir: Path,
    output_dir: Path,
    *,
    temporal: bool = False,
    arrays: str | None = None,
    kinds: Collection[Kind] | None = None,
    batch_size: int | None = None,
    n_workers: int | None = None,
    crew: Crew | None = None,
) -> Summary:
    """Encode every readable file below ``input_dir``.

    Parameters
    ----------
    encoder : Maker
        `Clamp3`, `M3`, or what makes features of recordings (`clamp3.embedding.audio_features`).
    input_dir : Path
        A folder, or a single file.
    output_dir : Path
        Made if absent. ``sub/a.abc`` becomes ``sub/a.npy``; inputs with one stem keep their suffixes.
    temporal : bool
        Hidden states, shape (1, T, D), in place of one vector, shape (1, D).
    arrays : str, optional
        What the outputs are, if they are neither of the two.
    kinds : collection of Kind, optional
        Inputs to take; None takes every kind with a reader.
    batch_size, n_workers
        See `Encoder.stream`.
    crew : Crew, optional
        The processes that share this work; None for this one alone.

    Returns
    -------
    Summary
        Of all processes, on every one of them.

    Raises
    ------
    ConfigError
        If the input folder is missing or holds nothing readable, or the output folder belongs to other weights or
        another kind of array.
    Clamp3Error
        If the ledger cannot be written.
    """
    crew = crew or Alone()
    started = time.monotonic()
    input_dir, output_dir = Path(input_dir), Path(output_dir)
    if output_dir.exists() and not output_dir.is_dir():
        raise ConfigError(f"{printable(output_dir)} is a file; give a folder to write to.")
    if input_dir.resolve() == output_dir.resolve():
        raise ConfigError("the input folder cannot be the output folder too.")
    summary = Summary(ledger=str(output_dir / LEDGER_NAME))
    mode = arrays or ("temporal" if temporal else "global")
    base = input_dir if input_dir.is_dir() else input_dir.parent
    root = str(base.resolve())
    task = f"extract {mode} {encoder.identity} {preprocessing()}"
    with Ledger(output_dir / LEDGER_NAME) as ledger:
        listed = None
        if crew.rank == 0:
            listed = _list_work(input_dir, output_dir, summary, ledger, kinds=kinds, task=task, root=root)
            claim_folder(output_dir, encoder, mode, hears=any(row[2] == Kind.AUDIO for row in listed))
        listed = crew.agree(listed)
        tasks = [Task(row[0], row[1], Kind(row[2])) for row in listed]
        current = {item.output for item in tasks}
        with progress(len(tasks), "encoding", shown=crew.rank == 0) as advance:
            passed = 0
            for piece in crew.claim(len(tasks)):
                advance(piece.start - passed)  # what the other processes took
                job = _Piece(tasks[piece.start : piece.stop], base, output_dir, ledger, current, task=task, root=root)
                since = time.monotonic()
                for result in encoder.stream(
                    job.sources(), batch_size=batch_size, temporal=temporal, n_workers=n_workers
                ):
                    now = time.monotonic()
                    job.finish(result, now - since, summary)
                    since = now
                    advance(1)
                advance(job.n_skipped)
                summary.skipped += job.n_skipped
                passed = piece.stop
    _merge(summary, crew)
    summary.seconds = time.monotonic() - started
    return summary


def claim_folder(output_dir: Path, encoder: Maker, mode: str, *, hears: bool = False) -> None:
    """Write what an output folder's arrays come from, or refuse a folder that has others.

    Parameters
    ----------
    hears : bool
        Whether there are recordings among the inputs: what they are heard through is then noted too.

    Raises
    ------
    ConfigError
        If the folder's ``features.json`` names other weights, arithmetic, conversions or another kind of array.
    """
    wanted = {
        "arrays": mode,
        "weights": encoder.identity.rpartition(":")[0],
        "dtype": encoder.dtype,
        "preprocessing": preprocessing(),
    }
    if hears:
        wanted["recordings"] = encoder.identity_of(Kind.AUDIO)
    found = read_meta(output_dir)
    if found is not None and found.keys() >= {"arrays", "weights"} and not any(output_dir.rglob("*.npy")):
        found = None  # ours, and nothing is mixed where nothing is
    known = wanted if found is None else found
    different = [
        f"{key} {known.get(key)!r}, now {value!r}"
        for key, value in wanted.items()
        if known.get(key) != value and (key != "recordings" or key in known)  # noted with the first recording
    ]
    if different:
        raise ConfigError(
            f"{printable(output_dir)} holds arrays that cannot be mixed with these ({'; '.join(different)}); "
            "give another output folder."
        )
    if found is None or (hears and "recordings" not in found):
        noted = {key: value for key, value in {**known, **wanted}.items() if _DEAF not in value}
        write_text(output_dir / META_NAME, json.dumps(noted, indent=2) + "\n")


def read_meta(folder: Path) -> dict[str, Any] | None:
    """Return what the arrays of a folder come from, None if it does not say.

    Raises
    ------
    ConfigError
        If its ``features.json`` cannot be read.
    """
    path = folder / META_NAME
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):  # a single file is a folder of one
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{printable(path)} cannot be read ({error}); move it away or give another folder.") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{printable(path)} is not a JSON object; move it away or give another folder.")
    return value


def _list_work(
    input_dir: Path,
    output_dir: Path,
    summary: Summary,
    ledger: Ledger,
    *,
    kinds: Collection[Kind] | None,
    task: str,
    root: str,
) -> list[tuple[str, str, str]]:
    """Return (input, output, kind) of every file, largest first within each modality; note what cannot be listed."""
    inside = input_dir.is_dir() and input_dir.resolve() in output_dir.resolve().parents
    found = walk(input_dir, kinds, exclude=[output_dir] if inside else [])
    if not found.files and not found.problems:
        wanted = "file that can be encoded" if kinds is None else f"{' or '.join(kind.value for kind in kinds)} file"
        raise ConfigError(f"{printable(input_dir)} holds no {wanted}.")
    outputs = output_names((file.relative for file in found.files), ".npy")
    summary.ignored, summary.renamed = found.ignored, shared_stems(outputs)
    for problem in found.problems:
        name = problem.relative.as_posix()
        ledger.append(Row(name, "failed", problem.reason, task=task, root=root))
        summary.failed.append((name, problem.reason))
    sweep({(output_dir / output).parent for output in outputs.values()})
    # Large files first: the last pieces of work are small, so the processes end together, and files of like length
    # are encoded in one batch.
    files = sorted(found.files, key=lambda file: (modality_of(file.kind), -_size(file.path), file.relative.as_posix()))
    return [(file.relative.as_posix(), outputs[file.relative].as_posix(), file.kind.value) for file in files]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


class _Piece:
    """Some inputs on their way through the encoder."""

    def __init__(
        self,
        tasks: list[Task],
        input_dir: Path,
        output_dir: Path,
        ledger: Ledger,
        current: Collection[str],
        *,
        task: str,
        root: str,
    ) -> None:
        self.tasks, self.input_dir, self.output_dir, self.ledger = tasks, input_dir, output_dir, ledger
        self.current, self.task, self.root = current, task, root
        self.sent: list[Task] = []
        self.n_skipped = 0

    def sources(self) -> Iterator[Source]:
        """Yield the inputs that are not done yet, in the order of ``sent``."""
        for item in self.tasks:
            path = self.input_dir / item.input
            source = Source(item.kind, item.input, path=path)
            try:
                data, sha256 = source.open()
            except FormatError:
                pass  # the encoder reports it
            else:
                if self._is_done(item, sha256):
                    self.n_skipped += 1
                    continue
                source = replace(source, data=None if source.streamed else data, sha256=sha256)
            self.sent.append(item)
            yield source

    def finish(self, result: Result, seconds: float, summary: Summary) -> None:
        """Write an array and its row."""
        item, error = self.sent[result.index], result.error
        row = Row(item.input, "begun", sha256=result.sha256 or "", task=self.task, root=self.root)
        if result.value is not None:
            try:
                row = self._write(item, result.value, row)
            except (OSError, DataError) as trouble:
                error = (trouble.strerror or str(trouble)) if isinstance(trouble, OSError) else str(trouble)
        row = replace(row, seconds=round(seconds, 4), notes=result.notes)
        if error is None:
            row = replace(row, status="ok")
        else:
            row = replace(row, status="failed", reason=error)
        self._remove_stale(item, row)
        self.ledger.append(row)
        if error is None:
            summary.ok += 1
            summary.notes += [(item.input, note) for note in result.notes]
        else:
            summary.failed.append((item.input, error))

    def _is_done(self, item: Task, sha256: str) -> bool:
        made = self.ledger.maker(item.output)
        return (
            made is not None
            and (made.input, made.task) == (item.input, self.task)
            and made.sha256 == sha256
            and made.output_sha256 == self._present(item.output)
        )

    def _present(self, output: str) -> str:
        try:
            return digest((self.output_dir / output).read_bytes())
        except OSError:
            return ""

    def _write(self, item: Task, value: np.ndarray, row: Row) -> Row:
        """Write an array, its begun row first, and return that row."""
        present = self._present(item.output)
        made = self.ledger.owner(item.output, present)
        if present and made is None:
            raise DataError("its output exists and is not in the ledger; move it away.")
        if present and made is not None and made.root != self.root:
            raise DataError(f"its output was made from {made.root}/{made.input}; give another output folder.")
        stream = io.BytesIO()
        np.save(stream, value if value.ndim == 3 else value[None])  # (1, T, D) or (1, D)
        content = stream.getvalue()
        row = replace(row, output=item.output, output_sha256=hashlib.sha256(content).hexdigest())
        self.ledger.append(row)
        write_bytes(self.output_dir / item.output, content, durable=False)
        return row

    def _remove_stale(self, item: Task, row: Row) -> None:
        """Remove what an earlier run made of this input, if it no longer stands for it and nobody changed it."""
        candidates = {item.output} if row.status == "failed" else set()
        last = self.ledger.output(item.input)
        if last and last not in self.current:
            candidates.add(last)  # its name changed because another input now shares the stem
        for candidate in candidates:
            present = self._present(candidate)
            made = self.ledger.owner(candidate, present)
            if made is None or (made.input, made.root, made.output_sha256) != (item.input, self.root, present):
                continue
            if row.status == "ok" or is_new(row, self.input_dir / item.input, made):
                with contextlib.suppress(OSError):
                    (self.output_dir / candidate).unlink()


def _merge(summary: Summary, crew: Crew) -> None:
    """Add up the summaries of all processes."""
    if crew.size == 1:
        summary.failed.sort()
        summary.notes.sort()
        return
    parts = crew.gather([summary.ok, summary.skipped, summary.failed, summary.notes, summary.ignored, summary.renamed])
    summary.ok, summary.skipped = sum(part[0] for part in parts), sum(part[1] for part in parts)
    summary.failed = sorted((name, reason) for part in parts for name, reason in part[2])
    summary.notes = sorted((name, note) for part in parts for name, note in part[3])
    summary.ignored = parts[0][4]
    summary.renamed = [tuple(group) for group in parts[0][5]]
