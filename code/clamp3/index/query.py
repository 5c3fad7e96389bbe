"""Questions to an index: a sentence or a file, filters, pieces or passages; nothing of the folders is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clamp3.embedding.passages import Passage
from clamp3.errors import ConfigError, printable
from clamp3.index.library import Library
from clamp3.index.ranking import Hit, check_top_k, rank
from clamp3.index.search import StoredVectors, vector_of
from clamp3.index.store import VECTOR, Row
from clamp3.sources import Item, Source

if TYPE_CHECKING:
    from clamp3.embedding.clamp3 import Clamp3

_MORE = 4  # candidates per result: the best by single precision, put in order exactly
_PASSAGES_PER_HIT = 20  # most passages of a piece overlap others


def find(
    library: Library,
    model: Clamp3,
    query: Item,
    *,
    top_k: int = 10,
    where: str | None = None,
    passages: bool = False,
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
    condition = library.condition(where)
    asked = vector_of(query, model, StoredVectors(model, _place(query)))
    if passages:
        return _passages(library, asked, top_k, condition)
    rows = library.pieces.nearest(asked, _MORE * top_k, condition)
    return [_hit(library, place, *pair) for place, pair in enumerate(_in_order(asked, rows)[:top_k], start=1)]


def _place(query: Item) -> Path:
    path = query.path if isinstance(query, Source) else query
    return Path(path).parent if isinstance(path, (str, Path)) else Path()


def _in_order(asked: np.ndarray, rows: Sequence[Row]) -> list[tuple[Row, float]]:
    """Return rows with their exact cosines, best first, equal ones by name and place."""
    if not rows:
        return []
    names = [f"{row['name']}\0{row.get('first_item', 0):09}\0{row['id']}" for row in rows]
    ranked = rank(asked, np.stack([row[VECTOR] for row in rows]), len(rows), names)
    return [(rows[number], score) for number, score in ranked]


def _passages(library: Library, asked: np.ndarray, top_k: int, condition: str | None) -> list[Hit]:
    rows = library.passages.nearest(asked, _PASSAGES_PER_HIT * top_k, condition)
    hits: list[Hit] = []
    taken: list[tuple[str, Passage]] = []
    for row, score in _in_order(asked, rows):
        passage = Passage(row["unit"], row["start_at"], row["end_at"], row["first_item"], row["last_item"])
        if any(row["piece"] == piece and passage.overlaps(other) for piece, other in taken):
            continue
        taken.append((row["piece"], passage))
        hits.append(_hit(library, len(hits) + 1, row, score, passage))
        if len(hits) == top_k:
            break
    return hits


def _hit(library: Library, place: int, row: Row, score: float, passage: Passage | None = None) -> Hit:
    path = printable(library.path_of(row.get("piece", row["id"])))
    return Hit(place, row["name"], score, row["title"], path, passage)
