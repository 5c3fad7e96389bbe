"""Search a folder of raw music and text files for what is closest to a sentence or a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clamp3.errors import Clamp3Error, DataError, printable
from clamp3.formats import Kind
from clamp3.formats.titles import title_of
from clamp3.index.answer import Answer, suffixes, understood
from clamp3.index.question import Asked, Question, resolve
from clamp3.index.ranking import Hit, check_top_k, rank
from clamp3.index.selection import SAME, Distinct, Selection, folder_names, require_folders, vector_kinds
from clamp3.index.vectors import Contents, StoredVectors, in_words, read_contents
from clamp3.jobs.progress import progress
from clamp3.modalities import modality_of
from clamp3.sources import Item, Source

if TYPE_CHECKING:
    from clamp3.embedding.clamp3 import Clamp3
    from clamp3.embedding.passages import Passage, PassagePlan


def ask(
    clamp3: Clamp3,
    query: Item | Question,
    folder: Path | Sequence[Path],
    *,
    top_k: int = 10,
    passages: PassagePlan | None = None,
    selection: Selection | None = None,
) -> Answer:
    r"""Rank the files of folders by their similarity to a query.

    Parameters
    ----------
    clamp3 : Clamp3
        With a cache, files seen before are not encoded again, wherever they lie now.
    query : str, path, Source or (bytes, Kind), or Question
        A sentence or any file; or several with what ``top_k`` and ``selection`` say, for filters, words and diversity
        are for indexes.
    folder : Path, or sequence of Path
        Searched recursively; any mixture of kinds.
    top_k : int
        How many results.
    passages : PassagePlan, optional
        Rank passages in place of pieces; of passages of one piece that overlap, only the best is a result.
    selection : Selection, optional
        Which files count; without one music, every piece of it once, and not the query itself.

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
    ...     for name, tune in {"1": jig, "2": air, "2 again": air}.items():
    ...         _ = Path(folder, f"{name}.abc").write_text(tune)
    ...     answer = ask(Clamp3.from_pretrained("mini"), "a tune in 3/4 time", Path(folder))
    ...     alike = ask(Clamp3.from_pretrained("mini"), Path(folder, "2.abc"), Path(folder))
    >>> [(hit.rank, hit.name, hit.title, hit.also) for hit in answer.hits]
    [(1, '2 again.abc', 'Air', ('2.abc',)), (2, '1.abc', 'The Kesh', ())]
    >>> [hit.name for hit in alike.hits]
    ['1.abc']
    """
    check_top_k(top_k)
    folders = [folder] if isinstance(folder, Path) else list(folder)
    require_folders(folders)
    selection = selection or Selection()
    question = query if isinstance(query, Question) else Question.of(query)
    if isinstance(query, Question):
        top_k, selection = question.top_k, question.selection
    asked = resolve(question, clamp3)  # before the folders, which take their time
    found = _contents(clamp3, folders, len(asked.vector), selection)
    references = _References()
    for stored, vector in found.stored:
        references.add(stored, vector)
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
        listed = ", ".join(printable(folder) for folder in folders)
        raise DataError(f"{listed} holds no file that can be compared{_why_nothing(found)}.")
    hits, own = references.best(asked, top_k, selection, by_passage=passages is not None)
    n_passages = len(references.places) if passages is not None else 0
    return Answer(
        hits,
        sorted(found.problems),
        found.ignored,
        len(references.sources),
        n_cached,
        n_passages,
        found.remarks + own,
        **understood(question, asked, clamp3, hits),
    )


@dataclass(frozen=True)
class _Found(Contents):
    """What several folders hold together, and sentences on what is not ranked."""

    remarks: list[str] = field(default_factory=list)


def _contents(clamp3: Clamp3, folders: Sequence[Path], width: int, selection: Selection) -> _Found:
    """Return what is to be ranked of the files of all folders."""
    found, texts = _Found([], [], [], []), _Found([], [], [], [])
    for folder, label in zip(folders, folder_names(folders), strict=True):
        prefix = f"{label}/" if len(folders) > 1 else ""
        stored = partial(StoredVectors(clamp3, folder).vector, width=width)
        part = read_contents(folder, stored, refused=Clamp3Error, excludes=selection.excludes)
        found.problems.extend((f"{prefix}{name}", reason) for name, reason in part.problems)
        found.ignored.extend(f"{prefix}{name}" for name in part.ignored)
        kinds = vector_kinds(folder, [source.name for source, _ in part.stored])
        for kind, (source, vector) in zip(kinds, part.stored, strict=True):
            place = found if selection.wants(kind) else texts if kind == Kind.TEXT else None
            if place is not None:
                place.stored.append((replace(source, name=f"{prefix}{source.name}"), vector))
        for source in part.to_encode:
            place = found if selection.wants(source.kind) else texts if source.kind == Kind.TEXT else None
            if place is not None:
                place.to_encode.append(replace(source, name=f"{prefix}{source.name}"))
    n_texts = len(texts.stored) + len(texts.to_encode)
    if n_texts and not selection.kinds:
        if not found.stored and not found.to_encode:  # texts are what this folder is about
            return replace(found, stored=texts.stored, to_encode=texts.to_encode)
        texts_are, them = ("text is", "it") if n_texts == 1 else ("texts are", "them")
        found.remarks.append(f"{n_texts} {texts_are} not ranked; --kind all ranks {them} too.")
    return found


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

    def best(self, asked: Asked, top_k: int, selection: Selection, *, by_passage: bool) -> tuple[list[Hit], list[str]]:
        """Return the hits, and sentences on what is none: the query itself, everything below the least score."""
        rows = np.concatenate(self.vectors)
        # Equal scores are ordered by file, and within a file by place.
        names = [
            f"{self.sources[owner].name}\0{passage.first:09}" if passage else self.sources[owner].name
            for owner, passage in self.places
        ]
        own = [number for number, source in enumerate(self.sources) if asked.is_part(source.location)]
        distinct = None if selection.keep_duplicates else Distinct(self.vectors, own)
        hits: list[tuple[int, Hit]] = []
        taken: list[tuple[int, Passage]] = []
        ranked = rank(asked.vector, rows, len(rows), names)
        for row, score in ranked:
            owner, passage = self.places[row]
            if score < selection.min_score or (len(hits) >= top_k and score < hits[-1][1].score - SAME):
                break  # after the last hit its copies may follow
            if distinct is not None and not distinct.takes(owner, score):
                continue
            if len(hits) >= top_k:
                continue
            if passage is not None:
                if any(owner == other and passage.overlaps(earlier) for other, earlier in taken):
                    continue
                taken.append((owner, passage))
            source = self.sources[owner]
            hits.append(
                (owner, Hit(len(hits) + 1, source.name, score, _title(source), printable(source.location), passage))
            )
        remarks = []
        if ranked[0][1] < selection.min_score:
            remarks = [f"no file has a cosine of {selection.min_score:g}; the highest is {ranked[0][1]:.4f}."]
        if distinct is None:
            return [hit for _, hit in hits], remarks
        also = {owner: tuple(sorted(self.sources[c].name for c in copies)) for owner, copies in distinct.copies.items()}
        alike = sorted({self.sources[owner].name for owner in own} | {name for owner in own for name in also[owner]})
        if alike:
            named = ", ".join([*alike[:3], *([f"{len(alike) - 3} more"] if len(alike) > 3 else [])])
            remarks.append(f"the query itself is no result ({named}); --keep_duplicates ranks it.")
        return [replace(hit, also=also[owner]) for owner, hit in hits], remarks


def _why_nothing(found: Contents) -> str:
    if not found.problems:
        kinds = suffixes(found.ignored)
        return f" (it has: {kinds})" if kinds else ""
    return f" (first: {in_words(found.problems[0])})"


def _title(source: Source) -> str:
    if modality_of(source.kind) == "audio":
        return ""
    try:
        return printable(title_of(source.read(), source.kind))
    except Clamp3Error:
        return ""
