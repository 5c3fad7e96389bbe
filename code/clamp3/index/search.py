"""Ask a folder of raw music and text files for what is closest to a sentence or a file."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from clamp3.errors import Clamp3Error, ConfigError, DataError, FormatError
from clamp3.formats import Kind
from clamp3.formats.titles import title_of
from clamp3.index.provenance import origins
from clamp3.index.ranking import Hit, check_top_k, rank
from clamp3.index.vectors import stored_vector
from clamp3.jobs.identity import Identity
from clamp3.jobs.progress import progress
from clamp3.jobs.walk import printable, walk
from clamp3.sources import Item, Source, modality_of, source_of

if TYPE_CHECKING:
    from clamp3.embedding.clamp3 import Clamp3
    from clamp3.embedding.passages import Passage, PassagePlan


@dataclass(frozen=True)
class Answer:
    """What a folder answers to a question.

    Attributes
    ----------
    hits : list of Hit
        Best first; a name is the file's path in the folder, suffix included.
    failures : list of (str, str)
        Files that could not be compared, and why.
    passed_over : list of str
        Files of types without a reader.
    n_references, n_cached : int
        Files compared, and how many of their vectors were known from before.
    n_passages : int
        Passages compared, if passages were asked for.
    """

    hits: list[Hit]
    failures: list[tuple[str, str]] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    n_references: int = 0
    n_cached: int = 0
    n_passages: int = 0


def ask(clamp3: Clamp3, query: Item, folder: Path, *, top_k: int = 10, passages: PassagePlan | None = None) -> Answer:
    """Rank the files of a folder by their closeness to a query.

    Parameters
    ----------
    clamp3 : Clamp3
        With a cache, files seen before are not encoded again, wherever they lie now.
    query : str, path, Source or (bytes, Kind)
        A sentence or any file.
    folder : Path
        Searched recursively; any mixture of kinds.
    top_k : int
        How many answers.
    passages : PassagePlan, optional
        Rank passages in place of pieces; of passages of one piece that overlap, the best is an answer.

    Raises
    ------
    ConfigError
        If ``top_k`` is below 1 or there is no such folder.
    DataError
        If no file of the folder can be compared.
    Clamp3Error
        If the query cannot be encoded.
    """
    check_top_k(top_k)
    if not folder.exists():
        raise ConfigError(f"there is no folder {printable(folder)}; the query comes first, then the folder.")
    found, stored = walk(folder), _Stored(clamp3, folder)
    asked = _vector_of(query, clamp3, stored)  # first: a mistake in the question must not wait for the folder
    sources: list[Source] = []
    failures = [(printable(problem.relative), problem.reason) for problem in found.problems]
    vectors: list[np.ndarray] = []  # (rows, D) of each file in `kept`
    kept: list[Source] = []
    where: list[tuple[int, Passage | None]] = []  # file and place of each row
    n_cached = 0
    for item in found.files:
        source = Source(item.kind, printable(item.relative), path=item.path)
        try:
            vector = stored.vector(source)
            if vector is not None and vector.shape != asked.shape:
                raise FormatError(f"{source.name} has width {len(vector)}, the question has {len(asked)}.")
        except Clamp3Error as error:
            failures.append((source.name, str(error)))
            continue
        if vector is None:
            sources.append(source)
        else:
            where.append((len(kept), None))
            vectors.append(vector[None])
            kept.append(source)
    with progress(len(sources), "encoding") as advance:
        for result in clamp3.stream(sources, passages=passages):
            advance(1)
            if result.value is None:
                failures.append((result.name, result.error or "no vector"))
            else:
                where += [(len(kept), passage) for passage in result.passages or (None,)]
                vectors.append(np.atleast_2d(result.value))
                kept.append(sources[result.index])
                n_cached += result.cached
    if not vectors:
        kinds = ", ".join(f"{n} {suffix or 'without suffix'}" for suffix, n in _suffixes(found.ignored))
        name, why = failures[0] if failures else ("", "")
        first = why if why.startswith(name) else f"{name}: {why}"
        reason = f" (first: {first})" if failures else f" (it has: {kinds})" if kinds else ""
        raise DataError(f"{folder} holds no file that can be compared{reason}.")
    rows = np.concatenate(vectors)
    # Equal scores are ordered by file, and within a file by place.
    names = [f"{kept[owner].name}\0{passage.first:09}" if passage else kept[owner].name for owner, passage in where]
    ranked = rank(asked, rows, top_k if passages is None else len(rows), names)
    hits: list[Hit] = []
    taken: list[tuple[int, Passage]] = []
    for row, score in ranked:
        owner, passage = where[row]
        if passage is not None:
            if any(owner == other and passage.overlaps(earlier) for other, earlier in taken):
                continue
            taken.append((owner, passage))
        source = kept[owner]
        hits.append(Hit(len(hits) + 1, source.name, score, _title(source), printable(source.path), passage))
        if len(hits) == top_k:
            break
    n_passages = len(rows) if passages is not None else 0
    return Answer(hits, sorted(failures), found.ignored, len(kept), n_cached, n_passages)


class _Stored:
    """Vectors that extraction has written, told by the ``features.json`` beside them."""

    def __init__(self, clamp3: Clamp3, root: Path) -> None:
        self._clamp3 = clamp3  # its identity is asked for when there is a vector: it means reading all weights
        self._origin = origins(root)

    def vector(self, source: Source) -> np.ndarray | None:
        """Return the joint-space vector, shape (D,), of a file that holds one; None for all that is to be encoded.

        Raises
        ------
        FormatError
            If the vector comes from other weights.
        """
        if source.kind is not Kind.FEATURES or source.path is None:
            return None
        meta = self._origin(source.path.parent)
        if meta.get("arrays") != "global":
            return None
        if meta.get("weights") != Identity.parse(self._clamp3.identity).space:
            raise FormatError(f"{source.name} is a vector of other weights ({meta.get('weights')}).")
        return stored_vector(source)


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
        raise Clamp3Error(f"the query cannot be encoded: {asked.errors[0]}")
    found: np.ndarray = asked.vectors[0]
    return found


def describe_ignored(passed_over: list[str]) -> str:
    """Return a sentence on the files without a reader, "" if there are none."""
    counts = _suffixes(passed_over)
    if not counts:
        return ""
    listed = ", ".join(f"{n} {suffix or 'without suffix'}" for suffix, n in counts)
    return f"passed over files of other types: {listed}."


def _suffixes(names: list[str]) -> list[tuple[str, int]]:
    return sorted(Counter(PurePosixPath(name).suffix.lower() for name in names if not name.endswith("/")).items())


def _title(source: Source) -> str:
    if modality_of(source.kind) == "audio":
        return ""
    try:
        return title_of(source.read(), source.kind)
    except Clamp3Error:
        return ""
