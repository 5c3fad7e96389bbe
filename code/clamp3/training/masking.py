"""What M3 pre-training hides: which patches of a piece are selected, and how they are corrupted."""

from __future__ import annotations

import math
import random

import numpy as np

from clamp3.modalities.patches import EOS, MASK

TREATMENTS, WEIGHTS = ("mask", "shuffle", "keep"), (0.8, 0.1, 0.1)


def select(n_patches: int, ratio: float, rng: random.Random) -> np.ndarray:
    """Choose ``ceil(ratio * n_patches)`` patches at random.

    Parameters
    ----------
    n_patches : int
    ratio : float
    rng : random.Random

    Returns
    -------
    bool array, shape (L,)
        True where the patch is selected (and enters the loss).
    """
    selected = np.zeros(n_patches, dtype=bool)
    selected[rng.sample(range(n_patches), math.ceil(ratio * n_patches))] = True
    return selected


def draw_treatment(rng: random.Random) -> str:
    """Return "mask" (80 %), "shuffle" (10 %) or "keep" (10 %): one for the whole piece."""
    return rng.choices(TREATMENTS, WEIGHTS)[0]


def corrupt(patches: np.ndarray, selected: np.ndarray, treatment: str, rng: random.Random) -> np.ndarray:
    """Return a copy of the patches with the selected ones treated.

    Parameters
    ----------
    patches : uint8 array, shape (L, P)
    selected : bool array, shape (L,)
    treatment : {"mask", "shuffle", "keep"}
        "mask" replaces every code of a selected patch by the mask code; "shuffle" permutes what lies
        between its first code and its end code (the rest of the patch if it has not exactly one end
        code); "keep" changes nothing.
    rng : random.Random
        Source of the permutations.

    Returns
    -------
    uint8 array, shape (L, P)
    """
    corrupted = patches.copy()
    if treatment == "mask":
        corrupted[selected] = MASK
    elif treatment == "shuffle":
        for index in np.flatnonzero(selected):
            ends = np.flatnonzero(patches[index] == EOS)
            stop = int(ends[0]) if len(ends) == 1 else patches.shape[1]
            order = list(range(1, stop))
            rng.shuffle(order)
            corrupted[index, 1:stop] = patches[index, order]
    return corrupted
