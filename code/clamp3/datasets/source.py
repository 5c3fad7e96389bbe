"""What every loader shares: where a data set comes from, finding its files, and reading its tables.

Nothing is ever downloaded here: licences differ, and most sets require a form or hold only links to recordings. What is
missing is reported with its path, address and licence.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeVar

from clamp3.errors import ConfigError, DataError, FormatError
from clamp3.jobs.walk import printable, walk
from clamp3.modalities import modality_of
from clamp3.sources import Source


@dataclass(frozen=True)
class Dataset:
    """Facts of a data set.

    Attributes
    ----------
    name : str
        What commands call it.
    title : str
        What people call it.
    url : str
        Where to get it.
    licence : str
        As the distributor states it.
    layout : str
        What must lie in its folder; a line per file.
    """

    name: str
    title: str
    url: str
    licence: str
    layout: str

    def need(self, root: Path, *names: str) -> Path:
        """Return the first of several files or folders that exists.

        Parameters
        ----------
        root : Path
            The data set's folder.
        *names : str
            Paths in it.

        Raises
        ------
        ConfigError
            If none exists; the message tells what is missing, where to get it and under which licence.
        """
        for name in names:
            if (root / name).exists():
                return root / name
        raise ConfigError(f"{printable(root / names[0])} is missing. {self.how_to_get()}")

    def how_to_get(self) -> str:
        """Return where to get the data set, and how its folder must be laid out."""
        layout = "\n".join(f"  {line}" for line in self.layout.splitlines())
        return f"Get {self.title} from {self.url} (licence: {self.licence}) and lay it out as\n{layout}"


def read_jsonl(path: Path, *required: str) -> list[dict[str, Any]]:
    """Return the objects of a JSON Lines file, or of a file with one JSON array of objects; see `each_jsonl`."""
    return list(each_jsonl(path, *required))


def each_jsonl(path: Path, *required: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON Lines file one by one, or those of a file with one JSON array of objects.

    Parameters
    ----------
    path : Path
    required : str
        Fields every object must have.

    Raises
    ------
    FormatError
        If the file cannot be read; the message has the row's number.
    DataError
        If it has no row.
    """
    n_rows = 0
    with _reading(path) as stream:
        array = stream.read(64).lstrip()[:1] == "["
        stream.seek(0)
        for number, row in enumerate(_parsed(stream.read(), str(path)) if array else stream, start=1):
            if not array:
                if not row.strip():
                    continue
                row = _parsed(row, f"{path}:{number}")
            _check(row, required, f"{printable(path)}:{number}")
            n_rows += 1
            yield row
    if not n_rows:
        raise DataError(f"{printable(path)} holds no rows.")


def read_csv(path: Path, *required: str, delimiter: str = ",") -> list[dict[str, str]]:
    """Return the rows of a table with a header line, by column name.

    Parameters
    ----------
    path : Path
    required : str
        Columns that must be there.
    delimiter : str
        Of the fields; a tab for ``.tsv``.

    Raises
    ------
    FormatError
        If the file cannot be read or lacks a column.
    """
    with _reading(path) as stream:
        try:
            rows = list(csv.DictReader(stream, delimiter=delimiter))
        except csv.Error as error:
            raise FormatError(f"{printable(path)} is no table ({error}).") from None
    if not rows:
        raise DataError(f"{printable(path)} holds no rows.")
    for number, row in enumerate(rows, start=2):
        _check(
            {name: value for name, value in row.items() if value is not None}, required, f"{printable(path)}:{number}"
        )
    return rows


def files_by_key(
    folder: Path, key: Callable[[PurePosixPath], str | None], modality: str | None = None
) -> dict[str, Source]:
    """Return the readable files of a folder by keys in their names; of several with one key, the first by path.

    Parameters
    ----------
    folder : Path
        Searched recursively; one that does not exist has no files.
    key : callable
        From a relative path to the file's key, None for files without one.
    modality : {"text", "symbolic", "audio"}, optional
        Only files of this modality.
    """
    found: dict[str, Source] = {}
    for file in walk(folder).files if folder.is_dir() else ():
        if modality is not None and modality_of(file.kind) != modality:
            continue
        name = key(file.relative)
        if name is not None:
            found.setdefault(name, Source(file.kind, printable(file.relative), path=file.path))
    return found


class Opened(Protocol):
    """What benchmarks of retrieval and classification have in common."""

    dataset: Dataset
    tasks: list[Any]
    missing: list[str]


AnyBenchmark = TypeVar("AnyBenchmark", bound=Opened)


def open_named(benchmarks: Mapping[str, Callable[[Path], AnyBenchmark]], name: str, root: Path) -> AnyBenchmark:
    """Return a benchmark by name, read from its folder.

    Parameters
    ----------
    benchmarks : mapping from str to callable
        What reads them.
    name : str
        One of them.
    root : Path
        The data set's folder.

    Raises
    ------
    ConfigError
        If the name is unknown, or what every task needs is missing.
    """
    if name not in benchmarks:
        raise ConfigError(f"there is no benchmark {name!r}; choose one of {', '.join(benchmarks)}.")
    benchmark = benchmarks[name](root)
    if not benchmark.tasks:
        raise ConfigError(f"{' '.join(benchmark.missing)} No task is left. {benchmark.dataset.how_to_get()}")
    return benchmark


def stem(path: PurePosixPath) -> str:
    """Return a file's name up to the last dot: ids of recordings may contain other dots."""
    return path.stem


def before_dot(path: PurePosixPath) -> str:
    """Return a file's name up to the first dot: ``1004034.2min.mp3`` is ``1004034``."""
    return path.name.split(".")[0]


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[io.TextIOBase]:
    """Open a table; what is wrong with it as a file ends as an error of the project."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            yield stream
    except OSError as error:
        raise FormatError(f"{printable(path)} cannot be read ({error.strerror or error}).") from None
    except UnicodeDecodeError as error:
        raise FormatError(f"{printable(path)} is not UTF-8 ({error.reason}).") from None


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise FormatError(f"{printable(place)} is not JSON ({error}).") from None


def _check(row: Any, required: tuple[str, ...], place: str) -> None:
    if not isinstance(row, dict):
        raise FormatError(f"{place} is no record with named fields.")
    lacking = [name for name in required if name not in row]
    if lacking:
        raise FormatError(f"{place} lacks {', '.join(lacking)}; it has {', '.join(map(str, row))}.")
