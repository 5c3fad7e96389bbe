"""What an index is of: which store, which model, which folders of music; made, found, and replaced as a whole.

``index.json`` names the folder with the data, or what stands for it in a remote store. A new model gets data of its own
beside them, and the name changes when these are complete.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Collection
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clamp3.errors import ConfigError, DataError, FormatError
from clamp3.formats.fields import typed
from clamp3.formats.tables import json_text, parse_json
from clamp3.index.place import META, POINTER, FolderPlace, Place, Uri, Where
from clamp3.index.remote import RemotePlace

if TYPE_CHECKING:
    from clamp3.embedding.passages import PassagePlan

INDEX_NAME = ".clamp3_index"  # of an index inside the folder that it is about; hidden, so that no walk enters it
VERSION = 1


@dataclass(frozen=True)
class IndexMeta:
    """What an index is of; kept beside its data.

    Attributes
    ----------
    store : str
        One of `clamp3.index.place.STORES`, or that of its address.
    weights : str
        Space of the vectors (`clamp3.jobs.identity.Identity.space`).
    width : int
        D.
    model : dict
        How the model was opened: the flags that a search takes if it is given none.
    passages : dict or None
        Fields of the `clamp3.embedding.passages.PassagePlan`, if passages are kept.
    roots : tuple of str
        Folders and files that were added, absolute, or relative to the folder that has the index in it, if one has.
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
    """An index that is there, in a folder or a remote store.

    Parameters
    ----------
    where : Path or Uri
        Its folder or address.
    data : str, optional
        Name of its data, if not what ``index.json`` says.

    Raises
    ------
    ConfigError
        If there is none, or it is damaged or of a later version.
    """

    def __init__(self, where: Where, data: str | None = None) -> None:
        self.where, self.place = where, place_at(where)
        self.path = self.place.folder
        if data is None:
            data = _read(self.place, POINTER, _Pointer).data
        if Path(data).name != data or data.startswith("."):
            raise ConfigError(f"{POINTER} of the index at {self.place} names no data of an index.")
        self.data = data
        self.meta: IndexMeta = self.read_meta()

    @classmethod
    def create(cls, where: Where, meta: IndexMeta) -> IndexFolder:
        """Make an index; its data come last, so that an interrupted one is made anew.

        Parameters
        ----------
        where : Path or Uri
            Its folder, made if absent, or its address.
        meta : IndexMeta
        """
        place = place_at(where)
        with closing(place):
            place.make()
            cls.stage(where, "data-1", meta)
            place.write(POINTER, _json(_Pointer("data-1")))
        return cls(where)

    @staticmethod
    def stage(where: Where, data: str, meta: IndexMeta) -> IndexFolder:
        """Return the data of this name in an index, made unless they are there with the same meta.

        Parameters
        ----------
        where : Path or Uri
        data : str
        meta : IndexMeta
        """
        place = place_at(where)
        with closing(place):
            try:
                known: IndexMeta | None = _read(place, f"{data}/{META}", IndexMeta)
            except ConfigError:
                known = None
            if known is None or replace(known, roots=()) != replace(meta, roots=()):
                place.drop(data)
                place.write(f"{data}/{META}", _json(meta))
        return IndexFolder(where, data)

    def successor(self, meta: IndexMeta) -> IndexFolder:
        """Return data beside the present ones, for another model; what an interrupted run began is gone on with."""
        number = self.data.rpartition("-")[2]
        return self.stage(self.where, f"data-{int(number) + 1 if number.isdecimal() else 1}", meta)

    def become(self, successor: IndexFolder) -> None:
        """Replace these data by others, and remove them."""
        self.place.write(POINTER, _json(_Pointer(successor.data)))
        self.place.drop(self.data)
        self.data, self.meta = successor.data, successor.meta

    def is_replaced(self) -> bool:
        """Return whether other data have taken the place of these."""
        pointer: _Pointer = _read(self.place, POINTER, _Pointer)
        return pointer.data != self.data

    def read_meta(self) -> IndexMeta:
        """Read the meta, again if another process may have added folders; return it."""
        self.meta = _read(self.place, f"{self.data}/{META}", IndexMeta)
        return self.meta

    def write_meta(self, **changes: Any) -> None:
        """Change fields of the meta."""
        self.meta = replace(self.meta, **changes)
        self.place.write(f"{self.data}/{META}", _json(self.meta))

    def root(self, number: int) -> Path:
        """Return the path of a root; a `DataError` if the index does not list it."""
        if number >= len(self.meta.roots):
            self.read_meta()
        if not 0 <= number < len(self.meta.roots) or not self.meta.roots[number]:
            raise DataError(
                f"the index has pieces of a folder that it does not list (number {number}); "
                "`clamp3 index add` that folder again, or `update` after an interrupted `remove`."
            )
        text = self.meta.roots[number]
        return (self.path.parent / text if self.path is not None else Path(text)).resolve()

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
        home = self.path.parent if self.path is not None else None
        inside = home is not None and (home == real or home in real.parents)
        text = real.relative_to(home).as_posix() if home is not None and inside else str(real)
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


def find_index(where: Where) -> Where | None:
    """Return the index that a path names or contains, or that is at an address, None if there is none."""
    if isinstance(where, Uri):
        place = place_at(where)
        with closing(place):
            return where if place.read(POINTER) is not None else None
    for candidate in (where, where / INDEX_NAME):
        if (candidate / POINTER).is_file():
            return candidate
    return None


def place_at(where: Where) -> Place:
    """Return the place of an index at a path or address."""
    return RemotePlace(where) if isinstance(where, Uri) else FolderPlace(where)


def default_store(where: Where) -> str:
    """Return the best store that is installed, or the only one at an address."""
    if isinstance(where, Uri):
        return RemotePlace(where).store
    return "lance" if importlib.util.find_spec("lancedb") is not None else "sqlite"


def _json(value: Any) -> str:
    return json_text(asdict(value), indent=2) + "\n"


def _read(place: Place, name: str, kind: Any) -> Any:
    data = place.read(name)
    if data is None:
        raise ConfigError(f"there is no index at {place}; make one with clamp3 index add.")
    try:
        value = typed(kind, parse_json(data), "it")
    except FormatError as error:
        raise ConfigError(f"{name} of the index at {place} is damaged: {error}") from None
    if value.version > VERSION:
        raise ConfigError(f"the index at {place} was written by a later version of clamp3; update it here.")
    return value
