"""ABC notation: standard to interleaved (bar by bar across voices), and back out to MusicXML.

Standard ABC, as xml2abc writes it, holds one voice after the other; the models read interleaved ABC,
where each line is one bar of every voice: ``[V:1]…|[V:2]…|``.

References
----------
The steps are those of the published preparation (abctoolkit 0.0.6, ``rotate`` and ``utils``); that
package's two functions that print to the screen and give up are replaced here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from clamp3.errors import FormatError
from clamp3.formats import Converted

DROPPED_FIELDS = ("X:", "T:", "C:", "W:", "w:", "Z:", "%%MIDI")
_BAR_NUMBER = re.compile(r"%\d+\n$")
_FIELD = re.compile(r"[A-Za-z]:")
_QUOTED = re.compile(r'"[^"]*"')
_INTERLEAVED = re.compile(r"^\[V:1\]", re.MULTILINE)
_VOICE_LINE = re.compile(r"^V:", re.MULTILINE)


class Voices(NamedTuple):
    """A tune cut into bars: header lines, then per voice (``V:1`` …) what stands where."""

    header: list[str]
    prefix: dict[str, str]
    left: dict[str, list[str]]
    bars: dict[str, list[str]]
    right: dict[str, list[str]]


def is_interleaved(text: str) -> bool:
    """Tell interleaved ABC by its content: its bars stand on lines that open with ``[V:1]``."""
    return _INTERLEAVED.search(text) is not None


def interleave(text: str) -> Converted:
    """Turn standard ABC into interleaved ABC.

    Parameters
    ----------
    text : str
        Standard ABC as xml2abc writes it, or ABC from elsewhere: several tunes (the first is taken),
        no ``V:`` lines, voices in several pieces, inline fields. Interleaved ABC is returned as it is.

    Returns
    -------
    Converted
        Header, then one line per bar. Titles, composers, lyrics and MIDI directives are dropped; voices
        that disagree in bars or duration are named in the notes.

    Raises
    ------
    FormatError
        If no voice holds a note.
    """
    if is_interleaved(text):
        return Converted(text)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").splitlines(keepends=True)
    try:
        return _interleave_lines(_clean(lines))
    except FormatError:
        raise
    except Exception as error:
        raise FormatError(f"not ABC with bars: {type(error).__name__}: {error}.") from error


def _clean(lines: list[str]) -> list[str]:
    lines = [line for line in lines if line.strip() and not line.startswith(DROPPED_FIELDS)]
    cleaned = []
    for line in lines:
        line = _BAR_NUMBER.sub("\n", line)
        if '"' in line:
            if '\\"' in line and not (_FIELD.match(line) or line.startswith("%")):
                line = line.replace('\\"', "")
            for quoted in _QUOTED.findall(line):
                if "|" in quoted or "::" in quoted:
                    line = line.replace(quoted, "")
        cleaned.append(line)
    return cleaned


def _interleave_lines(lines: list[str]) -> Converted:
    from abctoolkit import rotate, utils

    tune = Voices(*utils.extract_barline_and_bartext_dict(lines))
    first, last = _sounding(tune, utils.find_valid_bar_index)
    kept = utils.merge_barline_and_bartext_dict(
        tune.header,
        tune.prefix,
        {voice: [left[0], *left[first + 1 : last]] for voice, left in tune.left.items()},
        {voice: bars[first:last] for voice, bars in tune.bars.items()},
        {voice: [*right[first : last - 1], right[-1]] for voice, right in tune.right.items()},
    )
    return Converted("".join(rotate.rotate_abc(kept)))


def _sounding(tune: Voices, find: Callable[[list[str]], tuple[int, int]]) -> tuple[int, int]:
    """Return the range of bars from the first to the last that is not empty in every voice."""
    ranges = [find(bars) for bars in tune.bars.values()]
    first, last = min(start for start, _ in ranges), max(stop for _, stop in ranges)
    if first >= last:
        raise FormatError("no voice holds a note.")
    return first, last
