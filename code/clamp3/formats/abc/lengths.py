"""How long a bar of ABC lasts, to find bars in which voices differ."""

from __future__ import annotations

import re
from functools import lru_cache

_SILENT = re.compile(r'"[^"]*"|![^!]*!|\{[^}]*\}|\[[A-Za-z]:[^\]]*\]')
_TIMED = re.compile(
    r"\((\d+)(?::(\d*))?(?::(\d*))?"  # tuplet p:q:r
    r"|(?:\[([^\]]*)\]|[A-Ga-gxz][,']*)(\d*)(/*)(\d*)"  # chord or note with its length
)
_INNER = re.compile(r"[A-Ga-gxz][,']*(\d*)(/*)(\d*)")
_IN_TIME = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}  # ABC 2.1, section 4.13: "(p" alone puts p notes into the time of q
# Pitches, octaves and accidentals do not matter for a length.
_RHYTHM = str.maketrans({**dict.fromkeys("ABCDEFGabcdefgx", "z"), **dict.fromkeys("^_=,'")})


def bar_lengths(bars: list[str]) -> list[float]:
    """Return `bar_length` of bars without line ends; few distinct rhythms make up many bars, so most are cached."""
    return list(map(bar_length, "\n".join(bars).translate(_RHYTHM).split("\n")))


@lru_cache(maxsize=8192)
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
            tuplets.append([(int(q or 0) or _IN_TIME.get(int(p), 2)) / (int(p) or 1), int(r or 0) or int(p)])
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


def _length(n: str, slash: str, d: str) -> float:
    whole = float(n) if n else 1.0
    if not slash:
        return whole
    return whole / (float(d) or 1.0) if d else whole / 2 ** min(len(slash), 16)
