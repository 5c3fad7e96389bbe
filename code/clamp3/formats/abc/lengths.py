"""How long a bar of ABC lasts, to find bars in which voices differ."""

from __future__ import annotations

import re
from functools import lru_cache

_SILENT = re.compile(r'"[^"]*"|![^!]*!|\{[^{}]*\}|\[[A-Za-z]:[^\[\]]*\]')
_TIMED = re.compile(
    r"\((\d+)(?::(\d*))?(?::(\d*))?"  # tuplet p:q:r
    r"|(?:\[([^\[\]]*)\]|[A-Ga-gxz][,']*)(\d*)(/*)(\d*)"  # chord or note with its length
)
_INNER = re.compile(r"[A-Ga-gxz][,']*(\d*)(/*)(\d*)")
_MOST_DIGITS = 6
_MOST_NESTED = 8  # tuplets
_LONG = 400  # characters of a bar that is not worth keeping
_IN_TIME = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}  # ABC 2.1, section 4.13: "(p" alone puts p notes into the time of q
# Pitches, octaves and accidentals do not matter for a length.
_RHYTHM = str.maketrans({**dict.fromkeys("ABCDEFGabcdefgx", "z"), **dict.fromkeys("^_=,'")})


def bar_lengths(bars: list[str]) -> list[float]:
    """Return `bar_length` of bars without line ends; few distinct rhythms make up many bars, so most are cached."""
    rhythms = "\n".join(bars).translate(_RHYTHM).split("\n")
    return [_known_length(bar) if len(bar) < _LONG else bar_length(bar) for bar in rhythms]


def bar_length(text: str) -> float:
    """Return the length of a bar in units of ``L:``, tuplets included.

    Broken rhythms (``>``, ``<``) move length from one note to its neighbour and do not change the sum.

    Examples
    --------
    >>> bar_length("C2 (3DEF z"), bar_length("[CEG]4")
    (5.0, 4.0)
    """
    total = 0.0
    tuplets: list[list[float]] = []  # [factor, notes left], innermost last
    for p, q, r, chord, n, slash, d in _TIMED.findall(_SILENT.sub("", text)):
        if p:
            n_notes, in_time = _whole(p), _whole(q)
            tuplets.append([(in_time or _IN_TIME.get(n_notes, 2)) / (n_notes or 1), _whole(r) or n_notes])
            del tuplets[:-_MOST_NESTED]
            continue
        length = _length(n, slash, d) if n or slash else 1.0
        if chord and (inner := _INNER.search(chord)):
            length *= _length(*inner.groups())
        if tuplets:
            for tuplet in tuplets:
                length *= tuplet[0]
                tuplet[1] -= 1
            tuplets = [tuplet for tuplet in tuplets if tuplet[1] > 0]
        total += length
    return total


_known_length = lru_cache(maxsize=8192)(bar_length)


def _length(n: str, slash: str, d: str) -> float:
    whole = _whole(n) if n else 1.0
    if not slash:
        return whole
    return whole / (_whole(d) or 1.0) if d else whole / 2 ** min(len(slash), 16)


def _whole(digits: str) -> int:
    """Return a number; one of too many digits is no length and counts as its first ones."""
    return int(digits[:_MOST_DIGITS] or 0)
