"""Standard ABC split into voices and bars by the rules of the published preparation.

The published weights were trained on texts split this way: which bar lines end a bar, that ending numbers belong to
the bar line before them, that a voice's leading inline fields come before its first bar line, and which bars count as
empty.

References
----------
abctoolkit 0.0.6: ``utils.extract_barline_and_bartext_dict``, ``utils.strip_empty_bars``, ``rotate.rotate_abc``;
tests/unit/test_abc_oracle.py compares.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from clamp3.errors import FormatError

# In the order in which they are tried.
SIGNS = ("||:", ":||", "[|:", ":|]", "|]:", ":[|", "|:", "::", ":|", "[|", "||", "|]", "|")
BAR_SIGN = re.compile("(" + "|".join(map(re.escape, SIGNS)) + ")")
_SIGNS = frozenset(SIGNS)
_INLINE_FIELD = re.compile(r"\[[A-Za-z]:[^\[\]]*\]")
_ENDING_STARTS = frozenset("0123456789:")
_ENDING = re.compile(r"[0-9:][0-9,.:-]*")
_DECORATION = re.compile(r"![^!]+!")
_ANNOTATION = re.compile(r'"[\^_<>@][^"]*"|("[^"]*")')
_NOTE = re.compile(r"[A-Ga-g]")
_EMPTY_LETTERS = frozenset("ZzXx")


@dataclass
class Voice:
    """One voice: what comes before its first bar line, that bar line, and the bars, each with its closing bar line."""

    prefix: str
    opening: str
    bars: list[str]
    closing: list[str]

    def repeats_before(self, last: int) -> bool:
        """Return whether a repeat ends where the bars are cut off, and not in the final bar line."""
        return self.closing[last - 1].startswith(":") and not self.closing[-1].startswith(":")

    def without_empty(self, first: int, last: int, keep_repeat: bool = False) -> Voice:
        """Return the voice without its leading and trailing empty bars; the opening and the final bar line stay.

        Parameters
        ----------
        first, last : int
            The bars that are kept, the last one exclusive.
        keep_repeat : bool
            Let a repeat that ends there end the voice; the published tool takes the final bar line.
        """
        final = ":|" if keep_repeat and self.repeats_before(last) else self.closing[-1]
        kept = Voice(self.prefix, self.opening, self.bars[first:last], [*self.closing[first : last - 1], final])
        if kept.is_plain():
            return kept
        # The published tool joins and splits the voice again at this point; it matters for malformed texts only.
        text = "".join(f"{bar} {sign} " for bar, sign in zip(kept.bars, kept.closing, strict=True))
        return cut_voice(f"{kept.prefix}{kept.opening} {text}")

    def is_plain(self) -> bool:
        """Return whether splitting the voice again would change nothing: text and bar lines alternate."""
        if not all(self.bars) or not _SIGNS.isdisjoint(self.bars):
            return False
        return bool(self.opening) or bool(_INLINE_FIELD.sub("", self.bars[0]).strip())


def cut_tune(lines: list[str]) -> tuple[list[str], dict[str, Voice]]:
    """Return the header lines and the voices (``V:1`` …) of standard ABC.

    Parameters
    ----------
    lines : list of str
        With line ends; the music begins at the last line ``V:1``.

    Raises
    ------
    FormatError
        If there is no such line or a voice has no bar.
    """
    start = next((index for index in range(len(lines) - 1, -1, -1) if lines[index].strip() == "V:1"), None)
    if start is None:
        raise FormatError("the ABC has no voice V:1.")
    texts: dict[str, list[str]] = {}
    text: list[str] = []
    for line in lines[start:]:
        if line.startswith("V:"):
            text = texts[line.strip()] = []
        else:
            text.append(line)
    return lines[:start], {name: cut_voice("".join(text)) for name, text in texts.items()}


def cut_voice(text: str) -> Voice:
    """Split the music of one voice at its bar lines.

    Raises
    ------
    FormatError
        If it has no complete bar.
    """
    pieces = _alternating(BAR_SIGN.split(text.strip()))
    if len(pieces) < 2:
        raise FormatError("a voice has no bar.")
    opening = prefix = ""
    if pieces[0] in _SIGNS:
        start = 1
        opening = pieces[0]
    elif not _INLINE_FIELD.sub("", pieces[0]).strip():
        start = 2
        prefix, opening = pieces[0].strip(), pieces[1]
    else:
        start = 0
    bars = [piece.strip().replace("\n", "") for piece in pieces[start::2]]
    closing = pieces[start + 1 :: 2]
    for index, bar in enumerate(bars):
        if bar[0] in _ENDING_STARTS:
            ending = min(_ENDING.match(bar).end(), len(bar) - 1)  # type: ignore[union-attr]  # it matches at least that
            if index:
                closing[index - 1] += bar[:ending]
            else:
                opening += bar[:ending]
            bars[index] = bar[ending:].strip()
    del bars[len(closing) :]  # music after the last bar line is lost, as in the published tool
    if not bars:
        raise FormatError("a voice has no bar.")
    return Voice(prefix, opening, bars, closing)


def _alternating(pieces: list[str]) -> list[str]:
    """Drop blank pieces and merge adjacent bar lines, so that text and bar lines alternate.

    The published tool drops a repeated bar line; after two different ones it takes bar lines for music.
    """
    if all(map(str.strip, pieces[2:-1:2])):  # as nearly always; blank at the ends at most
        return pieces[not pieces[0].strip() : len(pieces) - (not pieces[-1].strip())]
    kept: list[str] = []
    for piece in pieces:
        if not piece or piece.isspace():
            continue
        if kept and piece in _SIGNS and kept[-1] in _SIGNS:
            kept[-1] = joined_signs(kept[-1], piece)
        else:
            kept.append(piece)
    return kept


def joined_signs(first: str, second: str) -> str:
    """Return one bar line for two in a row: an end and a start of a repeat become ``::``, else the stronger stays.

    Parameters
    ----------
    first, second : str
        Each one of `SIGNS`.

    Examples
    --------
    >>> joined_signs(":|", "|:"), joined_signs("|", "||")
    ('::', '||')
    """
    if first == second:
        return first
    if first.startswith(":") and second.endswith(":"):
        return "::"
    return first if first.startswith(":") or second == "|" else second


def sounding(voices: list[Voice]) -> tuple[int, int]:
    """Return the range from the first to the last bar (exclusive) that is not empty in every voice.

    Raises
    ------
    FormatError
        If there is none.
    """
    first = min(
        next((index for index, bar in enumerate(voice.bars) if _opens(bar)), len(voice.bars)) for voice in voices
    )
    last = max(
        next((index for index in range(len(voice.bars) - 1, -1, -1) if _sounds(voice.bars[index])), -1)
        for voice in voices
    )
    if first > last:
        raise FormatError("no voice holds a note.")
    return first, last + 1


def _opens(bar: str) -> bool:
    """Return whether a bar may be the first: a change of key or metre counts because it affects what follows."""
    return any(letter.isalpha() and letter not in _EMPTY_LETTERS for letter in _without_remarks(bar))


def _sounds(bar: str) -> bool:
    return _NOTE.search(_INLINE_FIELD.sub("", _without_remarks(bar))) is not None


def _without_remarks(bar: str) -> str:
    return _ANNOTATION.sub(r"\1", _DECORATION.sub("", bar))
