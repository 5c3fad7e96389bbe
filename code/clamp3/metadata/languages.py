"""Languages and countries by their ISO codes, and the choice of a language for each item.

`LANGUAGES` are the 92 languages that XLM-R, the text encoder of CLaMP 2 and 3, was trained on besides English,
without transliterated variants (Conneau et al. 2020, appendix A), and 8 more, widely spoken or close to others:
Luxembourgish, Maltese, Occitan, Haitian Creole, Tajik, Tatar, Yoruba and Zulu. 100 in all, as CLaMP 2 had.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Sequence

from clamp3.errors import ConfigError

ENGLISH = "en"
_NAMES = """
af Afrikaans | am Amharic | ar Arabic | as Assamese | az Azerbaijani | be Belarusian | bg Bulgarian | bn Bengali
br Breton | bs Bosnian | ca Catalan | cs Czech | cy Welsh | da Danish | de German | el Greek | eo Esperanto
es Spanish | et Estonian | eu Basque | fa Persian | fi Finnish | fr French | fy Western Frisian | ga Irish
gd Scottish Gaelic | gl Galician | gu Gujarati | ha Hausa | he Hebrew | hi Hindi | hr Croatian | ht Haitian Creole
hu Hungarian | hy Armenian | id Indonesian | is Icelandic | it Italian | ja Japanese | jv Javanese | ka Georgian
kk Kazakh | km Khmer | kn Kannada | ko Korean | ku Kurdish | ky Kyrgyz | la Latin | lb Luxembourgish | lo Lao
lt Lithuanian | lv Latvian | mg Malagasy | mk Macedonian | ml Malayalam | mn Mongolian | mr Marathi | ms Malay
mt Maltese | my Burmese | ne Nepali | nl Dutch | no Norwegian | oc Occitan | om Oromo | or Odia | pa Punjabi
pl Polish | ps Pashto | pt Portuguese | ro Romanian | ru Russian | sa Sanskrit | sd Sindhi | si Sinhala | sk Slovak
sl Slovenian | so Somali | sq Albanian | sr Serbian | su Sundanese | sv Swedish | sw Swahili | ta Tamil | te Telugu
tg Tajik | th Thai | tl Tagalog | tr Turkish | tt Tatar | ug Uyghur | uk Ukrainian | ur Urdu | uz Uzbek
vi Vietnamese | xh Xhosa | yi Yiddish | yo Yoruba | zh Chinese | zu Zulu
"""
LANGUAGES: dict[str, str] = {entry[:2]: entry[3:].strip() for entry in re.split(r"[|\n]\s*", _NAMES.strip())}
"""ISO 639-1 code to English name, without English itself."""


def draw_language(content: str, seed: int, codes: Sequence[str] = tuple(LANGUAGES)) -> str:
    """Return the code that is drawn for an item: a function of its content and the seed only.

    Parameters
    ----------
    content : str
        Identity of the item, such as the hash of its content.
    seed : int
        Of the draw.
    codes : sequence of str
        What to draw from, uniformly.
    """
    digest = hashlib.sha256(f"{seed}/{content}".encode()).hexdigest()
    return random.Random(digest).choice(sorted(codes))


def language_pool(text: str) -> tuple[str, ...]:
    """Return the codes of a comma-separated list of codes or English names; all of `LANGUAGES` for "all".

    Raises
    ------
    ConfigError
        If one is neither in `LANGUAGES` nor English.
    """
    if text == "all":
        return tuple(LANGUAGES)
    pool = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        code = word if word in LANGUAGES or word == ENGLISH else _CODES.get(word.casefold(), "")
        if not code:
            raise ConfigError(f"{word!r} is none of the languages offered: {', '.join([ENGLISH, *LANGUAGES])}.")
        pool.append(code)
    if not pool:
        raise ConfigError("name at least one language, or all.")
    return tuple(dict.fromkeys(pool))


def language_name(code: str) -> str:
    """Return the English name of an ISO 639 code of two or three letters, "" if there is no such code."""
    code = code.strip().casefold()
    if code in LANGUAGES or code == ENGLISH:
        return LANGUAGES.get(code, "English")
    import pycountry

    found = pycountry.languages.get(**{f"alpha_{len(code)}": code}) if len(code) in (2, 3) else None
    if found is None:
        return ""
    short = getattr(found, "alpha_2", "")
    return LANGUAGES[short] if short in LANGUAGES else re.sub(r"\s*\(.*?\)", "", found.name)


def language_code(name: str) -> str:
    """Return the ISO 639 code of an English name (of two letters where one exists), "" if there is none."""
    plain = name.strip().casefold()
    if plain in _CODES:
        return _CODES[plain]
    import pycountry

    try:
        found = pycountry.languages.lookup(plain)
    except LookupError:
        return ""
    return str(getattr(found, "alpha_2", found.alpha_3)) if len(plain) > 3 else ""


def country_name(text: str) -> str:
    """Return the English short name (ISO 3166) of a country's two-letter code or one of its names, "" if none."""
    import pycountry

    try:
        found = pycountry.countries.lookup(text.strip())
    except LookupError:
        return ""
    return str(getattr(found, "common_name", found.name))


_CODES = {name.casefold(): code for code, name in LANGUAGES.items()} | {"english": ENGLISH}
