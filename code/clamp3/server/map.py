"""The map of an index: two coordinates per piece, computed once for each state of it."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from clamp3.errors import Clamp3Error
from clamp3.index.store import VECTOR
from clamp3.jobs.parallel import Workers
from clamp3.retrieval.projection import MIN_POINTS, project
from clamp3.server import rows
from clamp3.server.service import Opened

MAX_POINTS = 20_000
_SECONDS = 600.0


def drawn(opened: Opened, method: str) -> dict[str, Any]:
    """Return the points of a map as JSON: id, x, y, modality and title.

    Parameters
    ----------
    opened : Opened
    method : str
        As of `clamp3.retrieval.projection.project`.
    """
    return opened.once("map", lambda: _computed(opened, method))


def _computed(opened: Opened, method: str) -> dict[str, Any]:
    ids = [piece for _, piece in opened.names(None)]
    total = len(ids)
    if total > MAX_POINTS:
        chosen = np.random.default_rng(0).choice(total, MAX_POINTS, replace=False)
        ids = [ids[n] for n in np.sort(chosen)]
    fields = ["id", "name", "title", "modality", VECTOR]
    found = {row["id"]: row for row in opened.library.pieces.rows(fields, ids=ids)}
    pieces = [found[each] for each in ids if each in found]
    places, used = _places(pieces, method)
    points = [
        [
            rows.client_id(row["id"]),
            round(float(x), 4),
            round(float(y), 4),
            row["modality"],
            row["title"] or row["name"],
        ]
        for row, (x, y) in zip(pieces, places, strict=True)
    ]
    return {"points": points, "method": used, "total": total}


def _places(pieces: list[dict[str, Any]], method: str) -> tuple[np.ndarray, str]:
    """Return a place within a square of side 2 for every piece, and by what method."""
    if len(pieces) < MIN_POINTS:
        return np.column_stack([np.linspace(-1, 1, len(pieces)), np.zeros(len(pieces))]), "none"
    vectors = np.stack([row[VECTOR] for row in pieces])
    for tried in dict.fromkeys((method, "pca")):
        # A worker: what UMAP compiles and holds goes with it.
        [outcome] = Workers(partial(project, method=tried), timeout_sec=_SECONDS, memory_limit_mb=None).map([vectors])
        if outcome.value is not None:
            places = outcome.value - outcome.value.mean(axis=0)
            return places / (np.abs(places).max() or 1.0), tried
    raise Clamp3Error(outcome.error or "there is no map.")
