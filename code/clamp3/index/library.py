"""An index of music: pieces with vectors and facts, kept up to date with folders, and asked without walking them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_to_bytes

from clamp3.errors import ConfigError, printable
from clamp3.formats import Kind
from clamp3.formats.pieces import SIGN
from clamp3.index.folder import IndexFolder, IndexMeta, default_store, number_of
from clamp3.index.place import Where
from clamp3.index.store import FACTS, FAILURES, PASSAGES, PIECES, Table
from clamp3.index.where import to_sql
from clamp3.jobs.identity import Identity
from clamp3.modalities import modality_of

if TYPE_CHECKING:
    from clamp3.embedding.clamp3 import Clamp3
    from clamp3.embedding.passages import PassagePlan


def modality_label(kind: Kind) -> str:
    """Return what users call the modality of a kind: text, score, midi, audio, or that of a kind of their own."""
    name = modality_of(kind)
    if name != "symbolic":
        return name
    return "midi" if kind in (Kind.MIDI, Kind.MTF) else "score"


class Library:
    """An open index.

    Parameters
    ----------
    folder : IndexFolder

    Examples
    --------
    See `clamp3.index.indexing.bring_up_to_date`.
    """

    def __init__(self, folder: IndexFolder) -> None:
        self.folder = folder
        self.store = folder.place.open_store(folder.data, folder.meta.store)
        width = folder.meta.width
        self.pieces: Table = self.store.table(PIECES, width)
        self.passages: Table = self.store.table(PASSAGES, width)
        self.failures: Table = self.store.table(FAILURES, width)

    @classmethod
    def open(cls, where: Where) -> Library:
        """Open the index in a folder, or at an address."""
        return cls(IndexFolder(where))

    @classmethod
    def create(
        cls,
        where: Where,
        model: Clamp3,
        *,
        opened: dict[str, str | None] | None = None,
        store: str | None = None,
        passages: PassagePlan | None = None,
    ) -> Library:
        """Make an empty index.

        Parameters
        ----------
        where : Path or Uri
            Its folder, made if absent, else empty; or its address.
        model : Clamp3
            What its vectors will come from.
        opened : dict, optional
            How the model was opened; see `clamp3.index.folder.IndexMeta`.
        store : str, optional
            "lance" or "sqlite"; None takes the best that is installed. An address says it itself.
        passages : PassagePlan, optional
            Keep a vector for every passage too.
        """
        return cls(IndexFolder.create(where, meta_of(model, opened, store or default_store(where), passages)))

    @property
    def meta(self) -> IndexMeta:
        """What the index is of."""
        return self.folder.meta

    def lock(self) -> AbstractContextManager[object]:
        """Become its only writer, or raise a `ConfigError`."""
        with ExitStack() as held:
            held.enter_context(self.folder.place.lock())
            self.folder.read_meta()  # others may have added folders
            return held.pop_all()

    def check_model(self, model: Clamp3) -> None:
        """Raise a `ConfigError` for a model whose vectors must not be compared with those of the index."""
        space = Identity.parse(model.identity).space
        if space != self.meta.weights:
            raise ConfigError(
                f"the index holds vectors of {self.meta.weights}, the model gives those of {space}; "
                "leave --model away, or build the index anew with update --reindex."
            )

    def path_of(self, piece: str) -> Path:
        """Return where a piece is, or was; of one in a file of several the file's path, ``#`` and its name."""
        root = self.folder.root(number_of(piece))
        relative = piece.partition("/")[2]
        return (root.parent if root.is_file() else root) / os.fsdecode(unquote_to_bytes(relative))

    def file_of(self, piece: str) -> Path:
        """Return the file that a piece is, or is in, if there is one."""
        path = self.path_of(piece)
        text, place = str(path), str(path).find(SIGN)
        while place >= 0 and not path.exists():
            if Path(text[:place]).is_file():
                return Path(text[:place])
            place = text.find(SIGN, place + 1)
        return path

    def condition(self, where: str | None) -> str | None:
        """Return a filter as SQL."""
        return to_sql(where, FACTS) if where else None

    def remove(self, paths: Collection[Path]) -> int:
        """Forget files and folders; what was added by itself is no longer followed. No file is touched.

        Returns
        -------
        int
            How many pieces were in the index.

        Raises
        ------
        ConfigError
            If a path is not in the index.
        """
        gone: set[str] = set()
        every = [row["id"] for row in (*self.pieces.rows(["id"]), *self.failures.rows(["id"]))]
        listed = self.folder.roots()
        places = {piece: self.file_of(piece) for piece in every if number_of(piece) in listed}
        roots = set(listed.values())
        for path in paths:
            real = path.resolve()
            inside = {piece for piece, place in places.items() if place == real or real in place.parents}
            if not inside and real not in roots:
                raise ConfigError(f"{printable(path)} is not in the index.")
            gone |= inside
        self.folder.drop_roots(paths)
        return self.forget(gone)

    def forget(self, pieces: Collection[str]) -> int:
        """Remove pieces by id; return how many were there."""
        before = self.pieces.count()
        self.pieces.delete(pieces)  # first: passages without a piece are found again, a piece without is not
        self.passages.delete(pieces, "piece")
        self.failures.delete(pieces)
        return before - self.pieces.count()

    def info(self) -> dict[str, Any]:
        """Return what the index holds, for people and as JSON."""
        rows = self.pieces.rows(["modality", "content"])
        return {
            "index": str(self.folder.place),
            "store": self.meta.store,
            "weights": self.meta.weights,
            "width": self.meta.width,
            "pieces": len(rows),
            "by_modality": dict(sorted(Counter(row["modality"] for row in rows).items())),
            "distinct_contents": len({row["content"] for row in rows}),
            "passages": self.passages.count(),
            "failed": self.failures.count(),
            "bytes_on_disk": self.store.size(),
            "folders": [printable(root) for root in self.folder.roots().values()],
        }

    def close(self) -> None:
        """Let go of files and connections."""
        self.store.close()
        self.folder.place.close()

    def __enter__(self) -> Library:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def meta_of(model: Clamp3, opened: dict[str, str | None] | None, store: str, passages: PassagePlan | None) -> IndexMeta:
    """Return the meta of an index of a model's vectors; arguments as of `Library.create`."""
    plan = asdict(passages) if passages is not None else None
    return IndexMeta(store, Identity.parse(model.identity).space, model.width, opened or {}, plan)


def piece_id(root: int, relative: os.PathLike[str]) -> str:
    """Return the id of a file: ASCII, without quotation marks, and the way back to its name.

    Parameters
    ----------
    root : int
        Number of the folder that was added.
    relative : path
        In it.

    Examples
    --------
    >>> from pathlib import PurePosixPath
    >>> piece_id(0, PurePosixPath("Für 'Elise'.abc"))
    '0/F%C3%BCr%20%27Elise%27.abc'
    """
    return f"{root}/{quote(os.fsencode(relative), safe='/')}"
