"""What every loader shares: where a data set comes from, and finding its files.

Nothing is ever downloaded here: licences differ, and most sets require a form or hold only links to recordings. What is
missing is reported with its path, address and licence.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Generic, TypeVar

from clamp3.errors import ConfigError, distinct_name, printable
from clamp3.jobs.walk import walk
from clamp3.modalities import modality_of
from clamp3.sources import Source


@dataclass(frozen=True)
class Input:
    """Files of a data set.

    Attributes
    ----------
    path : str
        Where they lie in its folder; what varies is in ``<>`` or a ``*``.
    what : str
        What they are.
    others : tuple of str
        Where they may lie instead.
    optional : bool
        Whether every task can be run without them.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     Path(folder, "7.mp3").touch()
    ...     Input("audio/<id>.mp3", others=("<id>.mp3",)).is_in(Path(folder))
    True
    """

    path: str
    what: str = ""
    others: tuple[str, ...] = ()
    optional: bool = False

    def is_in(self, root: Path) -> bool:
        """Return whether a folder has at least one of them."""
        patterns = (re.sub("[*]?<[^<>]*>[*]?", "*", place) for place in (self.path, *self.others))
        return any(True for pattern in patterns for _ in root.glob(pattern))


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
    inputs : tuple of Input
        What must lie in its folder.
    """

    name: str
    title: str
    url: str
    licence: str
    inputs: tuple[Input, ...]

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
        raise ConfigError(f"{printable(root / names[0])} is missing. {self.how_to_get(root)}")

    def missing(self, root: Path) -> list[Input]:
        """Return the inputs of which a folder has no file; optional ones are not missing."""
        return [each for each in self.inputs if not each.optional and not each.is_in(root)]

    def how_to_get(self, root: Path) -> str:
        """Return what a folder lacks, one by one, and where to get the data set."""
        absent = (f"{each.path} ({each.what})" if each.what else each.path for each in self.missing(root))
        lacking = f"The folder lacks {'; '.join(absent)}. " if self.missing(root) else ""
        return f"{lacking}Get {self.title} from {self.url} (licence: {self.licence})."


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
_ID_LENGTH = 11  # of every YouTube id


@dataclass
class OpenBenchmark(Generic[Task]):
    """The tasks that a data set's folder allows, and what is missing in it, in sentences and input by input."""

    dataset: Dataset
    tasks: list[Task] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    missing_inputs: list[str] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """Return what a `clamp3.datasets.report.Report` says of the data set's folder."""
        parts = {"notes": list(self.notes), "missing_inputs": list(self.missing_inputs)}
        return {"benchmark": self.dataset.name, "not_run": list(self.missing), **parts}

    def lack(self, where: str, names: Sequence[str], how_many: str) -> None:
        """Note inputs that are missing: one sentence, and each by name.

        Parameters
        ----------
        where : str
            What both begin with.
        names : sequence of str
            Those missing; none notes nothing.
        how_many : str
            The sentence between that and the first name.
        """
        if names:
            self.missing.append(f"{where}: {len(names)} of {how_many}, first {names[0]}.")
            self.missing_inputs += [f"{where}: {name}" for name in names]


AnyBenchmark = TypeVar("AnyBenchmark", bound=OpenBenchmark)


Readers = Mapping[str, tuple[Dataset, Callable[[AnyBenchmark, Path], None]]]
"""Data sets by name, and what adds the tasks that a folder allows to a benchmark."""


def open_named(
    kind: Callable[[Dataset], AnyBenchmark], readers: Readers[AnyBenchmark], name: str, root: Path
) -> AnyBenchmark:
    """Return a benchmark by name, read from its folder.

    Parameters
    ----------
    kind : callable
        Makes an `OpenBenchmark`, of retrieval or of classification.
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
        raise ConfigError(
            f"{printable(root)}: {' '.join(benchmark.missing)} No task is left. {dataset.how_to_get(root)}"
        )
    return benchmark


def stem(path: PurePosixPath) -> str:
    """Return a file's name up to the last dot: ids of recordings may contain other dots."""
    return path.stem


def without_suffix(path: str | PurePosixPath) -> str:
    """Return a file's path up to the last dot of its name."""
    folder, slash, name = str(path).rpartition("/")
    return f"{folder}{slash}{name.rpartition('.')[0] or name}"


def youtube_key(ids: Collection[str]) -> Callable[[PurePosixPath], str | None]:
    """Return a key for `files_by_key`: the one of some YouTube ids that a downloader wrote into a file's name.

    Parameters
    ----------
    ids : collection of str
        Those wanted.

    Examples
    --------
    >>> key = youtube_key({"dQw4w9WgXcQ"})
    >>> [key(PurePosixPath(name)) for name in ("dQw4w9WgXcQ.wav", "[dQw4w9WgXcQ]-[30-40].wav", "A title.webm")]
    ['dQw4w9WgXcQ', 'dQw4w9WgXcQ', None]
    >>> [key(PurePosixPath(name)) for name in ("A title [dQw4w9WgXcQ].m4a", "A title-dQw4w9WgXcQ.mp4")]
    ['dQw4w9WgXcQ', 'dQw4w9WgXcQ']
    >>> key(PurePosixPath("dQw4w9WgXcQ_30_40.npy"))
    'dQw4w9WgXcQ'
    """
    wanted = frozenset(ids)

    def key(path: PurePosixPath) -> str | None:
        name = path.name.rpartition(".")[0] or path.name
        # Whole name; what is in brackets, as yt-dlp writes it; the id before a clip's seconds; youtube-dl's end.
        places = (name, *reversed(re.findall(r"\[([\w-]+)\]", name)), name[:_ID_LENGTH], name[-_ID_LENGTH:])
        return next((part for part in places if part in wanted), None)

    return key


def plain(text: str) -> str:
    """Return the letters and digits of a title in lower case, by which files and rows are joined.

    >>> plain("Señorita (Don't Go!)")
    'senoritadontgo'
    """
    spread = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in spread if letter.isalnum())


def before_dot(path: PurePosixPath) -> str:
    """Return a file's name up to the first dot: ``1004034.2min.mp3`` is ``1004034``."""
    return path.name.split(".")[0]
