"""Playlists from an index: a path from one piece or text to another, or music like some seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from clamp3.errors import ConfigError
from clamp3.index.query import best_hits
from clamp3.index.question import MAX_TOP_K, Asked, Part, Question, resolve
from clamp3.index.ranking import Hit, unit_rows

if TYPE_CHECKING:
    from clamp3.embedding.clamp3 import Clamp3
    from clamp3.index.library import Library

MAX_PIECES = 200
_MORE = 20  # candidates per piece: those of artists that were there already are skipped


def playlist(
    library: Library,
    model: Clamp3,
    seeds: Sequence[Part],
    n: int = 20,
    *,
    end: Part | None = None,
    where: str | None = None,
    kinds: Sequence[str] = (),
) -> list[Hit]:
    """Return pieces to play one after the other; what was given, and copies of anything, are not among them.

    Parameters
    ----------
    library : Library
    model : Clamp3
        The index's own.
    seeds : sequence of Part
        What the pieces are like. An artist, or composer, comes again only when no other one is near.
    n : int
        How many.
    end : Part, optional
        In place of music like the seeds, a path from the only one to this: each piece is the closest to its place on
        the way (the arc between both directions).
    where, kinds
        As in `clamp3.index.question.Question`.

    Raises
    ------
    ConfigError
        If ``n`` or the number of seeds is impossible, or the model is another.
    Clamp3Error
        If a part cannot be encoded.
    """
    if not 1 <= n <= MAX_PIECES:
        raise ConfigError(f"a playlist of {n} pieces is not possible; 1 to {MAX_PIECES} are.")
    library.check_model(model)
    question = Question(tuple(seeds), where=where, kinds=tuple(kinds), top_k=min(MAX_TOP_K, _MORE * n), words=False)
    if end is None:
        return _numbered(_spread(best_hits(library, resolve(question, model, library), question), n))
    if len(seeds) != 1:
        raise ConfigError(f"a path has one beginning and one end; there are {len(seeds)} beginnings.")
    ends = [resolve(replace(question, parts=(part,)), model, library) for part in (*seeds, end)]
    start, last = unit_rows(np.stack([asked.vector for asked in ends]))
    given = Asked(
        start,
        ends[0].sources + ends[1].sources,
        ends[0].pieces | ends[1].pieces,
        ends[0].contents | ends[1].contents,
    )
    question = replace(question, top_k=n)
    path: list[Hit] = []
    for share in np.linspace(0, 1, n + 2)[1:-1]:
        near = best_hits(library, replace(given, vector=_between(start, last, float(share))), question)
        taken = {hit.id for hit in path}
        path += [hit for hit in near if hit.id not in taken][:1]
    return _numbered(path)


def _between(start: np.ndarray, end: np.ndarray, share: float) -> np.ndarray:
    """Return the unit vector at a share of the arc from one unit vector to another."""
    angle = float(np.arccos(np.clip(start @ end, -1, 1)))
    if np.sin(angle) < 1e-6:  # the same, or opposites, between which every way is as short
        return start if share < 0.5 else end
    way: np.ndarray = np.sin((1 - share) * angle) * start + np.sin(share * angle) * end
    return way / np.sin(angle)


def _spread(hits: Sequence[Hit], n: int) -> list[Hit]:
    """Return the first hits of each artist, then the second ones, and so on; unknown artists are all different."""
    turns: list[tuple[int, Hit]] = []
    met: dict[str, int] = {}
    for hit in hits:
        artist = " ".join(str(hit.facts.get("artist") or hit.facts.get("composer") or hit.id).casefold().split())
        turns.append((met.get(artist, 0), hit))
        met[artist] = met.get(artist, 0) + 1
    return [hit for _, hit in sorted(turns, key=lambda turn: turn[0])[:n]]


def _numbered(hits: Sequence[Hit]) -> list[Hit]:
    return [replace(hit, rank=place) for place, hit in enumerate(hits, start=1)]
