"""Convert a folder: mirrored tree, worker processes, ledger, and only what is missing when run again.

What holds whatever happens, ``kill -9`` included:

- an output is whole or absent, and every input ends as an output or as a named reason in the ledger;
- an output is trusted by a re-run only if the ledger knows its SHA-256 and that of its input. Outputs are therefore
  renamed into place without waiting for the disk: a file torn by a power cut is found by its hash and made again;
- a file that the ledger does not know is never overwritten with other content, nor is an input;
- an output made from content that an input no longer has goes when the new content fails; no other failure takes it.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

from clamp3.cli import EXIT_OK, EXIT_SOME_FAILED
from clamp3.errors import ConfigError, DataError
from clamp3.formats import SUFFIXES, Converted, Kind, kind_of
from clamp3.jobs.atomic import sweep, write_bytes
from clamp3.jobs.ledger import Ledger, Row, Status
from clamp3.jobs.naming import output_names, shared_stems
from clamp3.jobs.parallel import Outcome, describe, process_map
from clamp3.jobs.walk import Found, Walk, printable, walk

LEDGER_NAME = "ledger.jsonl"
SHOWN = 20  # failures that a summary lists; the ledger has them all

Convert = Callable[[bytes, str], "Converted | bytes"]


@dataclass
class Summary:
    """What a batch job did.

    Attributes
    ----------
    ok, skipped : int
        Inputs converted now, and those already done.
    failed : list of (input, reason)
        Unreadable folders included.
    ignored : list of str
        Files of other types.
    renamed : list of tuples
        Groups of inputs with one stem, each kept under a name of its own.
    notes : list of (input, note)
        What a user should know about files converted now.
    """

    ledger: str
    ok: int = 0
    skipped: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    renamed: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0


def convert_folder(
    convert: Convert,
    input_dir: Path,
    output_dir: Path,
    *,
    kinds: Collection[Kind],
    suffix: str,
    task: str,
    n_workers: int | None = None,
    timeout_sec: float = 120.0,
    memory_limit_mb: int | None = 4096,
    force: bool = False,
    desc: str = "converting",
) -> Summary:
    """Convert every file of the given kinds below ``input_dir`` into the same place below ``output_dir``.

    Parameters
    ----------
    convert : callable
        ``(content, file name) -> Converted | bytes``; picklable (module-level, or a ``functools.partial``). It raises
        `FormatError` for what it cannot convert; any other end is caught too.
    input_dir : Path
        A folder, or a single file. May contain ``output_dir``, which is then not read.
    output_dir : Path
        Made if absent; the ledger lies in it.
    kinds : collection of Kind
        What to convert; files of other kinds are counted as ignored.
    suffix : str
        Of the outputs, with its dot.
    task : str
        Identity of conversion and options: outputs of another task are made anew.
    n_workers, timeout_sec, memory_limit_mb, desc
        See `clamp3.jobs.parallel.process_map`.
    force : bool
        Convert also what is done, and overwrite files of unknown origin.

    Raises
    ------
    ConfigError
        If the input folder is missing, unreadable or empty, or an output would replace an input.
    DataError
        If the input folder has files but none of these kinds.
    Clamp3Error
        If the ledger cannot be written.
    """
    started = time.monotonic()
    input_dir, output_dir = Path(input_dir), Path(output_dir)
    found = _inputs(input_dir, output_dir, kinds)
    if input_dir.is_file() and not output_dir.exists() and kind_of(output_dir.name) is not None:
        raise ConfigError(f"{printable(output_dir)} is written like a file; give a folder to write to.")
    outputs = output_names((file.relative for file in found.files), suffix)
    if kind_of(f"x{suffix}") in kinds:
        _refuse_overlap(input_dir, outputs, output_dir)
    root = str((input_dir if input_dir.is_dir() else input_dir.parent).resolve())
    summary = Summary(ledger=str(output_dir / LEDGER_NAME), ignored=found.ignored, renamed=shared_stems(outputs))
    with Ledger(output_dir / LEDGER_NAME) as ledger:
        for problem in found.problems:
            name = problem.relative.as_posix()
            ledger.append(Row(name, "failed", problem.reason, task=task, root=root))
            summary.failed.append((name, problem.reason))
        files = sorted(found.files, key=_size, reverse=True)  # a long one that starts last would keep all waiting
        jobs = [_job(file, outputs[file.relative], output_dir, ledger, task, root, force) for file in files]
        folders = {output_dir / folder for folder in {output.parent for output in outputs.values()}}
        sweep(folders)
        outcomes = process_map(
            functools.partial(_convert_one, convert),
            jobs,
            n_workers=n_workers,
            timeout_sec=timeout_sec,
            memory_limit_mb=memory_limit_mb,
            desc=desc,
        )
        current = set(outputs.values())
        try:
            for outcome in outcomes:
                file = files[outcome.index]
                row = _row(file, outputs[file.relative], outcome, task, root)
                if row.status == "skipped":
                    summary.skipped += 1
                    continue
                _drop_stale(row, file, ledger, output_dir, outputs[file.relative], current)
                ledger.append(row)
                if row.status == "failed":
                    summary.failed.append((row.input, row.reason))
                else:
                    summary.ok += 1
                    summary.notes += [(row.input, note) for note in row.notes]
        finally:
            outcomes.close()  # ends the workers, some perhaps in the middle of a file
            sweep(folders)
    summary.failed.sort()
    summary.notes.sort()
    summary.seconds = time.monotonic() - started
    return summary


def report(summary: Summary, *, as_json: bool = False) -> int:
    """Print a summary on stdout and return the exit code: 0 all done, 1 some inputs failed."""
    if as_json:
        facts = asdict(summary)
        facts["failed"] = [{"input": name, "reason": reason} for name, reason in summary.failed]
        facts["notes"] = [{"input": name, "note": note} for name, note in summary.notes]
        facts["seconds"] = round(summary.seconds, 3)
        print(json.dumps(facts, ensure_ascii=True))
    else:
        for line in _lines(summary):
            print(printable(line, sys.stdout.encoding))
    return EXIT_SOME_FAILED if summary.failed else EXIT_OK


def add_batch_flags(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add what all folder conversions share: the two folders and the flags of the job."""
    parser.add_argument("input_dir", type=Path, help="folder to read, recursively, or a single file")
    parser.add_argument("output_dir", type=Path, help="folder to write the same tree to; the ledger lies in it")
    parser.add_argument("--n_workers", type=_positive(int), help="processes (default: one per usable core)")
    parser.add_argument(
        "--timeout_sec", type=_positive(float), default=120.0, help="longest time for one file (default: %(default)s)"
    )
    parser.add_argument(
        "--memory_limit_mb", type=_positive(int), default=4096, help="most memory for one file (default: %(default)s)"
    )
    parser.add_argument("--force", action="store_true", help="convert again what is done; overwrite unknown files")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    return parser


def run_batch(convert: Convert, args: argparse.Namespace, *, kinds: Collection[Kind], suffix: str, task: str) -> int:
    """Convert a folder as the flags of `add_batch_flags` say, print the summary, return the exit code."""
    summary = convert_folder(
        convert,
        args.input_dir,
        args.output_dir,
        kinds=kinds,
        suffix=suffix,
        task=task,
        n_workers=args.n_workers,
        timeout_sec=args.timeout_sec,
        memory_limit_mb=args.memory_limit_mb,
        force=args.force,
    )
    return report(summary, as_json=args.json)


@dataclass(frozen=True)
class _Job:
    """All that a worker needs for one file. ``sha256`` and ``output_sha256`` are of the last time, or empty."""

    path: str
    output: str
    sha256: str
    output_sha256: str
    may_replace: bool
    taken_by: str


@dataclass(frozen=True)
class _Result:
    status: Status
    reason: str = ""
    sha256: str = ""
    output_sha256: str = ""
    notes: tuple[str, ...] = ()


def _inputs(input_dir: Path, output_dir: Path, kinds: Collection[Kind]) -> Walk:
    if output_dir.exists() and not output_dir.is_dir():
        raise ConfigError(f"{printable(output_dir)} is a file; give a folder to write to.")
    inside = input_dir.is_dir() and input_dir.resolve() in output_dir.resolve().parents
    found = walk(input_dir, kinds, exclude=[output_dir] if inside else [])
    if found.files or found.problems:
        return found
    wanted = ", ".join(suffix for suffix, kind in SUFFIXES.items() if kind in kinds)
    if not found.ignored:
        raise ConfigError(f"{printable(input_dir)} is empty; it should hold files of these types: {wanted}.")
    others = sorted({PurePosixPath(name).suffix.lower() or "none" for name in found.ignored})
    raise DataError(
        f"{printable(input_dir)} holds no file of the types looked for ({wanted}); it has {len(found.ignored)} "
        f"of other types ({printable(', '.join(others[:10]))})."
    )


def _refuse_overlap(input_dir: Path, outputs: dict[PurePosixPath, PurePosixPath], output_dir: Path) -> None:
    folders = (input_dir if input_dir.is_dir() else input_dir.parent, output_dir)
    base, target = (folder.resolve().as_posix().rstrip("/") for folder in folders)
    sources = {f"{base}/{source}".casefold() for source in outputs}
    for output in outputs.values():
        if f"{target}/{output}".casefold() in sources:
            raise ConfigError(
                f"the output {printable(output)} would replace an input of that name; give another output folder."
            )


def _job(
    file: Found, output: PurePosixPath, output_dir: Path, ledger: Ledger, task: str, root: str, force: bool
) -> _Job:
    made = ledger.maker(output.as_posix())
    known = made is not None and made.input == file.relative.as_posix() and made.task == task and not force
    # Earlier versions called a single file its own root.
    foreign = made is not None and made.root not in (root, str(file.path.resolve())) and not force
    return _Job(
        path=str(file.path),
        output=os.path.join(output_dir, output),
        sha256=made.sha256 if made and known else "",
        output_sha256=made.output_sha256 if made and known else "",
        may_replace=force or made is not None,
        taken_by=f"{made.root}/{made.input}" if made and foreign else "",
    )


def _convert_one(convert: Convert, job: _Job) -> _Result:
    """Read, convert and write one file; runs in a worker."""
    from clamp3.formats.guards import read_file

    sha256 = ""
    try:
        path, output = Path(job.path), Path(job.output)
        data = read_file(path)
        sha256 = hashlib.sha256(data).hexdigest()
        present = _sha256_of(output)
        if sha256 == job.sha256 and present == job.output_sha256:
            return _Result("skipped")
        if present and job.taken_by and sha256 != job.sha256:
            raise DataError(f"its output was made from {job.taken_by}; give another output folder, or --force")
        made = convert(data, path.name)
        content, notes = (made.text.encode("utf-8"), made.notes) if isinstance(made, Converted) else (made, ())
        if not content:
            raise DataError("the conversion gave nothing")
        output_sha256 = hashlib.sha256(content).hexdigest()
        if present and present != output_sha256 and not job.may_replace:
            raise DataError("its output exists with other content and is not in the ledger; move it away, or --force")
        if present != output_sha256:
            try:
                write_bytes(output, content, durable=False)
            except OSError as error:
                raise DataError(f"the output cannot be written: {describe(error)}") from None
        return _Result("ok", "", sha256, output_sha256, notes)
    except MemoryError:
        raise  # the pool tries again in a fresh process
    except Exception as error:
        return _Result("failed", describe(error), sha256)


def _size(file: Found) -> int:
    try:
        return os.stat(file.path).st_size
    except OSError:
        return 0  # its worker will say why


def _sha256_of(path: Path) -> str:
    """Return the hash of a file's content, or an empty string if there is none."""
    content = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            while block := stream.read(1 << 20):
                content.update(block)
    except FileNotFoundError:
        return ""
    return content.hexdigest()


def is_new(row: Row, path: Path, made: Row) -> bool:
    """Whether the input at ``path``, which failed with ``row``, can be read and is not what ``made`` was made from."""
    sha256 = row.sha256
    if not sha256:  # it ended its worker, is empty, or cannot be read
        with suppress(OSError):
            sha256 = _sha256_of(path)
    return sha256 not in ("", made.sha256)


def _row(file: Found, output: PurePosixPath, outcome: Outcome[_Result], task: str, root: str) -> Row:
    result = outcome.value or _Result("failed", outcome.error or "no result")
    return Row(
        input=file.relative.as_posix(),
        status=result.status,
        reason=result.reason,
        output=output.as_posix() if result.status == "ok" else "",
        seconds=round(outcome.seconds, 4),
        sha256=result.sha256,
        output_sha256=result.output_sha256,
        task=task,
        root=root,
        notes=result.notes,
    )


def _drop_stale(
    row: Row, file: Found, ledger: Ledger, output_dir: Path, output: PurePosixPath, current: set[PurePosixPath]
) -> None:
    """Remove what an earlier run made of this input, if it no longer stands for it and nobody changed it."""
    candidates = {output} if row.status == "failed" else set()
    last = ledger.output(row.input)
    if last and PurePosixPath(last) not in current:
        candidates.add(PurePosixPath(last))  # its name changed because another input now shares the stem
    for candidate in candidates:
        made = ledger.maker(candidate.as_posix())
        if made is None or made.input != row.input or made.root != row.root:
            continue
        if row.status == "failed" and not is_new(row, file.path, made):
            continue
        with suppress(OSError):
            if _sha256_of(output_dir / candidate) == made.output_sha256:
                (output_dir / candidate).unlink()


def _lines(summary: Summary) -> list[str]:
    lines = [
        f"{summary.ok} converted, {summary.skipped} already done, {len(summary.failed)} failed, "
        f"{len(summary.ignored)} of other types ignored, in {summary.seconds:.1f} s; ledger: {summary.ledger}"
    ]
    for group in summary.renamed[:SHOWN]:
        lines.append(f"  one stem, kept under distinct names: {', '.join(group)}")
    if len(summary.renamed) > SHOWN:
        lines.append(f"  ... and {len(summary.renamed) - SHOWN} more such groups")
    if summary.notes:
        files = len({name for name, _ in summary.notes})
        lines.append(f"  {files} converted with notes (see the ledger)")
    lines += [f"  failed: {name}: {reason}" for name, reason in summary.failed[:SHOWN]]
    if len(summary.failed) > SHOWN:
        lines.append(f"  ... and {len(summary.failed) - SHOWN} more, see the ledger")
    return lines


def _positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
        if not value > 0:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    return parse
