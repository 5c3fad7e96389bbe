"""The words of a training item: which fields, which lines, in which order.

An item is one object of the JSONL: ``id, title, artists, region, language, genres, tags, background,
analysis, description, scene, translations{language, background, analysis, description, scene}, filepaths``.
Every field may be missing.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

NOT_TEXT = frozenset({"id", "filepaths", "language", "translations"})
EVALUATION_FIELDS = ("analysis", "description", "background", "scene", "title")


def _strings(values: Iterable[Any]) -> list[str]:
    """Flatten strings and lists of strings; drop what is empty or no string."""
    found: list[str] = []
    for value in values:
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, list):
            found.extend(part for part in value if isinstance(part, str))
    return [text for text in found if text]


def _translated(item: Mapping[str, Any]) -> list[str]:
    translations = item.get("translations")
    if not isinstance(translations, Mapping):
        return []
    return _strings(value for key, value in translations.items() if key != "language")


def _original(item: Mapping[str, Any]) -> list[str]:
    return _strings(value for key, value in item.items() if key not in NOT_TEXT)


def _lines(texts: Iterable[str]) -> list[str]:
    return [line for line in "\n".join(dict.fromkeys(texts)).split("\n") if line]


def training_lines(item: Mapping[str, Any], rng: random.Random, *, keep: float = 0.5) -> list[str]:
    """Draw the lines one training step sees.

    Parameters
    ----------
    item : mapping
        One JSONL object.
    rng : random.Random
        Source of every draw.
    keep : float
        Probability that a line stays; 1 keeps all (and still shuffles).

    Returns
    -------
    list of str
        With probability one half the translated texts if there are any, else all other fields;
        duplicates removed, split into lines, each kept with probability ``keep`` (all if none is),
        shuffled. The caller joins them by the separator token. Empty if the item has no text.

    References
    ----------
    sanderwood/clamp3 ``code/train_clamp3_symbolic.py`` lines 50-77; order-preserving where the
    released code passes through a set.
    """
    texts = _translated(item) if rng.random() < 0.5 else []
    lines = _lines(texts or _original(item) or _translated(item))
    kept = [line for line in lines if rng.random() < keep] or lines
    rng.shuffle(kept)
    return kept


def evaluation_lines(item: Mapping[str, Any]) -> list[str]:
    """Return the text an item is evaluated with: ``analysis``, unsplit.

    Where it is missing, the first of description, background, scene, title that is there, else all
    other text; empty if the item has none.
    """
    for field in EVALUATION_FIELDS:
        found = _strings([item.get(field)])
        if found:
            return ["\n".join(found)]
    return _lines(_original(item) or _translated(item))
