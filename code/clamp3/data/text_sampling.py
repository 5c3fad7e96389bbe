"""The words of a training item: which fields, which lines, in which order.

An item is one object of the JSONL: ``id, title, artists, region, language, genres, tags, background,
analysis, description, scene, translations{language, background, analysis, description, scene}, filepaths``.
CLaMP 2's have ``title, composer, genres, description, lyrics, tags, ensembles, instruments, filepaths``, and
``summary_en``, a string or a list of them, and ``summary_nen{language, summary}``, an object or a list of them.
Every field may be missing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

NOT_TEXT = frozenset({"id", "filepaths", "language", "translations"})
SUMMARIES = frozenset({"summary_en", "summary_nen"})
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
    return _drawn(_lines(texts or _original(item) or _translated(item)), rng, keep)


def _drawn(lines: list[str], rng: random.Random, keep: float) -> list[str]:
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


def clamp2_training_lines(item: Mapping[str, Any], rng: random.Random, *, keep: float = 0.5) -> list[str]:
    """Draw the lines one training step of CLaMP 2 sees; arguments as of `training_lines`.

    Returns
    -------
    list of str
        With probability one half the metadata, every field but the summaries, in lines as `training_lines` draws
        them; else one English or one other summary, whole, a quarter each. What is missing gives way to what is there.

    References
    ----------
    sanderwood/clamp2 ``code/train_clamp2.py`` lines 50-75, which expects lists of summaries where its documentation and
    its GPT-4 script give a string and an object: both are read here.
    """
    metadata = _lines(_original({name: value for name, value in item.items() if name not in SUMMARIES}))
    english, other = _summaries(item, "summary_en"), _summaries(item, "summary_nen")
    if (rng.random() < 0.5 and metadata) or not (english or other):
        return _drawn(metadata, rng, keep)
    first, second = (english, other) if rng.random() < 0.5 else (other, english)
    return [rng.choice(first or second)]


def clamp2_evaluation_lines(item: Mapping[str, Any]) -> list[str]:
    """Return the text CLaMP 2 is evaluated with: the first English summary, or what CLaMP 3 would be evaluated with."""
    return (_summaries(item, "summary_en") or _summaries(item, "summary_nen"))[:1] or evaluation_lines(item)


def _summaries(item: Mapping[str, Any], field: str) -> list[str]:
    """Return the summaries of a field that holds one or a list of them, each a string or an object with a summary."""
    value = item.get(field)
    found = value if isinstance(value, list) else [value]
    return _strings(one.get("summary") if isinstance(one, Mapping) else one for one in found)


@dataclass(frozen=True)
class Sampling:
    """How texts are drawn in training, and taken in evaluation."""

    training: Callable[..., list[str]]
    evaluation: Callable[[Mapping[str, Any]], list[str]]


SAMPLINGS = {
    "clamp3": Sampling(training_lines, evaluation_lines),
    "clamp2": Sampling(clamp2_training_lines, clamp2_evaluation_lines),
}
