"""Bring an index up to date with folders: only what is new or changed is embedded, and every step is kept.

A file is known by size and time, its music by the hash of its content: what was moved, copied or touched is not
embedded again. Rows are written every few seconds, passages before their piece, so that the next run goes on where one
was killed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from clamp3.errors import ConfigError, FormatError, describe, distinct_name, printable
from clamp3.formats import Kind
from clamp3.formats.music_facts import MusicFacts, facts_of
from clamp3.formats.pieces import SIGN
from clamp3.index.library import Library, modality_label, piece_id
from clamp3.index.store import FACTS, FIELDS, PASSAGES, PIECES, VECTOR, WORDS, Row
from clamp3.index.vectors import StoredVectors
from clamp3.index.words import tokens_of
from clamp3.jobs.identity import Identity
from clamp3.jobs.progress import progress
from clamp3.jobs.walk import walk
from clamp3.sources import Source

if TYPE_CHECKING:
    from clamp3.embedding.clamp3 import Clamp3
    from clamp3.embedding.passages import Passage

_ROUND = 512  # files that are hashed and encoded together
_KEEP_EVERY, _KEEP_SEC = 256, 10.0  # rows and seconds that a killed run may lose
_TIDY_EVERY = 20_000  # rows; searches get slow in many small files


@dataclass
class Changes:
    """What a run did.

    Attributes
    ----------
    embedded, reused, unchanged, removed : int
        Files encoded now; whose content was known under another name, or with another time; that were as they are in
        the index; and that are gone.
    failed : list of (str, str)
        Files without a vector, and why; those of earlier runs included.
    ignored : list of str
        Files of types without a reader.
    """

    embedded: int = 0
    reused: int = 0
    unchanged: int = 0
    removed: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class _File:
    """A file of a folder, as it is now."""

    id: str
    source: Source
    size: int
    mtime_ns: int
    made_by: str
    content: str = ""

    @property
    def state(self) -> tuple[int, int, str]:
        return self.size, self.mtime_ns, self.made_by


def bring_up_to_date(
    library: Library,
    model: Clamp3,
    paths: Sequence[Path] | None = None,
    *,
    prune: bool = False,
    retry: bool = False,
    n_workers: int | None = None,
    report: Callable[[int, int], object] | None = None,
) -> Changes:
    r"""Embed what is new or changed in folders.

    Parameters
    ----------
    library : Library
        The caller holds its lock.
    model : Clamp3
        The index's own.
    paths : sequence of Path, optional
        Folders or files, added if they are new; None takes all that were added.
    prune : bool
        Also forget files that are gone.
    retry : bool
        Also try again what failed before.
    n_workers : int, optional
        Processes for conversions.
    report : callable, optional
        Called with how many files are done and are to be done.

    Raises
    ------
    ConfigError
        If a path does not exist, or the model is another.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from clamp3 import Clamp3
    >>> mini = Clamp3.from_pretrained("mini")
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "kesh.abc").write_text("X:1\nT:The Kesh\nM:6/8\nK:G\nGAG GAB|ABA ABd|\n")
    ...     with Library.create(Path(folder, ".clamp3_index"), mini, store="sqlite") as library:
    ...         first, second = (bring_up_to_date(library, mini, [Path(folder)]) for _ in range(2))
    ...         [piece] = library.pieces.rows(["title", "key"])
    >>> first.embedded, second.embedded, second.unchanged, piece
    (1, 0, 1, {'title': 'The Kesh', 'key': 'G major'})
    """
    library.check_model(model)
    return _Run(library, model, n_workers, report or (lambda done, total: None)).run(paths, prune, retry)


class _Run:
    """One run over folders."""

    def __init__(
        self, library: Library, model: Clamp3, n_workers: int | None, report: Callable[[int, int], object]
    ) -> None:
        self._report, self._n_done, self._n_to_do = report, 0, 0
        self._library, self._model, self._n_workers = library, model, n_workers
        self._plan = library.meta.plan()
        self._changes = Changes()
        state = ["id", "size", "mtime_ns", "made_by"]
        self._known = {row["id"]: row for row in library.pieces.rows([*state, "content"])}
        self._failed = {row["id"]: row for row in library.failures.rows([*state, "name", "reason"])}
        self._by_content = {(row["content"], row["made_by"]): row["id"] for row in self._known.values()}
        self._made_by: dict[Kind, str] = {}
        self._unread: list[str] = []  # places that cannot be looked at now; nothing in them is forgotten
        self._since_tidy = 0
        self._confirmed = False

    def run(self, paths: Sequence[Path] | None, prune: bool, retry: bool) -> Changes:
        begun = time.monotonic()
        todo: list[_File] = []
        gone: set[str] = set()
        for number, start in self._starts(paths):
            files = list(self._look(number, start))
            todo += [file for file in files if self._is_new(file, retry)]
            if prune:
                gone |= self._gone(number, start, {file.id for file in files})
        if prune and paths is None:  # what an interrupted `remove` left
            gone |= {piece for piece in (*self._known, *self._failed) if self._library.folder.has_dropped(piece)}
        self._n_to_do = len(todo)
        self._done(0)
        for first in range(0, len(todo), _ROUND):
            self._take(todo[first : first + _ROUND])
        if prune:
            self._prune(gone)
        if todo or self._changes.removed:
            self._tidy()
        self._changes.failed.sort()
        self._changes.seconds = time.monotonic() - begun
        return self._changes

    def _starts(self, paths: Sequence[Path] | None) -> list[tuple[int, Path]]:
        """Return the roots, or folders in them, to walk; new ones become roots."""
        folder = self._library.folder
        if paths is None:
            absent = {number: root for number, root in folder.roots().items() if not root.exists()}
            why = "is not there: nothing of it was changed; `remove` it if it is gone for good."
            self._changes.failed += [(printable(root), why) for root in absent.values()]
            return [(number, root) for number, root in folder.roots().items() if number not in absent]
        starts = []
        for path in paths:
            real = path.resolve()
            if not real.exists():
                raise ConfigError(f"there is no folder {printable(path)}.")
            around = [(len(root.parts), n) for n, root in folder.roots().items() if root in (real, *real.parents)]
            starts.append((max(around)[1] if around else folder.add_root(path), real))
        return starts

    def _look(self, number: int, start: Path) -> Iterator[_File]:
        """Yield the files below a root, or below a folder in it; other roots in it have files of their own."""
        root = self._library.folder.root(number)
        others = [other for n, other in self._library.folder.roots().items() if n != number and root in other.parents]
        walked = walk(start, exclude=[*others, *filter(None, [self._library.folder.path])])
        within = start.relative_to(root)
        stored = StoredVectors(self._model, start)
        self._changes.ignored += walked.ignored
        self._changes.failed += [(distinct_name(within / each.relative), each.reason) for each in walked.problems]
        self._unread += [piece_id(number, within / each.relative) for each in walked.problems]
        for found in walked.files:
            relative = (within.parent if start.is_file() else within) / found.relative
            name = distinct_name(relative)
            try:
                status = found.path.stat()
            except OSError as error:
                self._changes.failed.append((name, describe(error)))
                continue
            source = Source(found.kind, name, path=found.path, piece=found.piece)
            made_by = self._maker(source, stored)
            yield _File(piece_id(number, relative), source, status.st_size, status.st_mtime_ns, made_by)

    def _maker(self, source: Source, stored: StoredVectors) -> str:
        """Return what a vector of this source depends on besides its bytes; arithmetic does not count."""
        if stored.is_vector(source):
            return f"vector {self._library.meta.weights}"
        if source.kind not in self._made_by:
            identity = replace(Identity.parse(self._model.identity_of(source.kind)), dtype="")
            plan = f" {self._plan.identity}" if self._plan else ""
            self._made_by[source.kind] = f"{identity} {self._model.preprocessing}{plan}"
        return self._made_by[source.kind]

    def _is_new(self, file: _File, retry: bool) -> bool:
        known, failed = self._known.get(file.id), self._failed.get(file.id)
        if known is not None and (known["size"], known["mtime_ns"], known["made_by"]) == file.state:
            self._changes.unchanged += 1
            return False
        if failed is not None and not retry and (failed["size"], failed["mtime_ns"], failed["made_by"]) == file.state:
            self._changes.failed.append((failed["name"], failed["reason"]))
            return False
        return True

    def _take(self, files: Sequence[_File]) -> None:
        """Bring some files into the index."""
        fresh: dict[tuple[str, str], list[_File]] = {}
        copies: list[tuple[_File, str]] = []
        failures: list[tuple[_File, str]] = []
        for file in files:
            try:
                hashed = replace(file, content=file.source.open()[1])
            except FormatError as error:
                failures.append((file, str(error)))
                continue
            original = self._by_content.get((hashed.content, hashed.made_by))
            if original is not None:
                copies.append((hashed, original))
            else:
                fresh.setdefault((hashed.content, hashed.made_by), []).append(hashed)
        self._copy(copies)
        self._keep([], failures)
        self._done(len(copies) + len(failures))
        self._encode(fresh)

    def _encode(self, groups: dict[tuple[str, str], list[_File]]) -> None:
        """Encode one file of each content; its copies get the same row."""
        firsts = [group[0] for group in groups.values()]
        done: list[tuple[_File, np.ndarray]] = []
        failures: list[tuple[_File, str]] = []
        kept = time.monotonic()
        with progress(len(firsts), "encoding") as advance:
            for file, value in self._vectors(firsts):
                advance(1)
                self._done(len(groups[file.content, file.made_by]))
                if isinstance(value, str):
                    failures += [(each, value) for each in groups[file.content, file.made_by]]
                else:
                    done.append((file, value))
                if len(done) >= _KEEP_EVERY or time.monotonic() - kept > _KEEP_SEC:
                    self._keep(done, failures)
                    done, failures, kept = [], [], time.monotonic()
        self._keep(done, failures)
        for group in groups.values():
            if len(group) > 1 and group[0].id in self._known:
                self._copy([(each, group[0].id) for each in group[1:]])

    def _done(self, n: int) -> None:
        self._n_done += n
        self._report(self._n_done, self._n_to_do)

    def _vectors(self, files: Sequence[_File]) -> Iterator[tuple[_File, np.ndarray | str]]:
        """Yield the vector of each file, shape (D,), or why it has none."""
        to_encode = []
        if files and not self._confirmed:
            self._model.confirm()
            self._confirmed = True
        for file in files:
            try:
                vector = self._stored_vector(file.source)
            except FormatError as error:
                yield file, str(error)
                continue
            if vector is None:
                to_encode.append(file)
            else:
                yield file, vector
        sources = [replace(file.source, sha256=file.content) for file in to_encode]
        for result in self._model.stream(sources, n_workers=self._n_workers):
            file = to_encode[result.index]
            if result.value is not None and result.value.any() and np.isfinite(result.value).all():
                yield file, result.value
            else:
                yield file, result.error or "its vector is of zeros, or not finite."

    def _stored_vector(self, source: Source) -> np.ndarray | None:
        if source.path is None or source.kind != Kind.FEATURES:
            return None
        return StoredVectors(self._model, source.path.parent).vector(source, self._library.meta.width)

    def _keep(self, done: Sequence[tuple[_File, np.ndarray]], failures: Sequence[tuple[_File, str]]) -> None:
        """Write rows: passages first, because a piece that is there is complete."""
        library = self._library
        if done:
            rows = [self._row(file, vector) for file, vector in done]
            if self._plan is not None:
                self._keep_passages([file for file, _ in done], {row["id"]: row for row in rows})
            library.pieces.upsert(rows)
            self._note(rows)
            self._changes.embedded += len(rows)
            library.failures.delete([row["id"] for row in rows if row["id"] in self._failed])
        if failures:
            broken = [file.id for file, _ in failures if file.id in self._known]
            library.forget(broken)
            for piece in broken:
                self._drop(piece)
            library.failures.upsert([_failure(file, reason) for file, reason in failures])
            self._changes.failed += [(file.source.name, reason) for file, reason in failures]
        if self._since_tidy > _TIDY_EVERY:
            self._tidy()

    def _keep_passages(self, files: Sequence[_File], pieces: dict[str, Row]) -> None:
        sources = [replace(file.source, sha256=file.content) for file in files]
        rows: list[Row] = []
        for result in self._model.stream(sources, n_workers=self._n_workers, passages=self._plan):
            piece = pieces[files[result.index].id]
            if result.value is not None:
                pairs = zip(np.atleast_2d(result.value), result.passages, strict=True)
                rows += [_passage_row(piece, n, *pair) for n, pair in enumerate(pairs)]
        self._library.passages.delete(list(pieces), "piece")
        self._library.passages.upsert(rows)

    def _copy(self, copies: Sequence[tuple[_File, str]]) -> None:
        """Give files the rows of files with the same content."""
        if not copies:
            return
        library = self._library
        originals = {
            row["id"]: row for row in library.pieces.rows([*FIELDS[PIECES], VECTOR], ids={o for _, o in copies})
        }
        rows, passages = [], []
        for file, original in copies:
            row = {**originals[original], **_state(file), "id": file.id, "name": file.source.name}
            row[WORDS] = _words(row)
            rows.append(row)
            if self._plan is not None and file.id != original:
                passages += self._copied_passages(row, original)
        library.passages.delete({row["piece"] for row in passages}, "piece")
        library.passages.upsert(passages)
        library.pieces.upsert(rows)
        self._note(rows)
        library.failures.delete([row["id"] for row in rows if row["id"] in self._failed])
        self._changes.reused += len(rows)

    def _copied_passages(self, row: Row, original: str) -> list[Row]:
        found = self._library.passages.rows([*FIELDS[PASSAGES], VECTOR], f"piece = '{original}'")
        return [
            {**each, "id": f"{row['id']}#{each['id'].rpartition('#')[2]}", "piece": row["id"], "name": row["name"]}
            for each in found
        ]

    def _note(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._drop(row["id"])
            self._known[row["id"]] = row
            self._by_content.setdefault((row["content"], row["made_by"]), row["id"])
        self._since_tidy += len(rows)

    def _drop(self, piece: str) -> None:
        """Take nothing from this row any more: it has another content now, or is gone."""
        known = self._known.pop(piece, None)
        if known is not None and self._by_content.get((known["content"], known["made_by"])) == piece:
            del self._by_content[known["content"], known["made_by"]]

    def _row(self, file: _File, vector: np.ndarray) -> Row:
        content: Any = file.source.path if file.source.streamed else _bytes_of(file.source)
        facts = facts_of(content, file.source.kind) if content is not None else MusicFacts()
        kinds = {"modality": modality_label(file.source.kind), "kind": str(file.source.kind)}
        row = {"id": file.id, "name": file.source.name, **asdict(facts), **kinds}
        return {**row, **_state(file), WORDS: _words(row), VECTOR: np.asarray(vector, np.float32)}

    def _gone(self, number: int, start: Path, present: set[str]) -> set[str]:
        """Return the pieces below a start that are there no more; a disk that is not mounted is no such case."""
        within = start.relative_to(self._library.folder.root(number))
        prefix = piece_id(number, within) if within.parts else f"{number}"
        every = {piece for piece in (*self._known, *self._failed) if _is_below(piece, prefix)}
        if every and not present:
            raise ConfigError(
                f"{printable(start)} is empty, though the index has files of it; if they are gone, `remove` it."
            )
        return {p for p in every - present if not any(_is_below(p, place) for place in self._unread)}

    def _prune(self, gone: set[str]) -> None:
        self._changes.removed = self._library.forget(gone)
        orphans = {row["piece"] for row in self._library.passages.rows(["piece"])} - self._known.keys()
        self._library.passages.delete(orphans, "piece")  # of a run that was killed

    def _tidy(self) -> None:
        for table in (self._library.pieces, self._library.passages, self._library.failures):
            table.optimise()
        self._since_tidy = 0


def _is_below(piece: str, place: str) -> bool:
    """Whether a piece is in a folder or file, or is that file."""
    return piece == place or piece.startswith((f"{place}/", place + quote(SIGN)))


def _bytes_of(source: Source) -> bytes | None:
    try:
        return source.read()
    except FormatError:
        return None


def _state(file: _File) -> Row:
    return {"content": file.content, "size": file.size, "mtime_ns": file.mtime_ns, "made_by": file.made_by}


def _failure(file: _File, reason: str) -> Row:
    return {"id": file.id, "name": file.source.name, **_state(file), "reason": reason}


def _words(row: Row) -> str:
    stem = row["name"].rpartition(".")[0] or row["name"]
    said = (row["title"], row["composer"], row["artist"], row["album"], row["genre"])
    return " ".join(tokens_of([*map(str, said), stem]))


def _passage_row(piece: Row, number: int, vector: np.ndarray, passage: Passage) -> Row:
    return {
        "id": f"{piece['id']}#{number}",
        **{name: piece[name] for name in FACTS},
        "piece": piece["id"],
        "unit": passage.unit,
        "start_at": float(passage.start),
        "end_at": float(passage.end),
        "first_item": passage.first,
        "last_item": passage.last,
        VECTOR: np.asarray(vector, np.float32),
    }
