"""Words for musical facts in English, German, French, Spanish and Chinese, from ``lexicon.tsv``.

Rows of the file are ``table key en de fr es zh``. Nouns ("form") carry their gender in German, French
and Spanish as ``m:``, ``f:`` or ``n:``. Adjectives ("pace", "mood", "origin") carry what the gender
needs: German a stem that takes -er, -e or -es, French and Spanish "masculine/feminine" or one form for
both. A cell may hold several words of one meaning, separated by "; ".
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from clamp3.formats.tables import read_csv

LANGUAGES = ("en", "de", "fr", "es", "zh")
LANGUAGE_NAMES = {"en": "English", "de": "German", "fr": "French", "es": "Spanish", "zh": "Chinese (simplified)"}

SCORING_OF = {
    "bach_chorale": "choir",
    "palestrina": "choir",
    "monteverdi": "voices",
    "trecento": "voices",
    "string_quartet": "quartet",
    "ryan": "fiddle",
    "oneill": "fiddle",
    "aird": "flute",
    "essen_europe": "voice",
    "essen_china": "voice",
    "misc_folk": "fiddle",
    "art_music": "instruments",
    "lieder": "voice_piano",
}
SCENE_OF = {
    "reel": "session",
    "jig": "session",
    "slip_jig": "session",
    "hornpipe": "session",
    "strathspey": "dance",
    "clog": "dance",
    "fling": "dance",
    "waltz": "dance",
    "minuet": "dance",
    "polka": "dance",
    "gavotte": "dance",
    "dance": "dance",
    "march": "parade",
    "chorale": "church",
    "sacred": "church",
    "madrigal": "court",
    "trecento_song": "court",
    "chanson": "court",
    "lullaby": "night",
    "mountain_song": "field",
    "work_song": "field",
    "air": "session",
    "dance_song": "dance",
}
GERMAN_NAMES = {"B": "H", "Bb": "B", "E": "E", "A": "A", "Eb": "Es", "Ab": "As"}
ROMANCE_NAMES = {"C": "do", "D": "ré", "E": "mi", "F": "fa", "G": "sol", "A": "la", "B": "si"}


@cache
def _tables() -> dict[tuple[str, str], dict[str, str]]:
    path = Path(__file__).with_name("lexicon.tsv")
    return {(row["table"], row["key"]): {language: row[language] for language in LANGUAGES} for row in read_csv(path)}


def word(table: str, key: str, language: str) -> str:
    """Return a cell of the lexicon, for example ``word("form", "reel", "zh")``.

    Raises
    ------
    KeyError
        If there is no such row or language: a mistake in this recipe, not of a user.
    """
    return _tables()[table, key][language]


def keys(table: str) -> list[str]:
    """Return the keys of a table, in the file's order."""
    return [key for name, key in _tables() if name == table]
