"""Crop a sequence to the model's window for training; inference reads all windows (`clamp3.embedding.windows`)."""

from __future__ import annotations

import random


def head(n: int, limit: int) -> slice:
    """Return the slice of the first ``limit`` of ``n`` items (evaluation).

    Parameters
    ----------
    n, limit : int
    """
    return slice(0, min(n, limit))


def random_crop(n: int, limit: int, rng: random.Random) -> slice:
    """Return head, tail or a random middle of ``limit`` items, one third each (training).

    Sequences that fit are kept whole and draw nothing from ``rng``. A middle starts at item 1 at
    the earliest and may end with the last item.

    Parameters
    ----------
    n, limit : int
    rng : random.Random
    """
    if n <= limit:
        return slice(0, n)
    where = rng.choice(("head", "tail", "middle"))
    if where == "head":
        return slice(0, limit)
    start = n - limit if where == "tail" else rng.randint(1, n - limit)
    return slice(start, start + limit)
