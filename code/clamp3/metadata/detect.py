"""Whether a text is in the requested language, detected offline: py3langid, 139 languages in 4.6 MB.

Closely related languages that no detector distinguishes within a paragraph count as one. Three of the 100 languages are
not in the detector's model (`unchecked`): for these only the script is checked, and that the text is not in English.
"""

from __future__ import annotations

import functools
import unicodedata
from collections import Counter
from typing import Any

from clamp3.metadata.languages import ENGLISH, LANGUAGES, language_name, spoken

MIN_LETTERS = 12  # shorter texts are not checked
ENOUGH = 0.2  # probability at which the requested language is accepted although another is more likely
SURE = 0.8
SCRIPTS = {"sd": "ARABIC", "su": "LATIN", "yi": "HEBREW"}
_RELATIVES = (
    {"bs", "hr", "sr"},
    {"no", "nb", "nn", "da"},
    {"id", "ms"},
    {"zh", "yue", "wuu"},
    {"ar", "ary", "arz"},
    {"uz", "uzs"},
    {"ku", "sdh", "kmr", "ckb"},
    {"lv", "ltg"},
    {"en", "pcm"},
)


def language_problem(text: str, code: str) -> str:
    """Return why a text seems not to be in a language, "" if it may be or is too short to decide.

    Parameters
    ----------
    text : str
        Texts below `MIN_LETTERS` letters are accepted.
    code : str
        As in `LANGUAGES` or `VARIETIES`; of a language in Latin letters only the letters are checked.
    """
    if sum(character.isalpha() for character in text) < MIN_LETTERS:
        return ""
    ranking = _identifier().rank(text)
    found, probability = ranking[0]
    if not script_only(code):
        plain = spoken(code)
        alike = next((group for group in _RELATIVES if plain in group), {plain})
        if found in alike or dict(ranking)[plain] >= ENOUGH:
            return ""
    else:
        script = "LATIN" if code.endswith("-Latn") else SCRIPTS.get(code)
        wrong_script = script is not None and _script(text) != script
        if not wrong_script and not (found == ENGLISH and probability >= SURE):
            return ""
    return f"asked for {language_name(code) or code}, reads as {language_name(found) or found} ({probability:.2f})"


def unchecked() -> list[str]:
    """Return the codes of `LANGUAGES` that the detector does not know."""
    return [code for code in LANGUAGES if code not in _labels()]


def script_only(code: str) -> bool:
    """Return whether only the script of texts in a language is checked, not the language."""
    return code.endswith("-Latn") or spoken(code) not in _labels()


def _script(text: str) -> str:
    letters = Counter(unicodedata.name(letter, "?").split()[0] for letter in text if letter.isalpha())
    return letters.most_common(1)[0][0]


@functools.cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@functools.cache
def _labels() -> frozenset[str]:
    return frozenset(_identifier().labels)
