"""What can be said of a piece, as concepts such as ``metre:3/4`` or ``form:waltz``; the words are elsewhere.

Everything follows from a row of ``pieces.jsonl``: its header (form, century, region, composer, ``tags``) and the facts
that were counted in its notes. Queries of the evaluation name their relevant pieces by these concepts, and the training
texts are made from them.
"""

from __future__ import annotations

import re
from typing import Any

from recipes.mini.lexicon import SCORING_OF

SLOW_MARKINGS = r"\b(adagio|largo|larghetto|lento|grave|andante|andantino|lent|langsam|wolno|powoli|sostenuto)\b"
FAST_MARKINGS = r"\b(allegro|allegretto|presto|prestissimo|vivace|vivo|vif|schnell|lebhaft|[zż]ywo|con brio)\b"
DANCES = ("waltz", "mazurka", "polonaise", "krakowiak", "minuet", "march", "polka", "galop", "contredanse", "jig",
          "slip_jig", "reel", "hornpipe", "strathspey", "gavotte", "kujawiak", "oberek", "tarantella",
          "tango")  # fmt: skip
CHURCH = ("mass", "requiem", "vespers", "litany", "motet", "hymn", "psalm", "chorale", "sacred")
SUNG = frozenset({"voice", "choir", "voice_piano", "choir_organ", "choir_orchestra"})
# Voices of several people are a choir; "instruments" says nothing.
SCORING = {name: {"voices": "choir", "instruments": ""}.get(who, who) for name, who in SCORING_OF.items()}
FOLK = frozenset({"ryan", "oneill", "aird", "misc_folk", "essen_europe", "essen_china"})
SLOW_RATE, FAST_RATE = 1.5, 4.5  # notes a second of the busiest part, where no marking says it
BLANK_TEMPO = 100.0  # quarters a minute, where nothing states a tempo


def tag_of(row: dict[str, Any], name: str) -> str:
    """Return the value of a row's tag such as ``scoring``, "" if it has none.

    Parameters
    ----------
    row : dict
        Of ``pieces.jsonl``.
    name : str
    """
    return next((tag.split(":", 1)[1] for tag in row.get("tags", ()) if tag.startswith(f"{name}:")), "")


def pace_of(row: dict[str, Any]) -> str:
    """Return slow, moderate or fast: from the tempo marking, else from how many notes a second there are."""
    marking, facts = tag_of(row, "marking"), row["facts"]
    if re.search(SLOW_MARKINGS, marking) and not re.search(r"\ballegro\b", marking):
        return "slow"
    if re.search(FAST_MARKINGS, marking):
        return "fast"
    rate = facts["density"] * (facts["tempo"] or BLANK_TEMPO) / 60
    return "slow" if rate < SLOW_RATE else "fast" if rate > FAST_RATE else "moderate"


def mood_of(pace: str, mode: str) -> str:
    """Return what such music is usually called: sad, calm, cheerful or agitated; "" in between.

    Parameters
    ----------
    pace, mode : str
        As of `pace_of`, and of a row's facts.
    """
    minor = {"minor": True, "phrygian": True, "major": False, "mixolydian": False, "lydian": False}.get(mode)
    if minor is None or pace == "moderate":
        return ""
    return {(True, "slow"): "sad", (False, "slow"): "calm", (True, "fast"): "agitated", (False, "fast"): "cheerful"}[
        minor, pace
    ]


def concepts_of(row: dict[str, Any]) -> list[str]:
    """Return all concepts of a piece, sorted.

    Examples
    --------
    >>> facts = {"mode": "minor", "metre": "3/4", "density": 0.8, "tempo": 90, "voices": 1, "notes": 80, "key": "A"}
    >>> concepts_of({"form": "waltz", "century": 19, "region": "poland", "collection": "x", "facts": facts})
    ... # doctest: +NORMALIZE_WHITESPACE
    ['beat:triple', 'century:19', 'form:waltz', 'key:A minor', 'kind:dance', 'metre:3/4', 'mode:minor', 'mood:sad',
     'pace:slow', 'region:poland', 'texture:one']
    """
    facts, form = row["facts"], row["form"].split("_")[0] if row["form"].startswith("mass") else row["form"]
    pace, mode = pace_of(row), facts["mode"]
    scoring = tag_of(row, "scoring") or SCORING.get(row["collection"], "")
    found = {f"pace:{pace}", f"mode:{mode}", f"key:{facts['key']} {mode}"}
    found |= {f"form:{form}"} if form else set()
    found |= {f"scoring:{scoring}"} if scoring else set()
    found |= {f"mood:{mood}"} if (mood := mood_of(pace, mode)) else set()
    found |= {f"century:{row['century']}"} if row["century"] else set()
    found |= {f"region:{row['region']}"} if row["region"] else set()
    found |= {f"composer:{row['composer']}"} if row.get("composer") else set()
    if facts["metre"]:
        found |= {f"metre:{facts['metre']}", f"beat:{beat_of(facts['metre'])}"}
    sacred = tag_of(row, "kind") == "sacred" or form in CHURCH
    found |= {"kind:sacred"} if sacred else {"kind:dance"} if form in DANCES else set()
    found |= {"kind:folk"} if row["collection"] in FOLK else set()
    found |= {f"genre:{tag[6:]}" for tag in row.get("tags", ()) if tag.startswith("genre:")}
    found |= {"kind:sung"} if scoring in SUNG else set()
    found |= {"texture:one"} if facts["voices"] == 1 and scoring not in ("piano", "organ") else set()
    found |= {"texture:four"} if facts["voices"] == 4 else set()
    return sorted(found)


def beat_of(metre: str) -> str:
    """Return duple, triple or compound (6/8, 9/8, 12/8) of a metre, ``other`` of five or seven beats."""
    beats, unit = (int(part) for part in metre.split("/"))
    if beats in (6, 9, 12) and unit >= 8:
        return "compound"
    return "triple" if beats in (3, 6) else "duple" if beats in (1, 2, 4, 8) else "other"
