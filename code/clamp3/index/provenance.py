"""What stored vectors come from: what extraction wrote beside them, or nearest above them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from clamp3.errors import ConfigError, DataError
from clamp3.jobs.walk import printable


def origins(root: Path) -> Callable[[Path], dict[str, Any]]:
    """Return a function from a folder to what its arrays come from, ``{}`` where nothing is known.

    It looks at every folder once, and raises `DataError` if the arrays are hidden states. Above ``root`` only what
    extraction wrote counts, whatever else is called ``features.json`` there.
    """
    from clamp3.jobs.manifest import read_meta

    top = root.resolve()

    @functools.cache
    def origin(folder: Path) -> dict[str, Any]:
        place = folder.resolve()
        try:
            meta = read_meta(place)
        except ConfigError:
            if place == top or top in place.parents:
                raise
            meta = None
        if meta is None or not meta.keys() & {"arrays", "weights"}:
            return origin(place.parent) if place.parent != place else {}
        if meta.get("arrays") == "temporal":
            raise DataError(f"{printable(folder)} holds hidden states; extract it again with --get_global.")
        return meta

    return origin


def check_alike(folder: Path, weights: Collection[str]) -> None:
    """Refuse a folder whose vectors are known to come from several weights.

    Raises
    ------
    DataError
        If they are.
    """
    if len(weights) > 1:
        raise DataError(f"{printable(folder)} mixes vectors of different weights ({', '.join(sorted(weights))}).")
