"""Short texts about a piece as people type them, in 12 languages: concepts, their words of ``glossary.tsv``, a pattern.

A text names one to four of the piece's concepts. Every draw comes from a generator seeded with the piece's id.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from clamp3.formats.tables import read_csv
from recipes.mini.concepts import concepts_of

MOST = 4  # concepts of one text
LINES = 16  # of a record in English, and in its other languages
# How often a kind of concept is named: what people ask for comes before what only an encyclopedia says.
WEIGHTS = {"form": 5.0, "mood": 4.0, "pace": 3.0, "scoring": 4.0, "metre": 3.0, "beat": 2.0, "mode": 2.0, "kind": 2.0,
           "genre": 3.0, "region": 1.0, "century": 1.0, "composer": 2.0, "key": 1.0, "texture": 1.0}  # fmt: skip
ADJECTIVES = ("mood", "pace", "region")  # before the noun in English
# In every language: one thing; two; a list. {0} is the noun, if there is one.
PATTERNS = {
    "en": (("{0}", "a {0}", "some {0}", "{0} music", "I am looking for {0}"),
           ("{0}, {1}", "{0} and {1}", "{0} with {1}", "{1}: {0}")),
    "de": (("{0}", "Musik: {0}", "ich suche {0}"), ("{0}, {1}", "{0} und {1}", "{0} mit {1}")),
    "fr": (("{0}", "musique : {0}", "je cherche {0}"), ("{0}, {1}", "{0} et {1}", "{0} avec {1}")),
    "es": (("{0}", "música: {0}", "busco {0}"), ("{0}, {1}", "{0} y {1}", "{0} con {1}")),
    "it": (("{0}", "musica: {0}", "cerco {0}"), ("{0}, {1}", "{0} e {1}", "{0} con {1}")),
    "pt": (("{0}", "música: {0}", "procuro {0}"), ("{0}, {1}", "{0} e {1}", "{0} com {1}")),
    "nl": (("{0}", "muziek: {0}", "ik zoek {0}"), ("{0}, {1}", "{0} en {1}", "{0} met {1}")),
    "pl": (("{0}", "muzyka: {0}", "szukam: {0}"), ("{0}, {1}", "{0} i {1}")),
    "ru": (("{0}", "музыка: {0}", "ищу {0}"), ("{0}, {1}", "{0} и {1}")),
    "zh": (("{0}", "{0}音乐", "我想听{0}"), ("{0}，{1}", "{0}和{1}", "{1}的{0}")),
    "ja": (("{0}", "{0}の音楽", "{0}を探しています"), ("{0}、{1}", "{0}と{1}", "{1}、{0}")),
    "ko": (("{0}", "{0} 음악", "{0}을 찾습니다"), ("{0}, {1}", "{0} 그리고 {1}")),
}  # fmt: skip
LANGUAGES = tuple(PATTERNS)


@cache
def glossary() -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the words of every concept, by language."""
    rows = read_csv(Path(__file__).with_name("glossary.tsv"))
    return {row["concept"]: {name: tuple(row[name].split("; ")) for name in LANGUAGES} for row in rows}


def words_of(concept: str, language: str) -> tuple[str, ...]:
    """Return what a concept is called in a language; names and keys are called the same in all, others "" not at all.

    Parameters
    ----------
    concept : str
    language : str

    Examples
    --------
    >>> words_of("metre:3/4", "de"), words_of("composer:Maria Szymanowska", "ja"), words_of("form:unheard_of", "en")
    (('3/4', 'Dreivierteltakt'), ('Maria Szymanowska',), ())
    """
    kind, _, value = concept.partition(":")
    if kind == "composer" or (kind == "key" and language == "en"):
        return (value,)
    return glossary().get(concept, {}).get(language, ())


def phrase(concepts: list[str], language: str, rng: random.Random) -> str:
    """Return one text that names these concepts in this order of importance.

    Parameters
    ----------
    concepts : list of str
        Each with words in the language.
    language : str
        One of `LANGUAGES`.
    rng : random.Random

    Returns
    -------
    str
    """
    named = [(concept.partition(":")[0], rng.choice(words_of(concept, language))) for concept in concepts]
    single, joined = PATTERNS[language]
    if language == "en":
        before = [word for kind, word in named if kind in ADJECTIVES and " " not in word]
        after = [word for kind, word in named if not (kind in ADJECTIVES and " " not in word)]
        named_words = [" ".join([*before, after[0] if after else "music"]), *after[1:]]
    else:
        named_words = [word for _, word in named]
    text = named_words[0]
    for word in named_words[1:]:
        text = rng.choice(joined).format(text, word)
    return rng.choice(single).format(text)


def phrases(concepts: list[str], language: str, number: int, rng: random.Random) -> Iterator[str]:
    """Yield so many texts that each name one to four of the concepts.

    Parameters
    ----------
    concepts : list of str
        Of a piece; those without words in the language are left out.
    language : str
        One of `LANGUAGES`.
    number : int
    rng : random.Random
    """
    usable = [concept for concept in concepts if words_of(concept, language)]
    for _ in range(number if usable else 0):
        left, chosen = list(usable), []
        for _ in range(min(rng.choice((1, 1, 2, 2, 3, MOST)), len(left))):
            weights = [WEIGHTS[concept.partition(":")[0]] for concept in left]
            chosen.append(left.pop(rng.choices(range(len(left)), weights)[0]))
        yield phrase(chosen, language, rng)


def record_of(row: dict[str, Any], folder: str = "pieces", *, lines: int = LINES) -> dict[str, Any]:
    """Return a record for training: English texts in ``description``, those of other languages as translations.

    Parameters
    ----------
    row : dict
        Of ``pieces.jsonl``.
    folder : str
        Where the files lie, relative to the JSONL.
    lines : int
        Texts in English; of the other languages so many are drawn for each eighth of it.
    """
    rng, concepts = random.Random(f"phrases {row['id']}"), concepts_of(row)
    others = [text for language in LANGUAGES[1:] for text in phrases(concepts, language, max(1, lines // 8), rng)]
    if lines < 8:  # fewer than there are languages
        others = rng.sample(others, min(lines, len(others)))
    return {
        "id": row["id"],
        "description": "\n".join(phrases(concepts, "en", lines, rng)),
        "translations": {"language": "many", "description": "\n".join(others)},
        "filepaths": [f"{folder}/{row[kind]}" for kind in ("abc", "mtf") if kind in row],
    }


def music_texts(number: int, seed: int) -> list[str]:
    """Return distinct texts about imagined pieces, and every word of the glossary: what the text tower learns from.

    Parameters
    ----------
    number : int
        At most so many imagined ones.
    seed : int
    """
    rng, found = random.Random(seed), dict.fromkeys(w for row in glossary().values() for ws in row.values() for w in ws)
    by_kind: dict[str, list[str]] = {}
    for concept in glossary():
        by_kind.setdefault(concept.partition(":")[0], []).append(concept)
    for index in range(number):
        concepts = [rng.choice(names) for names in by_kind.values()]
        found |= dict.fromkeys(phrases(concepts, LANGUAGES[index % len(LANGUAGES)], 1, rng))
    return list(found)
