"""Questions by words without what all of them share, which brings the same few pieces to the front of every list.

Vectors of sentences about music lie close together, and pieces that are close to all of them are hubs. What a piece has
in common with sentences that stand for any question says nothing about this one, so half of its mean cosine to them is
subtracted. That mean is linear in the piece, so the question's vector is moved and no piece is touched. What this and
other corrections do to questions by words, scores, MIDI and recordings is in docs/indexes.md.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING
from weakref import ref

import numpy as np

from clamp3.index.ranking import unit_rows
from clamp3.sources import sentence

if TYPE_CHECKING:
    from clamp3.embedding.clamp3 import Clamp3

# Ten do what a hundred do: with mini 1 .625 and .635 of the first ten results right, without any .438.
PROBES = (
    "a slow waltz",
    "a quick jig",
    "a sad fugue",
    "a bright march",
    "a calm song",
    "a wild hymn",
    "a noble rag",
    "an odd sonata",
    "a lively lullaby",
    "a dark dance",
)
SHARE = 0.5


def without_common(vector: np.ndarray, model: Clamp3) -> np.ndarray:
    """Return the vector, shape (D,), that ranks pieces for a question by words.

    Parameters
    ----------
    vector : ndarray, shape (D,)
        Of the words.
    model : Clamp3
    """
    common = _common(ref(model))
    return np.asarray(unit_rows(np.asarray(vector, np.float64)[None])[0] - SHARE * common)


@lru_cache(maxsize=4)  # a large model takes longer over the probes than over the question; a reference keeps none alive
def _common(model: ref[Clamp3]) -> np.ndarray:
    found = model()
    assert found is not None
    probes = found.encode([sentence(probe) for probe in PROBES]).vectors
    return np.asarray(unit_rows(np.asarray(probes, np.float64)).mean(0))
