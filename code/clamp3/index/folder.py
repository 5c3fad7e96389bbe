"""The folder of an index: which store, which model, which folders of music; made, found, and replaced as a whole.

``index.json`` names the folder with the data. A new model gets a folder of its own beside it, and the name changes when
that is complete.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clamp3.errors import ConfigError, DataError, FormatError, printable
from clamp3.formats.tables import json_text, read_json
from clamp3.index.store import Store
from clamp3.jobs.atomic import write_text

if TYPE_CHECKING:
    from clamp3.embedding.passages import PassagePlan

INDEX_NAME = ".clamp3_index"  # of an index inside the folder that it is about; hidden, so that no walk enters it
POINTER, META = "index.json", "meta.json"
VERSION = 1


def _sqlite(folder: Path) -> Store:
    from clamp3.index.sqlite_store import SqliteStore

    return SqliteStore(folder)


def _lance(folder: Path) -> Store:
    from clamp3.index.lance_store import LanceStore

    return LanceStore(folder)


STORES: dict[str, Callable[[Path], Store]] = {"lance": _lance, "sqlite": _sqlite}


def default_store() -> str:
    """Return the best store that is installed."""
    return "lance" if importlib.util.find_spec("lancedb") is not None else "sqlite"


@dataclass(frozen=True)
class IndexMeta:
    """What an index is of; kept beside its data.

    Attributes
    ----------
    store : str
        One of `STORES`.
    weights : str
        Space of the vectors (`clamp3.jobs.identity.Identity.space`).
    width : int
        D.
    model : dict
        How the model was opened: the flags that a search takes if it is given none.
    passages : dict or None
        Fields of the `clamp3.embedding.passages.PassagePlan`, if passages are kept.
    roots : tuple of str
        Folders and files that were added, absolute, or relative to the folder that has the index in it.
    """

    store: str
    weights: str
    width: int
    model: dict[str, str | None] = field(default_factory=dict)
    passages: dict[str, float] | None = None
    roots: tuple[str, ...] = ()
    version: int = VERSION

    def plan(self) -> PassagePlan | None:
        """Return how passages are made, None if none are kept."""
        from clamp3.embedding.passages import PassagePlan

        fields: Any = self.passages
        try:
            return PassagePlan(**fields) if fields is not None else None
        except TypeError:
            raise ConfigError(f"{META} of the index says nothing sensible of its passages; restore it.") from None


@dataclass(frozen=True)
class _Pointer:
    data: str
    version: int = VERSION


class IndexFolder:
    """An index that is there.

    Parameters
    ----------
    path : Path
        Its folder.
    data : str, optional
        Name of its data, if not what ``index.json`` says.

    Raises
    ------
    ConfigError
        If there is none, or it is damaged or of a later version.
    """

    def __init__(self, path: Path, data: str | None = None) -> None:
        self.path = path.resolve()
        pointer = _Pointer(data) if data is not None else _read(self.path / POINTER, _Pointer)
        if Path(pointer.data).name != pointer.data or pointer.data.startswith("."):
            raise ConfigError(f"{printable(self.path / POINTER)} names no folder of an index.")
        self.data = self.path / pointer.data
        self.meta: IndexMeta = _read(self.data / META, IndexMeta)
        if self.meta.store not in STORES:
            raise ConfigError(f"the index needs the store {self.meta.store!r}; there are {', '.join(STORES)}.")

    @classmethod
    def create(cls, path: Path, meta: IndexMeta) -> IndexFolder:
        """Make an index; its data come last, so that an interrupted one is made anew.

        Parameters
        ----------
        path : Path
            Its folder; made if absent.
        meta : IndexMeta
        """
        if path.exists() and not path.is_dir():
            raise ConfigError(f"{printable(path)} is a file; an index is a folder.")
        strange = [each.name for each in path.iterdir() if not _is_ours(each.name)] if path.exists() else []
        if strange:
            raise ConfigError(
                f"{printable(path)} is no index and not empty (it has {printable(strange[0])}); name another."
            )
        cls.stage(path, "data-1", meta)
        write_text(path / POINTER, json_text(asdict(_Pointer("data-1")), indent=2) + "\n")
        return cls(path)

    @staticmethod
    def stage(path: Path, data: str, meta: IndexMeta) -> IndexFolder:
        """Return the data folder of this name in an index, made unless it is there with the same meta.

        Parameters
        ----------
        path : Path
        data : str
        meta : IndexMeta
        """
        folder = path / data
        try:
            known: IndexMeta | None = _read(folder / META, IndexMeta)
        except ConfigError:
            known = None
        if known is None or replace(known, roots=()) != replace(meta, roots=()):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            write_text(folder / META, json_text(asdict(meta), indent=2) + "\n")
        return IndexFolder(path, data)

    def successor(self, meta: IndexMeta) -> IndexFolder:
        """Return data beside the present ones, for another model; what an interrupted run began is gone on with."""
        number = self.data.name.rpartition("-")[2]
        return self.stage(self.path, f"data-{int(number) + 1 if number.isdecimal() else 1}", meta)

    def become(self, successor: IndexFolder) -> None:
        """Replace these data by others, and remove them."""
        write_text(self.path / POINTER, json_text(asdict(_Pointer(successor.data.name)), indent=2) + "\n")
        shutil.rmtree(self.data, ignore_errors=True)
        self.data, self.meta = successor.data, successor.meta

    def open_store(self) -> Store:
        """Open the store."""
        return STORES[self.meta.store](self.data)

    def write_meta(self, **changes: Any) -> None:
        """Change fields of the meta."""
        self.meta = replace(self.meta, **changes)
        write_text(self.data / META, json_text(asdict(self.meta), indent=2) + "\n")

    def root(self, number: int) -> Path:
        """Return the path of a root; a `DataError` if the index does not list it."""
        if not 0 <= number < len(self.meta.roots) or not self.meta.roots[number]:
            raise DataError(
                f"the index has pieces of a folder that it does not list (number {number}); "
                "`clamp3 index add` that folder again, or `update` after an interrupted `remove`."
            )
        return (self.path.parent / self.meta.roots[number]).resolve()

    def roots(self) -> dict[int, Path]:
        """Return the paths of all roots by number; those that were removed leave a gap, as numbers are part of ids."""
        return {number: self.root(number) for number, text in enumerate(self.meta.roots) if text}

    def has_dropped(self, piece: str) -> bool:
        """Return whether a piece is of a root that was removed."""
        return number_of(piece) in {number for number, text in enumerate(self.meta.roots) if not text}

    def add_root(self, path: Path) -> int:
        """Return the number of a root; it is added if it is new. Inside the index's own folder it moves with it."""
        real = path.resolve()
        for number, root in self.roots().items():
            if root == real:
                return number
        home = self.path.parent
        inside = home == real or home in real.parents
        text = real.relative_to(home).as_posix() if inside else str(real)
        self.write_meta(roots=(*self.meta.roots, text))
        return len(self.meta.roots) - 1

    def drop_roots(self, paths: Collection[Path]) -> None:
        """Follow these roots no more."""
        roots, dropped = self.roots(), {path.resolve() for path in paths}
        if dropped.intersection(roots.values()):
            kept = ("" if roots.get(n) in dropped else text for n, text in enumerate(self.meta.roots))
            self.write_meta(roots=tuple(kept))


def number_of(piece: str) -> int:
    """Return the number of the root that a piece's id begins with, -1 if it has none."""
    number = piece.partition("/")[0]
    return int(number) if number.isdecimal() and len(number) < 10 else -1


def find_index(path: Path) -> Path | None:
    """Return the folder of the index that a path names or contains, None if there is none."""
    for candidate in (path, path / INDEX_NAME):
        if (candidate / POINTER).is_file():
            return candidate
    return None


def _is_ours(name: str) -> bool:
    return name == POINTER or name.startswith((".", "data-"))


def _read(path: Path, kind: Any) -> Any:
    if not path.is_file():
        raise ConfigError(f"there is no index at {printable(path.parent)}; make one with clamp3 index add.")
    try:
        value = read_json(path, kind, error=ConfigError)
    except FormatError as error:
        raise ConfigError(f"{printable(path)} is damaged: {error}") from None
    if value.version > VERSION:
        raise ConfigError(f"{printable(path)} was written by a later version of clamp3; update it here.")
    return value
