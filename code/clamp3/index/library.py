"""An index of music: pieces with vectors and facts, kept up to date with folders, and asked without walking them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_to_bytes

import numpy as np

from clamp3.errors import ConfigError, DataError, printable
from clamp3.formats import Kind
from clamp3.formats.tables import json_text
from clamp3.index.folder import IndexFolder, IndexMeta, default_store
from clamp3.index.store import FACTS, FAILURES, PASSAGES, PIECES, VECTOR, Row, Table
from clamp3.index.where import to_sql
from clamp3.jobs.identity import Identity
from clamp3.jobs.locks import FolderLock
from clamp3.modalities import modality_of

if TYPE_CHECKING:
    from clamp3.embedding.clamp3 import Clamp3
    from clamp3.embedding.passages import PassagePlan

_STATE = ("content", "size", "mtime_ns", "made_by")


def modality_label(kind: Kind) -> str:
    """Return what users call the modality of a kind: text, score, midi, audio, or that of a kind of their own."""
    name = modality_of(kind)
    if name != "symbolic":
        return name
    return "midi" if kind in (Kind.MIDI, Kind.MTF) else "score"


@dataclass(frozen=True)
class Check:
    """What `Library.verify` found: how many pieces were looked at, and what is wrong with which."""

    n_pieces: int
    problems: list[tuple[str, str]] = field(default_factory=list)


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
        self.store = folder.open_store()
        width = folder.meta.width
        self.pieces: Table = self.store.table(PIECES, width)
        self.passages: Table = self.store.table(PASSAGES, width)
        self.failures: Table = self.store.table(FAILURES, width)

    @classmethod
    def open(cls, path: Path) -> Library:
        """Open the index in a folder."""
        return cls(IndexFolder(path))

    @classmethod
    def create(
        cls,
        path: Path,
        model: Clamp3,
        *,
        opened: dict[str, str | None] | None = None,
        store: str | None = None,
        passages: PassagePlan | None = None,
    ) -> Library:
        """Make an empty index.

        Parameters
        ----------
        path : Path
            Its folder; made if absent, else empty.
        model : Clamp3
            What its vectors will come from.
        opened : dict, optional
            How the model was opened; see `clamp3.index.folder.IndexMeta`.
        store : str, optional
            "lance" or "sqlite"; None takes the best that is installed.
        passages : PassagePlan, optional
            Keep a vector for every passage too.
        """
        return cls(IndexFolder.create(path, meta_of(model, opened, store or default_store(), passages)))

    @property
    def meta(self) -> IndexMeta:
        """What the index is of."""
        return self.folder.meta

    def lock(self) -> FolderLock:
        """Become its only writer, or raise a `ConfigError`."""
        return FolderLock.only(self.folder.path, "is changing the index")

    def check_model(self, model: Clamp3) -> None:
        """Raise a `ConfigError` for a model whose vectors must not be compared with those of the index."""
        space = Identity.parse(model.identity).space
        if space != self.meta.weights:
            raise ConfigError(
                f"the index holds vectors of {self.meta.weights}, the model gives those of {space}; "
                "leave --model away, or build the index anew with update --reindex."
            )

    def path_of(self, piece: str) -> Path:
        """Return where the file of a piece is, or was."""
        number, _, relative = piece.partition("/")
        root = self.folder.root(int(number))
        return root if root.is_file() else root / os.fsdecode(unquote_to_bytes(relative))

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
        places = {piece: self.path_of(piece) for piece in every}
        roots = set(self.folder.roots().values())
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
        size = sum(each.stat().st_size for each in self.folder.data.rglob("*") if each.is_file())
        return {
            "index": str(self.folder.path),
            "store": self.meta.store,
            "weights": self.meta.weights,
            "width": self.meta.width,
            "pieces": len(rows),
            "by_modality": dict(sorted(Counter(row["modality"] for row in rows).items())),
            "distinct_contents": len({row["content"] for row in rows}),
            "passages": self.passages.count(),
            "failed": self.failures.count(),
            "bytes_on_disk": size,
            "folders": [printable(root) for root in self.folder.roots().values()],
        }

    def export(self, folder: Path, where: str | None = None) -> int:
        """Write ``vectors.npy`` (N, D) and ``pieces.jsonl``, one line per row, and what they come from.

        Parameters
        ----------
        folder : Path
            Made if absent.
        where : str, optional
            A filter.

        Returns
        -------
        int
            How many pieces.
        """
        from clamp3.jobs.atomic import replacing, write_text

        rows = sorted(
            self.pieces.rows(["id", *FACTS, "content", VECTOR], self.condition(where)), key=lambda r: r["name"]
        )
        if not rows:
            raise DataError("the index has no such piece; nothing was written.")
        with replacing(folder / "vectors.npy") as part, part.open("wb") as file:
            np.save(file, np.stack([row[VECTOR] for row in rows]))
        lines = [json_text({**_known(row), "path": printable(self.path_of(row["id"]))}) for row in rows]
        write_text(folder / "pieces.jsonl", "\n".join(lines) + "\n")
        write_text(folder / "export.json", json_text({"weights": self.meta.weights, "n": len(rows)}, indent=2) + "\n")
        return len(rows)

    def verify(self, *, contents: bool = False) -> Check:
        """Look for what is damaged, out of date or absent; nothing is changed.

        Parameters
        ----------
        contents : bool
            Also hash every file again.
        """
        problems: list[tuple[str, str]] = []
        rows = self.pieces.rows(["id", "name", *_STATE, VECTOR])
        for piece, n in Counter(row["id"] for row in rows).items():
            if n > 1:
                problems.append((piece, f"is there {n} times"))
        for row in rows:
            problems += [(row["name"], reason) for reason in self._wrong_with(row, contents)]
        ids = {row["id"] for row in rows}
        orphans = {row["piece"] for row in self.passages.rows(["piece"])} - ids
        problems += [(piece, "has passages but is no piece; `update` mends that") for piece in sorted(orphans)]
        return Check(len(rows), sorted(problems))

    def _wrong_with(self, row: Row, contents: bool) -> Iterator[str]:
        from clamp3.formats import kind_of
        from clamp3.sources import Source

        if not np.isfinite(row[VECTOR]).all() or not row[VECTOR].any():
            yield "has a vector of zeros, or that is not finite; `update --retry` encodes it again"
        path = self.path_of(row["id"])
        try:
            stat = path.stat()
        except OSError:
            yield "is no longer there; `update` forgets it"
            return
        if (stat.st_size, stat.st_mtime_ns) != (row["size"], row["mtime_ns"]):
            yield "has changed since; `update` encodes it again"
        elif contents and Source(kind_of(path) or Kind.TEXT, row["name"], path=path).open()[1] != row["content"]:
            yield "has another content, though size and time are the same; touch it, then `update`"

    def close(self) -> None:
        """Let go of files."""
        self.store.close()

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


def _known(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != VECTOR and value not in ("", None)}
