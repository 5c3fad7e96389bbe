"""Words and vectors together: pieces that are called what is asked for come with those that sound like it.

Ranks of both lists are fused (reciprocal rank fusion), where the words count by how much of the question a piece's
title, people and file name answer. So "Maple Leaf Rag" finds the piece of that name, and "a slow air" is left to the
vectors, whatever shares a word with it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from difflib import SequenceMatcher
from functools import lru_cache

import numpy as np

from clamp3.index.store import Row
from clamp3.index.words import words_of

CANDIDATES = 100  # of each list
RANK_OFFSET = 60  # the usual constant of reciprocal rank fusion: how slowly what follows the first counts less
WORD_WEIGHT = 3.0
MIN_MATCH = 0.34  # of a question; less is chance
_MIN_SHARED = 0.15  # of two words' trigrams, before they are compared letter by letter
_MIN_ALIKE, _MIN_ALIKE_SHORT = 0.75, 0.8
_METRE = re.compile(r"\b\d+/\d+\b")  # describes; in names such numbers are movements
# These describe rather than name, unless the rest of a name is there too.
_COMMON = frozenset(
    ("a", "an", "and", "by", "flat", "for", "from", "in", "major", "minor", "of", "on", "sharp", "the", "to", "with")
)


def matches(query: str, rows: Sequence[Row]) -> list[float]:
    """Return how much of a question the words of each piece answer, from 0 to 1; misspelt words count in part.

    Long words count more, and those that few of the pieces have: who asks for a "march in B flat major" is not served
    by whatever is in B flat major.

    Parameters
    ----------
    query : str
    rows : sequence of dict
        With the facts of `clamp3.index.store.FACTS`.

    Examples
    --------
    >>> rag = {"title": "Maple Leaf Rag", "composer": "Scott Joplin", "name": "joplin/rag-1.mxl"}
    >>> [round(matches(query, [rag])[0], 2) for query in ("maple leaf rag", "Jopln", "a slow air")]
    [1.0, 0.91, 0.0]
    """
    found = dict.fromkeys(words_of(_METRE.sub(" ", query)))
    asked = [word for word in found if len(word) > 1 or not word.isascii() or word.isdigit()]
    alike = np.array([[_best(word, words) for word in asked] for words in map(_words, rows)]).reshape(len(rows), -1)
    rarity = np.log1p(len(rows) / (np.count_nonzero(alike, axis=0) + 0.5))
    weights = rarity * np.array([_weight(word) for word in asked])
    return [float(value) for value in alike @ weights / max(weights.sum(), 1e-9)]


def fuse(query: str, by_vector: Sequence[Row], by_words: Sequence[Row]) -> list[str]:
    """Return the ids of pieces in the order of both lists together.

    Parameters
    ----------
    query : str
    by_vector, by_words : sequences of dict
        Rows, best first.
    """
    rows = {row["id"]: row for row in (*by_words, *by_vector[:CANDIDATES])}
    matched = dict(zip(rows, matches(query, list(rows.values())), strict=True))
    named = sorted((each for each in matched if matched[each] >= MIN_MATCH), key=lambda each: (-matched[each], each))
    scores = {row["id"]: 1 / (RANK_OFFSET + place) for place, row in enumerate(by_vector)}
    rank, last = 0, 2.0
    for place, each in enumerate(named):
        if matched[each] < last - 1e-9:  # those that match alike are left to the vectors
            rank, last = place, matched[each]
        scores[each] = scores.get(each, 0.0) + WORD_WEIGHT * matched[each] ** 2 / (RANK_OFFSET + rank)
    return sorted(scores, key=lambda each: (-scores[each], each))


def _weight(word: str) -> float:
    return 0.5 if word in _COMMON else max(2, len(word) - 1) if word.isascii() else 2 * len(word)


def _words(row: Row) -> set[str]:
    said = (row.get(name) or "" for name in ("title", "composer", "artist", "album", "genre", "name"))
    return {word for text in said for word in words_of(str(text))}


def _best(word: str, words: Collection[str]) -> float:
    return max((_alike(word, other) for other in words), default=0.0)


@lru_cache(maxsize=100_000)
def _alike(one: str, other: str) -> float:
    """Return how alike two words are, 0 where they are rather two words; a part of a run of CJK is like it."""
    if one == other or (not one.isascii() and one in other):
        return 1.0
    left, right = _trigrams(one), _trigrams(other)
    if 2 * len(left & right) < _MIN_SHARED * (len(left) + len(right)):
        return 0.0
    ratio = SequenceMatcher(None, one, other, autojunk=False).ratio()
    return ratio if ratio >= (_MIN_ALIKE if max(len(one), len(other)) > 4 else _MIN_ALIKE_SHORT) else 0.0


@lru_cache(maxsize=100_000)
def _trigrams(word: str) -> frozenset[str]:
    padded = f"_{word}_"
    return frozenset(padded[start : start + 3] for start in range(max(1, len(padded) - 2)))
