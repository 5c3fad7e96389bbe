"""What every loader shares: where a data set comes from, and finding its files.

Nothing is ever downloaded here: licences differ, and most sets require a form or hold only links to recordings. What is
missing is reported with its path, address and licence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Generic, TypeVar

from clamp3.errors import ConfigError, distinct_name, printable
from clamp3.jobs.walk import walk
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
    for file in walk(folder, pieces=False).files if folder.is_dir() else ():
        if modality is not None and modality_of(file.kind) != modality:
            continue
        name = key(file.relative)
        if name is not None:
            found.setdefault(name, Source(file.kind, distinct_name(file.relative), path=file.path))
    return found


Task = TypeVar("Task")


@dataclass
class OpenBenchmark(Generic[Task]):
    """The tasks that a data set's folder allows, and what is missing in it."""

    dataset: Dataset
    tasks: list[Task] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


AnyBenchmark = TypeVar("AnyBenchmark", bound=OpenBenchmark)


Readers = Mapping[str, tuple[Dataset, Callable[[AnyBenchmark, Path], None]]]
"""Data sets by name, and what adds the tasks that a folder allows to a benchmark."""


def open_named(kind: type[AnyBenchmark], readers: Readers[AnyBenchmark], name: str, root: Path) -> AnyBenchmark:
    """Return a benchmark by name, read from its folder.

    Parameters
    ----------
    kind : type of OpenBenchmark
        Of retrieval or of classification.
    readers : Readers
    name : str
        One of them.
    root : Path
        The data set's folder.

    Raises
    ------
    ConfigError
        If the name is unknown, or what every task needs is missing.
    """
    if name not in readers:
        raise ConfigError(f"there is no benchmark {name!r}; choose one of {', '.join(readers)}.")
    dataset, add_tasks = readers[name]
    benchmark = kind(dataset)
    add_tasks(benchmark, root)
    if not benchmark.tasks:
        raise ConfigError(f"{' '.join(benchmark.missing)} No task is left. {dataset.how_to_get()}")
    return benchmark


def stem(path: PurePosixPath) -> str:
    """Return a file's name up to the last dot: ids of recordings may contain other dots."""
    return path.stem


def without_suffix(path: str | PurePosixPath) -> str:
    """Return a file's path up to the last dot of its name."""
    folder, slash, name = str(path).rpartition("/")
    return f"{folder}{slash}{name.rpartition('.')[0] or name}"


def before_dot(path: PurePosixPath) -> str:
    """Return a file's name up to the first dot: ``1004034.2min.mp3`` is ``1004034``."""
    return path.name.split(".")[0]
