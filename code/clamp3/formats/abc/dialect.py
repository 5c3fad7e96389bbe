"""Which form an ABC text has: interleaved, as the models read it, or any other."""

from __future__ import annotations

import itertools
import re

QUOTED = re.compile(r'"[^"]*"')
_VOICE = re.compile(r"\[V:\s*(\d{1,6})\s*\]")
_NOT_SOUNDED = re.compile(r'"[^"]*"|![^!]*!|\[[A-Za-z]:[^\[\]]*\]')
_LETTER = re.compile(r"[A-Za-z]")
_NOTE = re.compile(r"[A-Ga-gxz]")


def is_interleaved(text: str) -> bool:
    r"""Recognise interleaved ABC by its content.

    Lines of music open with ``[V:n]``, hold their voices in one order and one bar of each. ABC that
    only names its voices inline has several bars behind a name.

    Examples
    --------
    >>> is_interleaved("K:C\n[V:1]C4|[V:2]E4|\n"), is_interleaved("K:C\nV:1\nC4|D4|\n")
    (True, False)
    """
    lines = [line for line in text.split("\n") if _VOICE.match(line)]
    if not lines:
        return False
    # Voices stand as the first line with most of them has them: xml2abc's part lists need not ascend.
    widest = max((_VOICE.findall(line) for line in lines), key=len)
    places = {number: place for place, number in enumerate(widest)}
    most = 0
    for line in lines:
        _, *pieces = _VOICE.split(line)
        numbers = pieces[::2]
        if not (_ascend([int(number) for number in numbers]) or _ascend([places.get(name, -1) for name in numbers])):
            return False
        for bar in pieces[1::2]:
            if _is_several_bars(QUOTED.sub("", bar)) and _is_several_bars(_NOT_SOUNDED.sub("", bar)):
                return False
        most = max(most, len(numbers))
    known = {number for line in lines for number in _VOICE.findall(line)}
    return most > 1 or len(known) == 1


def _ascend(numbers: list[int]) -> bool:
    return all(below < above for below, above in itertools.pairwise(numbers))


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
