"""Encode a folder into a folder of ``.npy`` files: shared by processes, resumable, one vector or one reason per input.

``features.json`` in the output folder states which weights, arithmetic and conversions its arrays come from; others
are refused (`clamp3.jobs.manifest`). What holds for every output, however the run ends, is in `clamp3.jobs.outputs`.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from clamp3.embedding.encoder import Encoder, Result
from clamp3.errors import EXIT_OK, EXIT_SOME_FAILED, ConfigError, DataError, FormatError, printable
from clamp3.formats import Kind
from clamp3.formats.pieces import SIGN, Piece
from clamp3.jobs.manifest import Maker, claim_folder
from clamp3.jobs.naming import output_names
from clamp3.jobs.outputs import OutputFolder
from clamp3.jobs.progress import progress
from clamp3.jobs.summary import Summary, report
from clamp3.jobs.work_queue import SingleProcess, WorkQueue, work_queue_from_environment
from clamp3.modalities import modality_of
from clamp3.sources import Source


class Extractor(Maker, Protocol):
    """What turns files into arrays: an `Encoder`, or what makes the features that an encoder takes."""

    def stream(
        self, items: Iterable[Source], *, batch_size: int | None, temporal: bool, n_workers: int | None
    ) -> Iterator[Result]:
        """Yield a result per input.

        Parameters
        ----------
        items : iterable of Source
            Taken as they are needed.
        batch_size, temporal, n_workers
            See `Encoder.stream`.
        """


def run_extract(encoder: Encoder, args: argparse.Namespace) -> int:
    """Extract with the flags of `clamp3.cli.add_extract_flags`, sharing the work of a launch; return the exit code.

    Parameters
    ----------
    encoder : Encoder
        `Clamp3` or `M3`.
    args : argparse.Namespace
        Parsed flags.
    """
    return run_shared(encoder, args.input_dir, args.output_dir, args, temporal=not args.get_global)


def run_shared(encoder: Extractor, input_dir: Path, output_dir: Path, args: argparse.Namespace, **options: Any) -> int:
    """Extract, sharing the work of a launch, print the summary once, and return the exit code.

    Parameters
    ----------
    encoder, input_dir, output_dir
        See `extract_folder`.
    args : argparse.Namespace
        With ``batch_size``, ``n_workers`` and ``json``, where the script has them.
    **options
        As `extract_folder` takes them.
    """
    queue = work_queue_from_environment()
    for name in ("batch_size", "n_workers"):
        options[name] = getattr(args, name, None)
    summary = extract_folder(encoder, input_dir, output_dir, queue=queue, **options)
    if queue.rank == 0:
        return report(summary, as_json=args.json)
    return EXIT_SOME_FAILED if summary.failed else EXIT_OK


def extract_folder(
    encoder: Extractor,
    input_dir: Path,
    output_dir: Path,
    *,
    temporal: bool = False,
    arrays: str | None = None,
    kinds: Collection[Kind] | None = None,
    batch_size: int | None = None,
    n_workers: int | None = None,
    queue: WorkQueue | None = None,
) -> Summary:
    """Encode every readable file below ``input_dir``, and every piece of a file that holds several.

    An encoder that takes ABC as it is takes files as they are too: a tune book is one input, and archives are ignored.

    Parameters
    ----------
    encoder : Extractor
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
    queue : WorkQueue, optional
        Shared with the other processes of a launch; None for this process alone.

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
    queue = queue or SingleProcess()
    started = time.monotonic()
    input_dir, output_dir = Path(input_dir), Path(output_dir)
    mode = arrays or ("temporal" if temporal else "global")
    task = f"extract {mode} {encoder.identity} {encoder.preprocessing}"
    with OutputFolder(output_dir, input_dir, task=task, shared=queue.rank > 0) as folder:
        if input_dir.resolve() == output_dir.resolve():
            raise ConfigError("the input folder cannot be the output folder too.")
        listed = None
        if queue.rank == 0:
            listed = _list_work(folder, kinds, pieces=not getattr(encoder, "as_is", False))
            if isinstance(encoder, Encoder):
                encoder.confirm()
            claim_folder(output_dir, encoder, mode, recordings=any(kind == Kind.AUDIO for _, _, kind, _ in listed))
        listed = queue.agree(listed)
        folder.assign({input: output for input, output, _, _ in listed})
        items = [(input, Kind(kind), piece) for input, _, kind, piece in listed]
        with progress(len(items), "encoding", shown=queue.rank == 0) as advance:
            position = 0
            for piece in queue.claim(len(items)):
                advance(piece.start - position)  # what the other processes took
                share = _Share(items[piece.start : piece.stop], folder)
                since = time.monotonic()
                for result in encoder.stream(
                    share.sources(), batch_size=batch_size, temporal=temporal, n_workers=n_workers
                ):
                    now = time.monotonic()
                    share.finish(result, now - since)
                    since = now
                    advance(1)
                advance(len(piece) - len(share.sent))
                position = piece.stop
    summary = _merged(folder.summary, queue)
    summary.seconds = time.monotonic() - started
    return summary


def _list_work(
    folder: OutputFolder, kinds: Collection[Kind] | None, *, pieces: bool
) -> list[tuple[str, str, str, str]]:
    """Return input, output, kind and piece of all inputs, largest first by modality; record what cannot be listed."""
    found = folder.walk(kinds, pieces=pieces)
    if not found.files and not found.problems:
        wanted = "file that can be encoded" if kinds is None else f"{' or '.join(kind.value for kind in kinds)} file"
        raise ConfigError(f"{printable(folder.input_dir)} holds no {wanted}.")
    folder.summary.ignored = found.ignored
    folder.begin(output_names((file.relative for file in found.files), ".npy"), found.problems, found.containers)
    # Large files first: the last shares of work are small, so that the processes end together, and files of similar
    # length are encoded in one batch.
    files = sorted(found.files, key=lambda file: (modality_of(file.kind), -file.size, file.relative.as_posix()))
    named = ((file.relative.as_posix(), file) for file in files)
    return [
        (name, folder.outputs[name], file.kind.value, file.piece.to_json() if file.piece else "")
        for name, file in named
    ]


class _Share:
    """Some inputs, by path, kind and piece, on their way through the encoder."""

    def __init__(self, items: list[tuple[str, Kind, str]], folder: OutputFolder) -> None:
        self.items, self.folder = items, folder
        self.sent: list[str] = []

    def sources(self) -> Iterator[Source]:
        """Yield the inputs that are not done yet, in the order of ``sent``."""
        for name, kind, piece in self.items:
            source = Source(kind, name, path=self.folder.base / name)
            if piece:
                part = Piece.from_json(piece)
                source = replace(source, path=self.folder.base / name.removesuffix(f"{SIGN}{part.name}"), piece=part)
            try:
                data, sha256 = source.open()
            except FormatError as error:
                if source.piece is not None:
                    self.folder.record(self.folder.row(name, "failed", reason=str(error)))
                    continue  # of a file, the encoder reports it
            else:
                if self.folder.is_done(name, sha256):
                    self.folder.record(self.folder.row(name, "skipped"))
                    continue
                keep = source.kind != Kind.AUDIO  # recordings are read again where they are used
                source = replace(source, data=data if keep else None, sha256=sha256)
            self.sent.append(name)
            yield source

    def finish(self, result: Result, seconds: float) -> None:
        """Write an array and its row."""
        row = self.folder.row(self.sent[result.index], "ok", sha256=result.sha256 or "")
        error = result.error
        if result.value is not None:
            stream = io.BytesIO()
            np.save(stream, result.value if result.value.ndim == 3 else result.value[None])  # (1, T, D) or (1, D)
            try:
                row = self.folder.write(row, stream.getvalue())
            except (OSError, DataError) as trouble:
                error = (trouble.strerror or str(trouble)) if isinstance(trouble, OSError) else str(trouble)
        if error is not None:
            row = replace(row, status="failed", reason=error)
        self.folder.record(replace(row, seconds=round(seconds, 4), notes=result.notes))


def _merged(summary: Summary, queue: WorkQueue) -> Summary:
    """Return the sum of the summaries of all processes."""
    if queue.size > 1:
        parts = [Summary(**part) for part in queue.gather(vars(summary))]
        summary = replace(parts[0], ok=sum(part.ok for part in parts), skipped=sum(part.skipped for part in parts))
        summary.failed = [(name, reason) for part in parts for name, reason in part.failed]
        summary.notes = [(name, note) for part in parts for name, note in part.notes]
        summary.renamed = [tuple(group) for group in summary.renamed]
    summary.sort()
    return summary
