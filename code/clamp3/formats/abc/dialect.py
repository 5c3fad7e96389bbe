"""Which form an ABC text has: interleaved, as the models read it, or any other."""

from __future__ import annotations

import itertools
import re

QUOTED = re.compile(r'"[^"]*"')
_VOICE = re.compile(r"\[V:\s*(\d+)\s*\]")
_LETTER = re.compile(r"[A-Za-z]")
_NOTE = re.compile(r"[A-Ga-gxz]")


def is_interleaved(text: str) -> bool:
    r"""Recognise interleaved ABC by its content.

    Lines of music open with ``[V:n]``, hold their voices in ascending order and one bar of each. ABC that
    only names its voices inline has several bars behind a name.

    Examples
    --------
    >>> is_interleaved("K:C\n[V:1]C4|[V:2]E4|\n"), is_interleaved("K:C\nV:1\nC4|D4|\n")
    (True, False)
    """
    lines = [line for line in text.split("\n") if _VOICE.match(line)]
    if not lines:
        return False
    most = 0
    for line in lines:
        _, *pieces = _VOICE.split(line)
        numbers = [int(number) for number in pieces[::2]]
        if any(below >= above for below, above in itertools.pairwise(numbers)):
            return False
        if any(_is_several_bars(QUOTED.sub("", bar)) for bar in pieces[1::2]):
            return False
        most = max(most, len(numbers))
    known = {number for line in lines for number in _VOICE.findall(line)}
    return most > 1 or len(known) == 1


def _is_several_bars(text: str) -> bool:
    """Return whether there is music, a bar line and more music; after a bar line may stand the number of an ending."""
    sounding = False
    for piece in text.split("|"):
        letter = _LETTER.search(piece)
        if letter is not None:
            if sounding and _NOTE.match(letter[0]):
                return True
            sounding = _NOTE.search(piece) is not None
    return False
