"""Convert a folder: mirrored tree, worker processes, ledger, and only what is missing when run again.

What holds whatever happens is said in `clamp3.jobs.outputs`. With ``--force`` everything is converted again, and files
of unknown origin or of other input folders are overwritten; an input never is.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from clamp3.errors import ConfigError, DataError, describe, printable
from clamp3.formats import SUFFIXES, Converted, Kind, kind_of
from clamp3.jobs.ledger import Row, Status
from clamp3.jobs.limits import allowance, check_output, within
from clamp3.jobs.naming import output_names
from clamp3.jobs.outputs import OutputFolder, OutputPlan
from clamp3.jobs.parallel import Outcome, process_map
from clamp3.jobs.summary import Summary, report
from clamp3.jobs.walk import Found, Walk
from clamp3.sources import Source

Convert = Callable[[bytes, str], "Converted | bytes"]


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
    pieces: bool = True,
    desc: str = "converting",
) -> Summary:
    """Convert every file of the given kinds below ``input_dir`` into the same place below ``output_dir``.

    Of a file that holds several pieces, each is an input: ``jigs.abc#12`` becomes ``jigs/12.abc``.

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
    pieces : bool
        Otherwise a file is one input, whatever it holds, as in the released scripts.

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
    with OutputFolder(Path(output_dir), Path(input_dir), task=task, force=force) as folder:
        found = _inputs(folder, kinds, pieces)
        outputs = output_names((file.relative for file in found.files), suffix)
        if kind_of(f"x{suffix}") in kinds:
            _refuse_overlap(folder, found, outputs)
        folder.summary.ignored = found.ignored
        folder.begin(outputs, found.problems, found.containers)
        files = sorted(found.files, key=lambda file: file.size, reverse=True)  # a long one should not start last
        names = [file.relative.as_posix() for file in files]
        outcomes = process_map(
            functools.partial(_convert_one, convert),
            [_ConversionItem(file, folder.plan(name)) for file, name in zip(files, names, strict=True)],
            n_workers=n_workers,
            timeout_sec=timeout_sec,
            memory_limit_mb=memory_limit_mb,
            desc=desc,
        )
        try:
            for outcome in outcomes:
                folder.record(_row(folder, names[outcome.index], outcome))
        finally:
            outcomes.close()  # ends the workers, some perhaps in the middle of a file
            folder.sweep()
    folder.summary.sort()
    folder.summary.seconds = time.monotonic() - started
    return folder.summary


def add_batch_flags(
    parser: argparse.ArgumentParser, input_dir: str = "", *, ending: str = "", correct: str = ""
) -> argparse.ArgumentParser:
    """Add what all folder conversions share: the two folders and the flags of the job.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Of the script.
    input_dir : str
        What the script has as its ``input_dir``: with it the script runs without arguments, as the first released
        ones did.
    ending : str
        What the name of the output folder then has behind that of the input folder.
    correct : str
        What ``--correct`` mends, where there is such a flag.
    """
    here, to = (
        (Path(input_dir), Path(input_dir).with_name(Path(input_dir).name + ending)) if input_dir else (None, None)
    )
    nargs = "?" if input_dir else None
    parser.add_argument(
        "input_dir", type=Path, nargs=nargs, default=here, help="folder to read, recursively, or a file"
    )
    parser.add_argument(
        "output_dir", type=Path, nargs=nargs, default=to, help="folder to write the same tree to; the ledger lies in it"
    )
    parser.add_argument("--n_workers", type=_positive(int), help="processes (default: one per usable core)")
    parser.add_argument(
        "--timeout_sec", type=_positive(float), default=120.0, help="longest time for one file (default: %(default)s)"
    )
    parser.add_argument(
        "--memory_limit_mb", type=_positive(int), default=4096, help="most memory for one file (default: %(default)s)"
    )
    if correct:
        parser.add_argument("--correct", action="store_true", help=f"mend {correct}; bytes differ from the released")
    parser.add_argument("--force", action="store_true", help="convert again what is done; overwrite unknown files")
    parser.add_argument(
        "--whole_files",
        action="store_true",
        help="one output per file, of a tune book its first tune (default: each piece of a file has its own)",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    return parser


def run_batch(convert: Convert, args: argparse.Namespace, *, kinds: Collection[Kind], suffix: str, task: str) -> int:
    """Convert a folder as the flags of `add_batch_flags` say, print the summary, return the exit code.

    Parameters
    ----------
    convert, kinds, suffix, task
        See `convert_folder`.
    args : argparse.Namespace
        Parsed flags. With ``--correct`` the conversion is called with ``correct=True`` and is another task.
    """
    if getattr(args, "correct", False):
        convert, task = functools.partial(convert, **{"correct": True}), f"{task} correct"
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
        pieces=not args.whole_files,
    )
    return report(summary, as_json=args.json)


@dataclass(frozen=True)
class _ConversionItem:
    """All that a worker needs for one input."""

    found: Found
    plan: OutputPlan


@dataclass(frozen=True)
class _Conversion:
    """What became of a file in its worker."""

    status: Status
    reason: str = ""
    sha256: str = ""
    output_sha256: str = ""
    notes: tuple[str, ...] = ()


def _inputs(folder: OutputFolder, kinds: Collection[Kind], pieces: bool) -> Walk:
    input_dir, found = folder.input_dir, folder.walk(kinds, pieces=pieces)
    if found.files or found.problems:
        if input_dir.is_file() and not folder.path.exists() and kind_of(folder.path.name) is not None:
            raise ConfigError(f"{printable(folder.path)} is written like a file; give a folder to write to.")
        return found
    wanted = ", ".join(suffix for suffix, kind in SUFFIXES.items() if kind in kinds)
    if not found.ignored:
        raise ConfigError(f"{printable(input_dir)} is empty; it should hold files of these types: {wanted}.")
    others = sorted({PurePosixPath(name).suffix.lower() or "none" for name in found.ignored})
    raise DataError(
        f"{printable(input_dir)} holds no file of the types looked for ({wanted}); it has {len(found.ignored)} "
        f"of other types ({printable(', '.join(others[:10]))})."
    )


def _refuse_overlap(folder: OutputFolder, found: Walk, outputs: Mapping[PurePosixPath, PurePosixPath]) -> None:
    base, target = (place.resolve().as_posix().rstrip("/") for place in (folder.base, folder.path))
    sources = {f"{base}/{source}".casefold() for source in [*outputs, *found.containers]}
    for output in outputs.values():
        if f"{target}/{output}".casefold() in sources:
            raise ConfigError(
                f"the output {printable(output)} would replace an input of that name; give another output folder."
            )


def _convert_one(convert: Convert, item: _ConversionItem) -> _Conversion:
    """Read, convert and write one file; runs in a worker."""
    from clamp3.formats.guards import unpacked_size

    sha256, found = "", item.found
    try:
        data = Source(found.kind, found.relative.name, path=found.path, piece=found.piece).read()
        sha256 = hashlib.sha256(data).hexdigest()
        if item.plan.is_done(sha256):
            return _Conversion("skipped")
        item.plan.refuse_foreign(sha256)
        made = within(allowance(data, found.kind), functools.partial(convert, data, found.relative.name))
        content, notes = (made.text.encode("utf-8"), made.notes) if isinstance(made, Converted) else (made, ())
        if not content:
            raise DataError("the conversion gave nothing")
        check_output(len(content), unpacked_size(data))
        try:
            output_sha256 = item.plan.write(sha256, content)
        except OSError as error:
            raise DataError(f"the output cannot be written: {describe(error)}") from None
        return _Conversion("ok", "", sha256, output_sha256, notes)
    except MemoryError:
        raise  # the pool tries again in a fresh process
    except Exception as error:
        return _Conversion("failed", describe(error), sha256)


def _row(folder: OutputFolder, name: str, outcome: Outcome[_Conversion]) -> Row:
    result = outcome.value or _Conversion("failed", outcome.error or "no result")
    output = folder.outputs[name] if result.status == "ok" else ""
    return folder.row(name, **vars(result), output=output, seconds=round(outcome.seconds, 4))


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
