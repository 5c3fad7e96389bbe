"""Words and vectors together: pieces that are called what is asked for come with those that sound like it.

Ranks of both lists are fused (reciprocal rank fusion), where the words count by how much of the question a piece's
title, people and file name answer. So "Maple Leaf Rag" finds the piece of that name, and "a slow air" is left to the
vectors, whatever shares a word with it. Who names a composer or an artist means them: of "a sad waltz by Chopin" the
name chooses the pieces and the vectors order them.
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
PERSON_MATCH = 0.8  # of what a piece does not answer of a question that names a person of it
_MIN_SHARED = 0.15  # of two words' trigrams, before they are compared letter by letter
_MIN_ALIKE, _MIN_ALIKE_SHORT = 0.75, 0.8
_MIN_ALIKE_NAME, _LONG_NAME = 0.85, 6
_MIN_PERSON = 4  # letters; of shorter names (Bax, Cui) more of the question has to be there
_NO_PERSON = frozenset(
    ("traditional", "trad", "anonymous", "anon", "unknown", "various", "folk", "song", "songs", "tune")
)
_METRE = re.compile(r"\b\d+/\d+\b")  # describes; in names such numbers are movements
# These describe rather than name, unless the rest of a name is there too.
_COMMON = frozenset(
    ("a", "an", "and", "by", "flat", "for", "from", "in", "major", "minor", "of", "on", "sharp", "the", "to", "with")
)


def matches(query: str, rows: Sequence[Row]) -> list[float]:
    """Return how much of a question the words of each piece answer, from 0 to 1; misspelt words count in part.

    Long words count more, and those that few of the pieces have: who asks for a "march in B flat major" is not served
    by whatever is in B flat major. Where a composer or artist is named, no more of the question need be there.

    Parameters
    ----------
    query : str
    rows : sequence of dict
        With the facts of `clamp3.index.store.FACTS`.

    Examples
    --------
    >>> rag = {"title": "Maple Leaf Rag", "composer": "Scott Joplin", "name": "joplin/rag-1.mxl"}
    >>> [round(matches(query, [rag])[0], 2) for query in ("maple leaf rag", "Jopln", "a slow air", "slow, by Joplin")]
    [1.0, 0.91, 0.0, 0.88]
    """
    asked = _asked(query)
    alike = np.array([[_best(word, words) for word in asked] for words in map(_words, rows)]).reshape(len(rows), -1)
    rarity = np.log1p(len(rows) / (np.count_nonzero(alike, axis=0) + 0.5))
    weights = rarity * np.array([_weight(word) for word in asked])
    matched = alike @ weights / max(weights.sum(), 1e-9)
    names = [word for word in asked if len(word) >= _MIN_PERSON and word not in _NO_PERSON | _COMMON]
    people = [set(words_of(f"{row.get('composer') or ''} {row.get('artist') or ''}")) for row in rows]
    named = [max((_alike_name(word, other) for word in names for other in who), default=0.0) for who in people]
    return [float(m + n * PERSON_MATCH * (1 - m)) for m, n in zip(matched, named, strict=True)]


def answering(query: str, row: Row) -> list[str]:
    """Return the words of a piece, folded, that words of a question found, misspelt or not.

    Parameters
    ----------
    query : str
    row : dict
        With the facts of `clamp3.index.store.FACTS`.

    Examples
    --------
    >>> answering("the mapel leaf in D major", {"title": "Maple Leaf Rag", "name": "rags/1.mxl"})
    ['leaf', 'maple']
    """
    asked = [word for word in _asked(query) if word not in _COMMON and (len(word) > 2 or not word.isascii())]
    return sorted(word for word in _words(row) if any(_alike(each, word) for each in asked))


def fuse(query: str, by_vector: Sequence[Row], by_words: Sequence[Row]) -> list[str]:
    """Return the ids of pieces in the order of both lists together.

    Parameters
    ----------
    query : str
    by_vector, by_words : sequences of dict
        Rows, those closest to the question first.
    """
    rows = {row["id"]: row for row in (*by_vector[:CANDIDATES], *by_words)}
    matched = dict(zip(rows, matches(query, list(rows.values())), strict=True))
    named = sorted((each for each in matched if matched[each] >= MIN_MATCH), key=lambda each: (-matched[each], each))
    scores = {row["id"]: 1 / (RANK_OFFSET + place) for place, row in enumerate(by_vector)}
    rank, last = 0, 2.0
    for place, each in enumerate(named):
        if matched[each] < last - 1e-9:  # those that match alike are left to the vectors
            rank, last = place, matched[each]
        scores[each] = scores.get(each, 0.0) + WORD_WEIGHT * matched[each] ** 2 / (RANK_OFFSET + rank)
    order = {each: place for place, each in enumerate(rows)}  # the vectors' too among those that only words found
    return sorted(scores, key=lambda each: (-scores[each], order.get(each, 0)))


def _asked(query: str) -> list[str]:
    """Return the words of a question that may be those of names."""
    found = dict.fromkeys(words_of(_METRE.sub(" ", query)))
    return [word for word in found if len(word) > 1 or not word.isascii() or word.isdigit()]


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


def _alike_name(word: str, other: str) -> float:
    """Return how alike a word and a person's name are: misspelt only if it is long, as "hymn" is no Hymen."""
    alike = _alike(word, other)
    return alike if alike == 1.0 or (alike >= _MIN_ALIKE_NAME and len(word) >= _LONG_NAME) else 0.0


@lru_cache(maxsize=100_000)
def _trigrams(word: str) -> frozenset[str]:
    padded = f"_{word}_"
    return frozenset(padded[start : start + 3] for start in range(max(1, len(padded) - 2)))
