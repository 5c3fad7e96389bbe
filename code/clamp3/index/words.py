"""Words of titles and file names as tokens for full-text search: any script, accents and misspellings forgiven.

Every word becomes its trigrams, so that what is written a little otherwise shares most tokens; the store ranks rows by
the tokens they share with a query (BM25).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

MAX_CHARACTERS = 4000  # of one text
_CASE_CHANGE = re.compile(r"(?<=[a-z])(?=[A-Z])")
_WORD = re.compile(r"[^\W\d_]+|\d+")
_WIDE = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9d\U00020000-\U0003ffff]")  # CJK: no blanks


def words_of(text: str) -> list[str]:
    """Return the words of a text, folded: no case, no accents, letters and digits apart.

    Examples
    --------
    >>> words_of("Dvořák/MapleLeaf_Rag-BWV130.6")
    ['dvorak', 'maple', 'leaf', 'rag', 'bwv', '130', '6']
    """
    apart = unicodedata.normalize("NFKD", _CASE_CHANGE.sub(" ", text[:MAX_CHARACTERS]))
    bare = "".join(char for char in apart if not unicodedata.category(char).startswith("M"))
    return _WORD.findall(unicodedata.normalize("NFC", bare.casefold()))


def tokens_of(texts: Iterable[str]) -> list[str]:
    """Return the distinct tokens of texts, in order.

    Examples
    --------
    >>> tokens_of(["Air", "月光曲"])
    ['_ai', 'air', 'ir_', '_月光', '月光曲', '光曲_', '月光', '光曲']
    """
    found: dict[str, None] = {}
    for text in texts:
        for word in words_of(text):
            padded = f"_{word}_"
            found.update(dict.fromkeys(padded[start : start + 3] for start in range(len(padded) - 2)))
            if _WIDE.search(word):
                found.update(dict.fromkeys(word[start : start + 2] for start in range(len(word) - 1)))
    return list(found)
