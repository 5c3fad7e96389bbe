"""Languages and countries by their ISO codes, and the choice of a language for each item.

`LANGUAGES` are the 92 languages that XLM-R, the text encoder of CLaMP 2 and 3, was trained on besides English,
without transliterated variants (Conneau et al. 2020, appendix A), and 8 more, widely spoken or close to others:
Luxembourgish, Maltese, Occitan, Haitian Creole, Tajik, Tatar, Yoruba and Zulu. 100 in all, as CLaMP 2 had; `CLAMP2` are
the 100 of its own script, which counts scripts and varieties (`VARIETIES`) in place of these 8. `M4_RAG` are CLaMP 3's.
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

VARIETIES: dict[str, str] = {
    "zh-Hans": "Chinese (Simplified)",
    "zh-Hant": "Chinese (Traditional)",
    "yue": "Cantonese",
    "fil": "Filipino",
    "kmr": "Kurdish (Kurmanji)",
    **{f"{code}-Latn": f"{LANGUAGES[code]} (Romanized)" for code in ("bn", "hi", "my", "ta", "te", "ur")},
}
"""BCP 47 code to the name that CLaMP 2's script has for it."""

_VARIETY_OF = {"yue": "zh", "fil": "tl", "kmr": "ku"}
CLAMP2 = tuple(
    code
    for code in (*LANGUAGES, *VARIETIES)
    if code not in ("lb", "mt", "oc", "ht", "tg", "tt", "yo", "zu", *_VARIETY_OF.values())
)
"""The 100 languages besides English that CLaMP 2's own script draws from."""

_M4_RAG = "en es fr de pt ja it zh ko ru vi nl pl tr ar id fa he cs th hi lo bn km ur my ms"
M4_RAG = tuple(_M4_RAG.split())
"""The 27 languages of M4-RAG, as its card lists them."""

PRESETS = {"all": tuple(LANGUAGES), "clamp2": CLAMP2, "m4-rag": M4_RAG}
"""What may be named in place of a list."""


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
    """Return the codes of a preset, or of a comma-separated list of codes or English names.

    Raises
    ------
    ConfigError
        If one is neither in `LANGUAGES` or `VARIETIES` nor English.

    Examples
    --------
    >>> language_pool("sw, Chinese (Simplified), ta-Latn")
    ('sw', 'zh-Hans', 'ta-Latn')
    """
    if text in PRESETS:
        return PRESETS[text]
    pool = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        code = word if word in (ENGLISH, *LANGUAGES, *VARIETIES) else _CODES.get(word.casefold(), "")
        if not code:
            offered = ", ".join([*PRESETS, ENGLISH, *LANGUAGES, *VARIETIES])
            raise ConfigError(f"{word!r} is none of the languages offered: {offered}.")
        pool.append(code)
    if not pool:
        raise ConfigError("name at least one language, or all.")
    return tuple(dict.fromkeys(pool))


def language_name(code: str) -> str:
    """Return the English name of a code of ISO 639 or of `VARIETIES`, "" if there is no such code."""
    if code.strip() in VARIETIES:
        return VARIETIES[code.strip()]
    code = code.strip().casefold()
    if code in LANGUAGES or code == ENGLISH:
        return LANGUAGES.get(code, "English")
    import pycountry

    found = pycountry.languages.get(**{f"alpha_{len(code)}": code}) if len(code) in (2, 3) else None
    if found is None:
        return ""
    short = getattr(found, "alpha_2", "")
    return LANGUAGES[short] if short in LANGUAGES else re.sub(r" \([^()]*\)", "", found.name)


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


def spoken(code: str) -> str:
    """Return the code of the language that a variety or a script belongs to, other codes as they are.

    >>> spoken("zh-Hant"), spoken("yue"), spoken("fil"), spoken("de")
    ('zh', 'zh', 'tl', 'de')
    """
    return _VARIETY_OF.get(code, code.partition("-")[0])


def country_name(text: str) -> str:
    """Return the English short name (ISO 3166) of a country's two-letter code or one of its names, "" if none."""
    import pycountry

    try:
        found = pycountry.countries.lookup(text.strip())
    except LookupError:
        return ""
    return str(getattr(found, "common_name", found.name))


_CODES = {name.casefold(): code for code, name in (*LANGUAGES.items(), *VARIETIES.items())}
_CODES |= {"english": ENGLISH, "oriya": "or"}
