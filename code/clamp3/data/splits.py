"""Which items are held out for evaluation: a function of the item's id alone.

Every rank, every run and every computer gets the same answer, and adding items never moves one from
one part to the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clamp3.errors import ConfigError


def item_id(fields: Mapping[str, Any]) -> str:
    """Return what names a record: its id, or the files it names."""
    return str(fields.get("id") or fields.get("filepaths"))


def hash_of(item_id: str) -> int:
    """Return a number below 2 ** 64 that depends on the id only (SHA-256, first 8 bytes)."""
    digest = hashlib.sha256(item_id.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big")


def position(item_id: str) -> float:
    """Return a number in [0, 1) that depends on the id only."""
    return min(hash_of(item_id) / 2**64, 1 - 2**-53)


def split_hashes(hashes: np.ndarray, fraction: float, least: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Divide items into training and evaluation by the hashes of their ids.

    Parameters
    ----------
    hashes : uint64 array, shape (N,)
        `hash_of` every item's id; equal ones stay together.
    fraction : float
        Expected share of evaluation items, in [0, 1).
    least : int
        Evaluation items to hold out at least, but no more than a fifth of all; without effect if the share is 0.

    Returns
    -------
    train, evaluation : int32 array
        Indices, ascending. With ``fraction > 0`` and at least two distinct ids neither is empty: the id
        with the smallest (largest) hash moves over if need be.

    Raises
    ------
    ConfigError
        If ``fraction`` lies outside [0, 1).
    """
    if not 0 <= fraction < 1:
        raise ConfigError(f"The evaluation share must lie in [0, 1), got {fraction}.")
    held_out = hashes < np.uint64(fraction * 2**64)
    wanted = min(least, len(hashes) // 5)
    if fraction > 0 and wanted > held_out.sum():
        held_out = hashes <= np.partition(hashes, wanted - 1)[wanted - 1]
    if fraction > 0 and len(hashes) and hashes.min() != hashes.max():
        if not held_out.any():
            held_out = hashes == hashes.min()
        elif held_out.all():
            held_out = hashes != hashes.max()
    return np.flatnonzero(~held_out).astype(np.int32), np.flatnonzero(held_out).astype(np.int32)


def split(ids: Sequence[str], fraction: float) -> tuple[list[int], list[int]]:
    """Divide items into training and evaluation by their ids; see `split_hashes`."""
    hashes = np.array([hash_of(item_id) for item_id in ids], dtype=np.uint64)
    train, evaluation = split_hashes(hashes, fraction)
    return train.tolist(), evaluation.tolist()
