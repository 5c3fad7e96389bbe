"""What tells questions about music from others, by a model's vectors of texts: a file beside the weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clamp3.errors import WeightsError
from clamp3.formats.tables import read_json

NAME = "topic.json"


@dataclass(frozen=True)
class Topic:
    """A direction along which texts about music lie high; ``code/recipes/mini/topic.py`` finds it.

    Attributes
    ----------
    weights : str
        Name and hash of the weights that it is of.
    direction : tuple of float
        Of length 1.
    least : float
        What a unit vector has along it whose text is about music.
    false_alarms, found : float
        Share of texts about music, and of others, that lie below, measured on texts that it was not learned from.
    """

    weights: str
    direction: tuple[float, ...]
    least: float
    false_alarms: float
    found: float

    def excludes(self, vector: NDArray[Any]) -> bool:
        """Return whether the text with a vector, of any length, is about something else than music."""
        return float(vector @ np.array(self.direction) / np.linalg.norm(vector)) < self.least


def topic_of(weights: Path, identity: str) -> Topic | None:
    """Return what lies beside weights, None if nothing does, or it is of others.

    Parameters
    ----------
    weights : Path
    identity : str
        Their name and hash.
    """
    found: Topic | None = read_json(weights.with_name(NAME), Topic, default=None, error=WeightsError)
    return found if found is not None and found.weights == identity else None
