"""ABC notation: standard to interleaved, bar by bar across voices.

Standard ABC, as xml2abc writes it, holds one voice after the other; the models read interleaved ABC,
where each line is one bar of every voice: ``[V:1]…|[V:2]…|``.

References
----------
The steps are those of the published preparation (abctoolkit 0.0.6), which prints what it finds and gives up on
voices of unequal bar count.
"""

from __future__ import annotations

import itertools
import re

from clamp3.errors import FormatError
from clamp3.formats import Converted
from clamp3.formats.abc.bars import Voice, cut_tune, sounding
from clamp3.formats.abc.dialect import QUOTED, is_interleaved
from clamp3.formats.abc.lengths import bar_length, bar_lengths
from clamp3.formats.abc.standard import has_bar_rests, is_field, standard_form

DROPPED_FIELDS = ("X:", "T:", "C:", "W:", "w:", "Z:", "%%MIDI")
_FIELD = re.compile(r"[A-Za-z]:")
_AMONG_MUSIC = ("V:", "w:", "W:", "T:", "C:", "Z:", "I:repbra", "%%MIDI")
# Comments other than the number of a bar, directives, continued fields, ends of printed lines, invisible bar lines.
_BY_HAND = re.compile(r"^%|^\+:|%(?!\d+$)|\\$|\$|\[\|\]")
_CLOSED = re.compile(r"[|\]:][\d,.-]*(?:\s*%\d+)?$")
MOST_FILLED = 200_000  # bars; an opera whose voices pause half of the time has fewer
_MOST_REMARKS = 1000  # different ones with bar lines in a line
_LONGEST_REST = 256  # eighths
LENGTH_TOLERANCE = 0.125  # a 64th note: xml2abc rounds odd tuplets to 64ths


def interleave(text: str, *, correct: bool = False) -> Converted:
    r"""Turn standard ABC into interleaved ABC.

    Parameters
    ----------
    text : str
        Standard ABC as xml2abc writes it, or ABC from elsewhere: several tunes (the first is taken),
        no ``V:`` lines, voices in several pieces, inline fields. Interleaved ABC is returned as it is.
    correct : bool
        Keep a repeat sign before empty bars at the end, which the published tool leaves out with them.

    Returns
    -------
    Converted
        Header, then one line per bar. Titles, composers, lyrics and MIDI directives are dropped; voices
        that disagree in bars or duration are named in the notes.

    Raises
    ------
    FormatError
        If no voice holds a note.

    Examples
    --------
    >>> print(interleave("X:1\nT:Duet\nL:1/8\nM:2/4\nK:C\nV:1\nC2 E2|G4|\nV:2\nC,4|G,4|\n").text)
    L:1/8
    M:2/4
    K:C
    [V:1]C2 E2|[V:2]C,4|
    [V:1]G4|[V:2]G,4|
    <BLANKLINE>
    """
    if is_interleaved(text):
        return Converted(text)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    notes: list[str] = []
    # Not str.splitlines, which also splits at form feeds and other characters that a title may contain.
    lines = [line + "\n" for line in text.split("\n")]
    if not _in_standard_form(lines):
        text, notes = standard_form(text)
        lines = text.splitlines(keepends=True)
    made = _woven(_clean(lines), notes, correct)
    if not is_interleaved(made.text):
        raise FormatError("the bars of its voices cannot be kept apart once they stand side by side.")
    return made


def _in_standard_form(lines: list[str]) -> bool:
    """Return whether the lines are in the form xml2abc writes: header, then one block per voice, from ``V:1`` on.

    What people write and xml2abc does not, a remark or a field between the lines of music, means another form.
    """
    names = [line.strip() for line in lines if line.startswith("V:") and " " not in line.strip()]
    if not names or names[0] != "V:1" or len(set(names)) < len(names):
        return False
    start = next(index for index, line in enumerate(lines) if line.strip() == "V:1")
    header, body = lines[:start], lines[start:]
    units = [line.strip() for line in header if line.startswith("L:")]
    if not units or any(unit not in ("L:1/8", "L: 1/8") for unit in units):
        return False  # the models were trained with eighths as the only unit
    # A title or part name may contain a line break; only music before V:1 means another form.
    if any("|" in line and not _FIELD.match(line) and not line.startswith("%") for line in header):
        return False
    if sum(line.startswith("V:") for line in body) != len(names):
        return False
    texts = [line for line in body if not line.startswith(_AMONG_MUSIC)]
    plain = [QUOTED.sub("", line.replace('\\"', "")) for line in texts]
    if any(is_field(line) or _BY_HAND.search(line) or has_bar_rests(line) for line in plain):
        return False  # xml2abc writes a rest in every bar
    blocks = re.split(r"^V:.*\n", "".join(line for line in texts if line.strip()), flags=re.MULTILINE)
    return all(_CLOSED.search(block.rstrip()[-40:]) for block in blocks if block.strip())


def _clean(lines: list[str]) -> list[str]:
    lines = [line for line in lines if line.strip() and not line.startswith(DROPPED_FIELDS)]
    cleaned = []
    for line in lines:
        music, sign, number = line.rpartition("%")
        if sign and number.endswith("\n") and number[:-1].isdecimal():
            line = music + "\n"  # xml2abc numbers bars in comments
        if '"' in line:
            if '\\"' in line and not (_FIELD.match(line) or line.startswith("%")):
                line = line.replace('\\"', "")
            barred = [quoted for quoted in dict.fromkeys(QUOTED.findall(line)) if "|" in quoted or "::" in quoted]
            if len(barred) > _MOST_REMARKS:
                raise FormatError(f"a line has more than {_MOST_REMARKS} remarks with bar lines in them.")
            for quoted in barred:
                line = line.replace(quoted, "")
        cleaned.append(line)
    return cleaned


def _woven(lines: list[str], notes: list[str], correct: bool) -> Converted:
    header, voices = cut_tune(lines)
    notes += _made_equal(voices)
    first, last = sounding(list(voices.values()))
    notes += _disagreements(voices, first, last)
    if any(voice.repeats_before(last) for voice in voices.values()) and not correct:
        notes.append("repeat sign before empty bars at the end left out")
    kept = {name: voice.without_empty(first, last, correct) for name, voice in voices.items()}
    rows = [line if line.endswith("\n") else line + "\n" for line in header]
    columns = [_column(name, voice) for name, voice in kept.items()]
    bars = itertools.islice(itertools.zip_longest(*columns, fillvalue=""), len(columns[0]))
    return Converted("".join(rows) + "".join("".join(bar) + "\n" for bar in bars), tuple(notes))


def _column(name: str, voice: Voice) -> list[str]:
    """Return a voice's bars as they are written in interleaved ABC."""
    column = [f"[{name}]{bar}{sign}" for bar, sign in zip(voice.bars, voice.closing, strict=True)]
    column[0] = f"[{name}]{voice.prefix}{voice.opening}{voice.bars[0]}{voice.closing[0]}"
    return column


def _made_equal(voices: dict[str, Voice]) -> list[str]:
    """Fill voices that have fewer bars than the longest with invisible rests; the published tool refuses such tunes."""
    longest = max(voices.values(), key=lambda voice: len(voice.bars))
    n_bars = len(longest.bars)
    n_filled = sum(n_bars - len(voice.bars) for voice in voices.values())
    if n_filled > MOST_FILLED:
        raise FormatError(f"{len(voices)} voices of up to {n_bars} bars lack {n_filled} bars, more than {MOST_FILLED}.")
    notes = []
    for name, voice in voices.items():
        missing = range(len(voice.bars), n_bars)
        if missing:
            notes.append(f"{name} has {len(voice.bars)} bars of {n_bars}: filled with invisible rests")
        for index in missing:
            voice.bars.append(f"x{min(max(1, round(bar_length(longest.bars[index]))), _LONGEST_REST)}")
            voice.closing.append(longest.closing[index])
    return notes


def _disagreements(voices: dict[str, Voice], first: int, last: int) -> list[str]:
    """Name the bars in which the voices differ in length, as the published tool prints them."""
    if len(voices) < 2:
        return []
    lengths = [bar_lengths(voice.bars[first:last]) for voice in voices.values()]
    if all(other == lengths[0] for other in lengths):
        return []
    unequal = [
        first + number
        for number, bar in enumerate(zip(*lengths, strict=True), start=1)
        if max(bar) - min(bar) > LENGTH_TOLERANCE
    ]
    if not unequal:
        return []
    return [f"voices last unequally long in {len(unequal)} of {last - first} bars, first in bar {unequal[0]}"]
