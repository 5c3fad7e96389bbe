"""Questions to an index: a sentence or a file, filters, pieces or passages; nothing of the folders is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from clamp3.embedding.passages import Passage
from clamp3.errors import ConfigError, printable
from clamp3.formats import Kind
from clamp3.index.folder import find_index
from clamp3.index.fusion import CANDIDATES, fuse
from clamp3.index.library import Library
from clamp3.index.ranking import Hit, check_top_k, rank
from clamp3.index.search import Answer, StoredVectors, query_source, vector_of
from clamp3.index.selection import Distinct, Selection, same_input
from clamp3.index.store import VECTOR, Row
from clamp3.index.where import quoted
from clamp3.index.words import tokens_of
from clamp3.jobs.identity import Identity
from clamp3.sources import Item, Source

if TYPE_CHECKING:
    from clamp3.embedding.clamp3 import Clamp3
    from clamp3.embedding.passages import PassagePlan

_MORE = 4  # candidates per result at first: single precision, copies and the query itself take some
_PASSAGES_PER_HIT = 20  # most passages of a piece overlap others
_MUSIC = "modality <> 'text'"


def find(
    library: Library,
    model: Clamp3,
    query: Item,
    *,
    top_k: int = 10,
    where: str | None = None,
    passages: bool = False,
    selection: Selection | None = None,
    words: bool = True,
) -> list[Hit]:
    """Return what is closest to a query, best first.

    Parameters
    ----------
    library : Library
    model : Clamp3
        The index's own.
    query : str, path, Source or (bytes, Kind)
    top_k : int
        How many results.
    where : str, optional
        A filter; see `clamp3.index.where.to_sql`.
    passages : bool
        Rank passages in place of pieces; of those of one piece that overlap, only the best is a result.
    selection : Selection, optional
        As of `clamp3.index.search.ask`: without one music, every piece of it once, and not the query itself.
    words : bool
        Bring pieces to the front whose title, people or file name answer a sentence; see `clamp3.index.fusion`.

    Raises
    ------
    ConfigError
        If the model is another, or there are no passages.
    Clamp3Error
        If the query cannot be encoded.
    """
    check_top_k(top_k)
    library.check_model(model)
    if passages and library.meta.passages is None:
        raise ConfigError("the index has no passages; build it anew with update --reindex --passages.")
    selection = selection or Selection()
    condition = _condition(library, library.condition(where), selection)
    source = query_source(query)
    asked = vector_of(source, model, StoredVectors(model, source.path.parent if source.path else Path()))
    named: Sequence[Row] = []
    if words and not passages and source.kind == Kind.TEXT and source.path is None:
        text = source.read().decode("utf-8", "replace")
        named = library.pieces.matching(tokens_of([text]), CANDIDATES, condition)
    table, n = (library.passages, _PASSAGES_PER_HIT * top_k) if passages else (library.pieces, _MORE * top_k)
    n = max(n, CANDIDATES) if named else n
    while True:
        rows = table.nearest(asked, n, condition)
        ranked = _in_order(asked, rows)
        if named:
            ranked = _fused(text, asked, ranked, named)
        hits = _hits(library, source, ranked, selection, passages=passages)
        if len(hits) > top_k or len(rows) < n:  # one more: what follows the last may be its copies
            return hits[:top_k]
        n *= 4


def ask_index(
    model: Clamp3,
    query: Source,
    folder: Path,
    *,
    top_k: int = 10,
    passages: PassagePlan | None = None,
    selection: Selection | None = None,
) -> Answer | None:
    """Return what `clamp3.index.search.ask` returns, from the index that a folder has in it, None if there is none.

    Parameters
    ----------
    model, query, folder, top_k, passages, selection
        As of `clamp3.index.search.ask`.
    """
    place = find_index(folder)
    if place is None or not folder.is_dir():
        return None
    with Library.open(place) as library:
        same_passages = passages is None or library.meta.passages == asdict(passages)
        known = folder.resolve() in library.folder.roots().values() and len(library.folder.roots()) == 1
        if not known or not same_passages or library.meta.weights != Identity.parse(model.identity).space:
            return None
        hits = find(library, model, query, top_k=top_k, passages=passages is not None, selection=selection)
        remark = f"answered from the index of {printable(folder)} (index.py update keeps it up to date; --no_index)."
        n_passages = library.passages.count() if passages is not None else 0
        return Answer(hits, n_references=library.pieces.count(), n_passages=n_passages, remarks=[remark])


def _condition(library: Library, filtered: str | None, selection: Selection) -> str | None:
    """Return the filter of the kinds that are ranked: music, unless others are asked for or there is none."""
    if selection.kinds:
        kinds = ", ".join(quoted(kind.value) for kind in Kind.known.values() if selection.wants(kind))
        return _both(filtered, f"kind IN ({kinds})")
    music = _both(filtered, _MUSIC)
    return music if library.pieces.count(music) else filtered


def _both(one: str | None, other: str) -> str:
    return f"({one}) AND ({other})" if one else other


def _in_order(asked: np.ndarray, rows: Sequence[Row]) -> list[tuple[Row, float]]:
    """Return rows with their exact cosines, best first, equal ones by name and place."""
    if not rows:
        return []
    names = [f"{row['name']}\0{row.get('first_item', 0):09}\0{row['id']}" for row in rows]
    ranked = rank(asked, np.stack([row[VECTOR] for row in rows]), len(rows), names)
    return [(rows[number], score) for number, score in ranked]


def _fused(
    text: str, asked: np.ndarray, ranked: Sequence[tuple[Row, float]], named: Sequence[Row]
) -> list[tuple[Row, float]]:
    """Return rows in the order of vectors and words together, each with its cosine."""
    every = {row["id"]: (row, score) for row, score in ranked}
    every |= {row["id"]: (row, score) for row, score in _in_order(asked, [r for r in named if r["id"] not in every])}
    return [every[each] for each in fuse(text, [row for row, _ in ranked], named)]


def _hits(
    library: Library, query: Source, ranked: Sequence[tuple[Row, float]], selection: Selection, *, passages: bool
) -> list[Hit]:
    """Return a hit for every row that is an answer of its own."""
    allowed = [(row, score) for row, score in ranked if score >= selection.min_score]
    allowed = [(row, score) for row, score in allowed if not selection.excludes(PurePosixPath(row["name"]))]
    if passages:
        return _passage_hits(library, query, allowed, selection)
    if selection.keep_duplicates:
        return [_hit(library, place, row, score) for place, (row, score) in enumerate(allowed, start=1)]
    own = [n for n, (row, _) in enumerate(allowed) if same_input(query, str(library.path_of(_piece(row))))]
    distinct = Distinct([row[VECTOR][None] for row, _ in allowed], own)
    kept = [n for n, (_, score) in enumerate(allowed) if distinct.takes(n, score)]
    hits = [_hit(library, place, *allowed[n]) for place, n in enumerate(kept, start=1)]
    copies = [tuple(sorted(allowed[copy][0]["name"] for copy in distinct.copies[n])) for n in kept]
    return [replace(hit, also=also) for hit, also in zip(hits, copies, strict=True)]


def _passage_hits(
    library: Library, query: Source, ranked: Sequence[tuple[Row, float]], selection: Selection
) -> list[Hit]:
    """Return the best passages; of pieces with the same content those of the first."""
    pieces = {row["piece"] for row, _ in ranked}
    content = {row["id"]: row["content"] for row in library.pieces.rows(["id", "content"], ids=pieces)}
    owners: dict[str, str] = {}
    if not selection.keep_duplicates:
        own = {row["piece"] for row, _ in ranked if same_input(query, str(library.path_of(row["piece"])))}
        owners = {content[piece]: "" for piece in own & content.keys()}
    hits: list[Hit] = []
    taken: list[tuple[str, Passage]] = []
    for row, score in ranked:
        piece = _piece(row)
        if not selection.keep_duplicates and owners.setdefault(content.get(piece, piece), piece) != piece:
            continue
        passage = Passage(row["unit"], row["start_at"], row["end_at"], row["first_item"], row["last_item"])
        if any(piece == other and passage.overlaps(earlier) for other, earlier in taken):
            continue
        taken.append((piece, passage))
        hits.append(_hit(library, len(hits) + 1, row, score, passage))
    return hits


def _hit(library: Library, place: int, row: Row, score: float, passage: Passage | None = None) -> Hit:
    path = printable(library.path_of(_piece(row)))
    return Hit(place, row["name"], score, row["title"], path, passage)


def _piece(row: Row) -> str:
    return str(row.get("piece", row["id"]))
