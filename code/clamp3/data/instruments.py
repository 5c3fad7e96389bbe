"""Remove what a piece's text says about its instruments, as training does nine times out of ten."""

from __future__ import annotations

import re

# Lines end at a line feed only: str.splitlines would also cut at form feeds and other signs.
_LINE = re.compile(r"[^\n]*\n|[^\n]+")


def _without_name(line: str) -> str:
    """Cut an ABC ``V:`` line at `` nm=``, or at `` snm=`` where it has no `` nm=``."""
    for mark in (" nm=", " snm="):
        start = line.find(mark)
        if start >= 0:
            return line[:start] + "\n"
    return line


def without_instruments(text: str) -> str:
    """Return a piece's text without instrument names (ABC) or programs (MTF).

    Parameters
    ----------
    text : str
        Interleaved ABC, or MTF (recognised by its first word, ``ticks_per_beat``).

    Returns
    -------
    str
        ABC: ``V:`` lines end before `` nm=`` or else `` snm=``. MTF: the last value of every
        ``program_change`` line is 0. Anything else is unchanged.
    """
    lines = _LINE.findall(text)
    if not lines:
        return text
    if lines[0].split(" ", 1)[0] == "ticks_per_beat":
        kept = [line.rpartition(" ")[0] + " 0\n" if line.startswith("program_change") else line for line in lines]
    else:
        kept = [_without_name(line) if line.startswith("V:") else line for line in lines]
    return "".join(kept)
