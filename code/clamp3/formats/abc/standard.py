"""ABC as people write it, brought into the form xml2abc writes: one tune, ``V:n`` blocks, unit length 1/8.

The published preparation reads only that form; it garbles or refuses other files. Files already in that form are not
touched here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from clamp3.errors import FormatError
from clamp3.formats.abc.bars import BAR_SIGN

UNIT = Fraction(1, 8)  # what the models were trained with; patches drop the line "L:1/8"
_FIELD = re.compile(r"([A-Za-z]):")
_START = re.compile(r"X:")
# Each character matches in one way only: no backtracking.
_COMMENT = re.compile(r'^((?:[^%"\\]|\\.|"[^"]*"|"(?![^"]*"))*)%.*$')
# A bracket or brace that is never closed ends at the next one: looking for its end costs each character once.
_SWITCH = re.compile(r"\[V:\s*([^\[\]\s]+)(?:\s[^\[\]]*)?\]")
_NOTE = r"[A-Ga-gxz][,']*"
_LENGTH = r"(?P<n>\d*)(?P<slash>/*)(?P<d>\d*)"
# Quoted text, decorations, inline fields and grace notes, which have no length; then notes and chords with theirs.
_LENGTHS = re.compile(
    r'"[^"]*"|![^!\n]*!|\+[a-z]+\+|\[[A-Za-z]:[^\[\]]*\]|\{[^{}]*\}'
    rf"|(?P<note>\[[^\[\]|:\d][^\[\]|]*\]|{_NOTE}){_LENGTH}"
)
_IN_CHORD = re.compile(rf'"[^"]*"|![^!\n]*!|(?P<note>{_NOTE}){_LENGTH}')
_NOT_SOUNDED = re.compile(r'"[^"]*"|![^!]*!|\+[a-z]+\+|\[[A-Za-z]:[^\[\]]*\]')
# Ends of printed lines, and quotes that only space letters out.
_TYPESETTING = re.compile(_NOT_SOUNDED.pattern + r"|[$`]+")
_INVISIBLE_BAR = re.compile(r"\[\|\]")
_SOUND = re.compile(r"[A-Ga-gxzXZ]")
_FRACTION = re.compile(r"\(?(\d{1,6}(?:\+\d{1,6}){0,15})\)?\s*/\s*(\d{1,6})(?!\d)")
_BLOCK = re.compile(r"%%begin(\w+)")
_PROSE = re.compile(r"(?<![A-Za-z])(?=[A-Za-z]{3})[A-Za-z]*[h-tw]")  # words with letters that do not occur in music
_MOST_BARS = 2_000  # of rest in a voice
_MOST_VOICES = 500
_MOST_DIGITS = 6  # of a number in a length
_BAR_REST = re.compile(_NOT_SOUNDED.pattern + r"|(?P<rest>[ZX])(?P<n>\d*)")
_IN_BODY = "KLMQ"  # fields that change the music from where they stand
_WORDS = "ABDFGHNORSr"  # origin, book, notes …: text about the tune, which the models must not see
_DIRECTIVES = ("%%score", "%%staves")
_PROPERTIES = ((r"\bclef=", ""), (r"\b(?:subname|sname|snm)=", "snm="), (r"\b(?:name|nm)=", "nm="))


@dataclass
class _Tune:
    header: list[str] = field(default_factory=list)
    order: list[str] = field(default_factory=list)  # voice names
    defined: dict[str, str] = field(default_factory=dict)  # name -> the properties in its V: line
    music: dict[str, list[str]] = field(default_factory=dict)
    now: str = ""

    def switch(self, name: str, properties: str = "") -> None:
        if name not in self.music:
            self.order.append(name)
            self.music[name] = []
        if properties:
            self.defined.setdefault(name, properties)
        self.now = name

    def add(self, text: str) -> None:
        if not self.now:
            self.switch("1")
        self.music[self.now].append(text)


def standard_form(text: str) -> tuple[str, list[str]]:
    """Return the first tune of a text in the form xml2abc writes, and notes on what was changed.

    Voices are numbered in order of appearance, their pieces joined; comments, words and lyrics are dropped,
    note lengths are rewritten for ``L:1/8``, rests of several bars written out. Free text around the tune (ABC 2.1,
    section 2.2) is left out.

    Raises
    ------
    FormatError
        If no music follows the header.
    """
    notes: list[str] = []
    tune = _read(_first_tune(text.split("\n"), notes), notes)
    if not any(line[:2] in ("K:", "M:", "L:") for line in tune.header) and "|" not in text:
        raise FormatError("this is no ABC: it has neither a K:, M: or L: field nor a bar line.")
    voices = [name for name in tune.order if any(map(_sounds, tune.music[name]))]
    if not voices:
        raise FormatError("the ABC holds a header but no music.")
    if len(voices) > _MOST_VOICES:
        raise FormatError(f"the ABC has {len(voices)} voices, more than {_MOST_VOICES}.")
    numbers = {name: str(number) for number, name in enumerate(voices, start=1)}
    scale = _scale(tune, notes)
    eighths = f"L:{UNIT}" in tune.header
    metre = next((_metre(line[2:]) for line in reversed(tune.header) if line.startswith("M:")), None)
    header = sorted((_renumbered(line, numbers) for line in tune.header), key=_place)
    header += [f"V:{numbers[name]} {tune.defined.get(name, 'treble')}" for name in voices]
    for name in voices:
        music = _barred(_rescaled(" ".join(tune.music[name]), scale))
        header += [f"V:{numbers[name]}", _written_out(music, metre) if eighths else music]
    return "\n".join(header) + "\n", notes


def _first_tune(lines: list[str], notes: list[str]) -> list[str]:
    starts = [index for index, line in enumerate(lines) if _START.match(line)]
    if starts and holds_music(lines[: starts[0]]):  # a tune without a number
        starts.insert(0, 0)
    if len(starts) > 1:
        notes.append(f"first of {len(starts)} tunes taken")
        lines = lines[: starts[1]]
    before = lines[: starts[0]] if starts else []
    fields = [line for line in before if is_field(line) or line.startswith("%")]  # they apply to all tunes
    if sum(map(bool, map(str.strip, before))) > len(fields):
        notes.append("text before the tune left out")
    return fields + lines[len(before) :]


def is_field(line: str) -> bool:
    """Return whether a line is an information field, and not a note before a repeat sign."""
    return _FIELD.match(line) is not None and not re.match(r"[A-Ga-gxz]:[|:]", line)


def _sounds(music: str) -> bool:
    return _SOUND.search(_NOT_SOUNDED.sub("", music)) is not None


def holds_music(lines: list[str]) -> bool:
    """Return whether a line of music follows a key."""
    key = next((index for index, line in enumerate(lines) if line.startswith("K:")), len(lines))
    return any("|" in line and not is_field(line) and line[0] != "%" for line in lines[key:])


def _read(lines: list[str], notes: list[str]) -> _Tune:
    tune, in_header, ended, n_words, last = _Tune(), True, False, 0, ""
    own_letters = any(line.startswith("U:") for line in lines)
    for raw in _without_blocks(lines):
        line = raw if raw.startswith("%%") else _COMMENT.sub(r"\1", raw)
        line = line.rstrip()
        if not line.strip():
            ended = ended or (not raw.strip() and any(tune.music.values()))
            continue
        if ended and not own_letters and _is_prose(line):
            n_words += 1
            continue
        ended = False
        if is_field(line):
            last = line[0]
            in_header = _field(tune, last, line, in_header)
        elif line.startswith("+:") or (last == "H" and in_header and not line.startswith("%%")):
            continue  # more of the field above; of the history without a sign
        elif line.startswith("%%"):
            if line.startswith(_DIRECTIVES) and not any(tune.music.values()):
                tune.header.append(line)
        else:
            in_header = False
            _music(tune, line)
    if n_words:
        notes.append(f"text after the tune left out: {n_words} lines")
    return tune


def _without_blocks(lines: list[str]) -> Iterator[str]:
    """Yield the lines without text, PostScript and SVG between ``%%begin…`` and ``%%end…``."""
    end = ""
    for line in lines:
        if end:
            end = "" if line.startswith(end) or is_field(line) else end  # a block that stays open ends somewhere
            if not end and is_field(line):
                yield line
        elif found := _BLOCK.match(line):
            end = f"%%end{found[1]}"
        else:
            yield line


def _is_prose(line: str) -> bool:
    """Return whether a line after a blank one, which ends a tune, is neither a field nor further music."""
    return not _FIELD.match(line) and _PROSE.search(_NOT_SOUNDED.sub("", line)) is not None


def _field(tune: _Tune, key: str, line: str, in_header: bool) -> bool:
    """Process an information field; return whether the header continues."""
    value = line[2:].strip()
    if key == "V":
        name, _, properties = value.partition(" ")
        for pattern, ours in _PROPERTIES:
            properties = re.sub(pattern, ours, properties)
        if name:
            tune.switch(name, properties.strip())
    elif key in _WORDS:
        pass
    elif in_header:
        tune.header.append(f"{key}:{value}")
        return key != "K"
    elif key in _IN_BODY and not tune.now:  # before the music, so for all of it
        tune.header = [other for other in tune.header if other[0] != key] + [f"{key}:{value}"]
    elif key in _IN_BODY:
        tune.add(f"[{key}:{value}]")
    return in_header


def _music(tune: _Tune, line: str) -> None:
    line = line.removesuffix("\\")
    line = _TYPESETTING.sub(lambda found: "" if found[0][0] in "$`" else found[0], line)
    line = _INVISIBLE_BAR.sub("|", line)
    if line.count("!") % 2:  # before ABC 2.0 a lone "!" broke the printed line
        line = line.removesuffix("!")
    pieces = _SWITCH.split(line)  # text, name, text, name, text …
    if pieces[0].strip():
        tune.add(pieces[0].strip())
    for name, text in zip(pieces[1::2], pieces[2::2], strict=True):
        tune.switch(name)
        if text.strip():
            tune.add(text.strip())


def _place(line: str) -> int:
    found = "%LQMK".find(line[0])  # the order in which xml2abc writes them
    return found if found >= 0 else len("%LQMK")


def _renumbered(line: str, numbers: dict[str, str]) -> str:
    if not line.startswith(_DIRECTIVES):
        return line
    word, _, rest = line.partition(" ")
    return word + " " + re.sub(r"[^\s()\[\]{}|*]+", lambda found: numbers.get(found[0], found[0]), rest)


def _scale(tune: _Tune, notes: list[str]) -> Fraction:
    """Return how many eighths the tune's unit length is, and put ``L:1/8`` into its header."""
    value = next((line[2:] for line in tune.header if line.startswith("L:")), "")
    metre = next((line[2:].strip() for line in tune.header if line.startswith("M:")), "")
    unit = _fraction(value if "/" in value else f"{value}/1")
    if unit is None:  # ABC 2.1, section 3.1.7
        if value.strip():
            notes.append(f"unit length {value.strip()[:20]} not understood")
        length = _fraction(metre)
        unit = Fraction(1, 16) if length is not None and length < Fraction(3, 4) else UNIT
    if any("[L:" in text for music in tune.music.values() for text in music):
        notes.append("unit length changes within the tune: lengths left as written")
        if not value:
            tune.header.append(f"L:{unit}")
        return Fraction(1)
    tune.header = [line for line in tune.header if not line.startswith("L:")] + [f"L:{UNIT}"]
    if unit != UNIT:
        notes.append(f"lengths rewritten from L:{unit} to L:1/8")
    return unit / UNIT


def _fraction(text: str) -> Fraction | None:
    """Return a unit length or a metre, ``2+3/8`` and ``(2+3)/8`` included; None if it is none."""
    found = _FRACTION.match(text.strip())
    if found is None:
        return None
    above, below = sum(map(int, found[1].split("+"))), int(found[2])
    return Fraction(above, below) if above and below else None


def note_length(n: str, slash: str, d: str) -> Fraction:
    """Return the length in units that a suffix such as ``3``, ``/``, ``//`` or ``3/4`` gives a note.

    Parameters
    ----------
    n, slash, d : str
        Numerator, slashes and denominator; each may be empty.

    Raises
    ------
    FormatError
        If a number is too long to be one of a note.
    """
    if max(len(n), len(d), len(slash)) > _MOST_DIGITS:
        raise FormatError(f"a note length has a number of more than {_MOST_DIGITS} digits.")
    below = int(d) if d and slash else 2 ** len(slash)
    return Fraction(int(n or 1), below or 1)


def _rescaled(music: str, scale: Fraction) -> str:
    """Multiply the lengths; of a chord those in its brackets if there are some, since readers differ on both."""
    if scale == 1:
        return music

    def longer(found: re.Match[str]) -> str:
        if found["note"] is None:
            return found[0]
        if found["note"][0] == "[" and any(part["n"] or part["slash"] for part in _IN_CHORD.finditer(found["note"])):
            return _IN_CHORD.sub(longer, found["note"]) + found[0][len(found["note"]) :]
        return found["note"] + _length_text(note_length(found["n"], found["slash"], found["d"]) * scale)

    return _LENGTHS.sub(longer, music)


def _length_text(length: Fraction) -> str:
    below = "" if length.denominator == 1 else "/" if length.denominator == 2 else f"/{length.denominator}"
    if length.numerator != 1 and below == "/":
        below = "/2"
    return ("" if length.numerator == 1 else str(length.numerator)) + below


def _written_out(music: str, metre: Fraction | None) -> str:
    """Write multi-bar rests as xml2abc does, bar by bar; otherwise the bars of the voices would not line up."""
    n_bars = 0

    def rests(found: re.Match[str]) -> str:
        nonlocal metre, n_bars
        if found["rest"] is None:
            metre = _metre(found[0][3:-1]) if found[0].startswith("[M:") else metre
            return found[0]
        length = _length_text(metre / UNIT) if metre is not None else ""
        sign = found["rest"].lower() if length else found["rest"]
        n_bars += _n_bars(found)
        if n_bars > _MOST_BARS:
            raise FormatError(f"a voice rests for more than {_MOST_BARS} bars.")
        return "|".join([sign + length] * _n_bars(found))

    return _BAR_REST.sub(rests, music)


def _n_bars(rest: re.Match[str]) -> int:
    return max(1, int(rest["n"] or 1)) if len(rest["n"]) < _MOST_DIGITS else _MOST_BARS + 1


def check_bar_rests(text: str) -> None:
    """Refuse rests of more bars than a piece has; each of them may become a bar of its own."""
    music = "\n".join(line for line in text.split("\n") if not is_field(line) and not line.startswith("%"))
    n_bars = [_n_bars(found) for found in _BAR_REST.finditer(music) if found["rest"]]
    if max(n_bars, default=0) > _MOST_BARS or sum(n_bars) > 20 * _MOST_BARS:
        raise FormatError(f"voices rest for more than {_MOST_BARS} bars.")


def has_bar_rests(line: str) -> bool:
    """Return whether a line of music contains a rest of whole bars."""
    return any(found["rest"] for found in _BAR_REST.finditer(line))


def _metre(text: str) -> Fraction | None:
    return Fraction(1) if text.strip() in ("C", "C|") else _fraction(text)


def _barred(music: str) -> str:
    """Close the last bar and write the end and start of a repeat as one bar line."""
    music = music.replace(":||:", "::").replace(":|:", "::")
    return music if not BAR_SIGN.split(music)[-1].strip() else music + " |"
