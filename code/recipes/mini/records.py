"""Text records about a piece: the fields of M4-RAG, in English and one more language per record.

Every sentence is one line, since training drops and shuffles lines. Which phrasing and which second
language a piece gets is drawn from a hash of its id, so the same corpus gives the same records.
"""

from __future__ import annotations

import hashlib
import random
from typing import Any

from recipes.mini.lexicon import (
    GERMAN_NAMES,
    LANGUAGE_NAMES,
    LANGUAGES,
    ROMANCE_NAMES,
    SCENE_OF,
    SCORING_OF,
    word,
)
from recipes.mini.templates import PICK_UPS, TEMPLATES, TEXTURES, UNMEASURED

ROMAN = {14: "XIV", 15: "XV", 16: "XVI", 17: "XVII", 18: "XVIII", 19: "XIX", 20: "XX", 21: "XXI"}
FIELDS = ("background", "analysis", "description", "scene")
GENRE_OF = {
    "bach_chorale": "sacred vocal music", "palestrina": "sacred vocal music", "monteverdi": "secular vocal music",
    "trecento": "medieval vocal music", "string_quartet": "chamber music", "art_music": "classical music",
    "lieder": "art song", "ryan": "fiddle tune", "oneill": "fiddle tune",
}  # fmt: skip
FLAT_FIRST = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")


def note_name(name: str, language: str) -> str:
    """Return a pitch name such as ``F#`` the way a language writes it: Fis, fa dièse, 升F."""
    letter, signs = name[0], name[1:]
    if language == "de":
        if name in GERMAN_NAMES:
            return GERMAN_NAMES[name]
        return (letter if letter != "B" else "H") + {"": "", "#": "is", "##": "isis", "b": "es", "bb": "eses"}[signs]
    if language in ("fr", "es"):
        plain = ROMANCE_NAMES[letter] if language == "fr" else ROMANCE_NAMES[letter].replace("é", "e")
        words = {"fr": {"#": " dièse", "b": " bémol"}, "es": {"#": " sostenido", "b": " bemol"}}[language]
        return plain + "".join(words[sign] for sign in signs[:1])
    if language == "zh":
        return {"": "", "#": "升", "##": "重升", "b": "降", "bb": "重降"}[signs] + letter
    return name


def key_name(tonic: str, mode: str, language: str) -> str:
    """Return a key in a language's own notation, for example ``g-Moll`` or ``ré majeur``."""
    name, kind = note_name(tonic, language), word("mode", mode, language)
    if language == "de":
        return f"{name.lower() if mode == 'minor' else name}-{kind}"
    return f"{name}{kind}" if language == "zh" else f"{name} {kind}"


def adjective(stem: str, gender: str, language: str) -> str:
    """Return an adjective of the lexicon as it stands with an indefinite noun of a gender."""
    if language == "de":
        return stem + {"m": "er", "f": "e", "n": "es"}[gender]
    if "/" in stem:
        return stem.split("/")[gender == "f"]
    return stem


def article(noun: str, gender: str, language: str) -> str:
    """Return the indefinite article of a noun."""
    if language == "en":
        return "an" if noun[0].lower() in "aeiou" else "a"
    return {"de": {"m": "ein", "f": "eine", "n": "ein"}, "fr": {"m": "un", "f": "une"}, "es": {"m": "un", "f": "una"}}[
        language
    ][gender]


def pace_of(facts: dict[str, Any]) -> str:
    """Return slow, calm, moderate, lively or fast, from how many notes fall on a quarter."""
    for limit, name in ((0.7, "slow"), (1.3, "calm"), (1.7, "moderate"), (2.6, "lively")):
        if facts["density"] < limit:
            return name
    return "fast"


def length_of(quarters: float) -> str:
    """Return the name of a note length; what is no power of two counts as a triplet."""
    names = {4.0: "whole", 2.0: "half", 1.0: "quarter", 0.5: "eighth", 0.25: "sixteenth", 0.125: "thirty_second"}
    if quarters >= 3:
        return "whole"
    if quarters < 0.125:
        return "thirty_second"
    closest = min(names, key=lambda value: abs(value - quarters))
    if abs(closest - quarters) < 0.01:
        return names[closest]
    return "triplet" if quarters < 0.7 else names[closest]


def pitch_with_octave(midi: int, language: str) -> str:
    """Return a pitch with its scientific octave number, middle C being C4."""
    return f"{note_name(FLAT_FIRST[midi % 12], language)}{midi // 12 - 1}"


def words_of(row: dict[str, Any], language: str, rng: random.Random) -> dict[str, str]:
    """Return everything the templates may name about a piece, in one language.

    Parameters
    ----------
    row : dict
        A row of ``pieces.jsonl``.
    language : str
        One of `LANGUAGES`.
    rng : random.Random
        Draws among words of one meaning.
    """
    facts, form = row["facts"], row["form"]
    gender, _, noun = word("form", form, language).rpartition(":")
    scene = SCENE_OF.get(form)
    if scene is None:
        scene = "church" if form.startswith("mass") else "home" if row["collection"].startswith("essen") else "hall"
    pace = rng.choice(word("pace", pace_of(facts), language).split("; "))
    mood = rng.choice(word("mood", facts["mode"], language).split("; "))
    origin, century = word("origin", row["region"], language), row["century"]
    alone, several = TEXTURES[language]

    def agree(stem: str, gender: str = gender) -> str:
        return stem if language in ("en", "zh") else adjective(stem, gender, language)

    words = {
        "noun": noun,
        "key": key_name(facts["key"], facts["mode"], language),
        "metre": facts["metre"],
        "bars": str(facts["bars"]),
        "low": pitch_with_octave(facts["low"], language),
        "high": pitch_with_octave(facts["high"], language),
        "texture": alone if facts["voices"] == 1 else several.format(facts["voices"]),
        "opening": " ".join(note_name(name, language) for name in facts["opening"]),
        "contour": " ".join(word("contour", move, language) for move in facts["contour"]),
        "last": note_name(facts["last"], language),
        "leap": word("interval", str(min(13, facts["leap"])), language),
        "steps": str(facts["steps"]),
        "shortest": word("length", length_of(facts["shortest"]), language),
        "country": word("country", row["region"], language),
        "collection": word("collection", row["collection"], language),
        "label": word("label", row["collection"], language),
        "scoring": word("scoring", SCORING_OF[row["collection"]], language),
        "scene": word("scene", scene, language),
        "century": {"en": f"{century}th", "de": f"{century}.", "fr": f"{ROMAN[century]}e"}.get(
            language, ROMAN[century] if language == "es" else str(century)
        ),
        "pace": agree(pace),
        "mood": agree(mood),
        "origin": agree(origin),
        "music_pace": agree(pace, "f"),
        "music_mood": agree(mood, "f"),
        "music_origin": agree(origin, "f"),
    }
    if language != "zh":
        for name in ("noun", "pace", "mood", "origin"):
            words[f"a_{name}"] = f"{article(words[name], gender, language)} {words[name]}"
    return words


def lines_of(row: dict[str, Any], field: str, language: str) -> str:
    """Return a field's lines in one language, the phrasing drawn from the piece's id."""
    rng = random.Random(f"{row['id']} {field} {language}")
    words = words_of(row, language, rng)
    lines = []
    for phrasings in TEMPLATES[language][field]:
        usable = [text for text in phrasings if row["facts"]["metre"] or "{metre}" not in text]
        lines.append(rng.choice(usable or [UNMEASURED[language]]).format_map(words))
    if field == "analysis" and row["facts"]["pickup"]:
        lines.append(PICK_UPS[language])
    return "\n".join(lines)


def second_language(row: dict[str, Any]) -> str:
    """Return the language of a piece's translations."""
    return LANGUAGES[1 + int(hashlib.sha256(row["id"].encode()).hexdigest()[:8], 16) % (len(LANGUAGES) - 1)]


def make_record(row: dict[str, Any], folder: str = "pieces") -> dict[str, Any]:
    """Return the M4-RAG-style record of a piece.

    Parameters
    ----------
    row : dict
        A row of ``pieces.jsonl``: header facts, ``facts``, and the paths ``abc`` and ``mtf``.
    folder : str
        Where the files lie, relative to the JSONL.

    Returns
    -------
    dict
        id, title, artists, region, language, genres, tags, background, analysis, description, scene,
        translations, filepaths.
    """
    language, facts = second_language(row), row["facts"]
    words = words_of(row, "en", random.Random(row["id"]))
    tags = [words["key"], facts["metre"], pace_of(facts), words["texture"], words["century"] + " century"]
    return {
        "id": row["id"],
        "title": row["title"],
        "artists": [row["composer"] or "traditional"],
        "region": words["country"],
        "language": LANGUAGE_NAMES[language],
        "genres": [words["noun"], GENRE_OF.get(row["collection"], "folk music")],
        "tags": [tag for tag in tags if tag],
        **{field: lines_of(row, field, "en") for field in FIELDS},
        "translations": {
            "language": LANGUAGE_NAMES[language],
            **{field: lines_of(row, field, language) for field in FIELDS},
        },
        "filepaths": [f"{folder}/{row['abc']}", f"{folder}/{row['mtf']}"],
    }
