"""Search a folder of raw music and text files for what is closest to a sentence or a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from clamp3.errors import Clamp3Error, ConfigError, DataError, FormatError, printable
from clamp3.formats import Kind
from clamp3.formats.titles import title_of
from clamp3.index.ranking import Hit, check_top_k, rank
from clamp3.index.vectors import Contents, in_words, provenance, read_contents, stored_vector
from clamp3.jobs.identity import Identity
from clamp3.jobs.progress import progress
from clamp3.modalities import modality_of
from clamp3.sources import Item, Source, source_of

if TYPE_CHECKING:
    from clamp3.embedding.clamp3 import Clamp3
    from clamp3.embedding.passages import Passage, PassagePlan


@dataclass(frozen=True)
class Answer:
    """The result of a search.

    Attributes
    ----------
    hits : list of Hit
        Best first; a name is the file's path in the folder, suffix included.
    failures : list of (str, str)
        Files that could not be compared, and why.
    skipped : list of str
        Files of types without a reader.
    n_references, n_cached : int
        Files compared, and how many of their vectors were in the cache.
    n_passages : int
        Passages compared, if passages were asked for.
    """

    hits: list[Hit]
    failures: list[tuple[str, str]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    n_references: int = 0
    n_cached: int = 0
    n_passages: int = 0


def ask(clamp3: Clamp3, query: Item, folder: Path, *, top_k: int = 10, passages: PassagePlan | None = None) -> Answer:
    r"""Rank the files of a folder by their similarity to a query.

    Parameters
    ----------
    clamp3 : Clamp3
        With a cache, files seen before are not encoded again, wherever they lie now.
    query : str, path, Source or (bytes, Kind)
        A sentence or any file.
    folder : Path
        Searched recursively; any mixture of kinds.
    top_k : int
        How many results.
    passages : PassagePlan, optional
        Rank passages in place of pieces; of passages of one piece that overlap, only the best is a result.

    Raises
    ------
    ConfigError
        If ``top_k`` is below 1 or there is no such folder.
    DataError
        If no file of the folder can be compared.
    Clamp3Error
        If the query cannot be encoded.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from clamp3 import Clamp3
    >>> jig, air = "X:1\nT:The Kesh\nM:6/8\nK:G\nGAG GAB|ABA ABd|\n", "X:1\nT:Air\nM:3/4\nK:Dm\nD4 E2|F4 D2|A6|\n"
    >>> with TemporaryDirectory() as folder:
    ...     for name, tune in {"1": jig, "2": air}.items():
    ...         _ = Path(folder, f"{name}.abc").write_text(tune)
    ...     answer = ask(Clamp3.from_pretrained("mini"), Path(folder, "2.abc"), Path(folder), top_k=1)
    >>> [(hit.rank, hit.name, hit.title, hit.score) for hit in answer.hits]
    [(1, '2.abc', 'Air', 1.0)]
    """
    check_top_k(top_k)
    if not folder.exists():
        raise ConfigError(f"there is no folder {printable(folder)}; the query comes first, then the folder.")
    stored = _Stored(clamp3, folder)
    asked = _vector_of(query, clamp3, stored)  # first: a mistake in the query must not wait for the folder
    found = read_contents(folder, partial(stored.vector, width=len(asked)), refused=Clamp3Error)
    references = _References()
    for source, vector in found.stored:
        references.add(source, vector)
    n_cached = 0
    with progress(len(found.to_encode), "encoding") as advance:
        for result in clamp3.stream(found.to_encode, passages=passages):
            advance(1)
            if result.value is None:
                found.problems.append((result.name, result.error or "no vector"))
            else:
                references.add(found.to_encode[result.index], result.value, result.passages)
                n_cached += result.cached
    if not references.sources:
        raise DataError(f"{folder} holds no file that can be compared{_why_nothing(found)}.")
    hits = references.best(asked, top_k, by_passage=passages is not None)
    n_passages = len(references.places) if passages is not None else 0
    return Answer(hits, sorted(found.problems), found.ignored, len(references.sources), n_cached, n_passages)


@dataclass
class _References:
    """What a query is compared with: vectors of sources, shape (rows, D) each, and source and passage of every row."""

    sources: list[Source] = field(default_factory=list)
    vectors: list[np.ndarray] = field(default_factory=list)
    places: list[tuple[int, Passage | None]] = field(default_factory=list)

    def add(self, source: Source, vectors: np.ndarray, passages: Sequence[Passage] | None = None) -> None:
        self.places += [(len(self.sources), passage) for passage in passages or (None,)]
        self.vectors.append(np.atleast_2d(vectors))
        self.sources.append(source)

    def best(self, asked: np.ndarray, top_k: int, *, by_passage: bool) -> list[Hit]:
        rows = np.concatenate(self.vectors)
        # Equal scores are ordered by file, and within a file by place.
        names = [
            f"{self.sources[owner].name}\0{passage.first:09}" if passage else self.sources[owner].name
            for owner, passage in self.places
        ]
        hits: list[Hit] = []
        taken: list[tuple[int, Passage]] = []
        for row, score in rank(asked, rows, len(rows) if by_passage else top_k, names):
            owner, passage = self.places[row]
            if passage is not None:
                if any(owner == other and passage.overlaps(earlier) for other, earlier in taken):
                    continue
                taken.append((owner, passage))
            source = self.sources[owner]
            hits.append(Hit(len(hits) + 1, source.name, score, _title(source), printable(source.location), passage))
            if len(hits) == top_k:
                break
        return hits


class _Stored:
    """Vectors that extraction has written, recognised by the ``features.json`` beside them."""

    def __init__(self, clamp3: Clamp3, root: Path) -> None:
        self._clamp3 = clamp3  # its identity is asked for when there is a vector: it means reading all weights
        self._meta_of = provenance(root)

    def vector(self, source: Source, width: int | None = None) -> np.ndarray | None:
        """Return the joint-space vector, shape (D,), of a file that holds one; None for all that is to be encoded.

        Raises
        ------
        FormatError
            If the vector comes from other weights, or has another width.
        """
        if source.kind != Kind.FEATURES or source.path is None:
            return None
        meta = self._meta_of(source.path.parent)
        if meta.get("arrays") != "global":
            return None
        if meta.get("weights") != Identity.parse(self._clamp3.identity).space:
            raise FormatError(f"{source.name} is a vector of other weights ({meta.get('weights')}).")
        vector = stored_vector(source)
        if vector is not None and width is not None and len(vector) != width:
            raise FormatError(f"{source.name} has width {len(vector)}, the query has {width}.")
        return vector


def _vector_of(query: Item, clamp3: Clamp3, stored: _Stored) -> np.ndarray:
    """Return the vector of a query, shape (D,)."""
    try:
        source = source_of(query)
        vector = stored.vector(source)
    except FormatError as error:
        raise Clamp3Error(f"the query cannot be encoded: {error}") from None
    if vector is not None:
        return vector
    asked = clamp3.encode([source])
    if asked.errors[0] is not None:
        if source.kind == Kind.TEXT:
            clamp3.tokenizer()  # an absent one is no fault of the query, and its error says so
        raise Clamp3Error(f"the query cannot be encoded: {asked.errors[0]}")
    return np.asarray(asked.vectors[0])


def describe_skipped(skipped: list[str]) -> str:
    """Return a sentence on the files without a reader, "" if there are none."""
    listed = _suffixes(skipped)
    return f"skipped files of other types: {listed}." if listed else ""


def _suffixes(names: list[str]) -> str:
    counts = Counter(PurePosixPath(name).suffix.lower() for name in names if not name.endswith("/"))
    return ", ".join(f"{n} {suffix or 'without suffix'}" for suffix, n in sorted(counts.items()))


def _why_nothing(found: Contents) -> str:
    if not found.problems:
        kinds = _suffixes(found.ignored)
        return f" (it has: {kinds})" if kinds else ""
    return f" (first: {in_words(found.problems[0])})"


def _title(source: Source) -> str:
    if modality_of(source.kind) == "audio":
        return ""
    try:
        return printable(title_of(source.read(), source.kind))
    except Clamp3Error:
        return ""
