"""Which items are held out for evaluation: a function of the item's id alone.

Every rank, every run and every machine gets the same answer, and adding items never moves one from
one side to the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from clamp3.errors import ConfigError


def position(item_id: str) -> float:
    """Return a number in [0, 1) that depends on the id only (SHA-256, first 8 bytes)."""
    digest = hashlib.sha256(item_id.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split(ids: Sequence[str], fraction: float) -> tuple[list[int], list[int]]:
    """Divide items into training and evaluation by the hash of their ids.

    Parameters
    ----------
    ids : sequence of str
        One id per item; items with the same id stay on the same side.
    fraction : float
        Expected share of evaluation items, in [0, 1).

    Returns
    -------
    train, evaluation : list of int
        Indices into ``ids``, ascending. With ``fraction > 0`` and at least two distinct ids neither
        side is empty: the id with the smallest (largest) hash moves over if need be.

    Raises
    ------
    ConfigError
        If ``fraction`` lies outside [0, 1).
    """
    if not 0 <= fraction < 1:
        raise ConfigError(f"The evaluation share must lie in [0, 1), got {fraction}.")
    positions = {item_id: position(item_id) for item_id in ids}
    held_out = {item_id for item_id, value in positions.items() if value < fraction}
    if fraction > 0 and len(positions) > 1:
        by_hash = sorted(positions, key=lambda item_id: (positions[item_id], item_id))
        held_out = (held_out | {by_hash[0]}) - ({by_hash[-1]} if len(held_out) == len(positions) else set())
    train = [index for index, item_id in enumerate(ids) if item_id not in held_out]
    evaluation = [index for index, item_id in enumerate(ids) if item_id in held_out]
    return train, evaluation
