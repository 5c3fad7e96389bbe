"""What xml2abc gets wrong in silence: counted in every conversion, mended where ``correct`` asks for it.

The published weights learned from texts with these faults, so they stay by default. Counted and mended are a key that
changes inside a bar, notes that are not printed but sound, quarter-tones, grace notes that are still open when bar or
voice end, and accidentals that make a reader of the text find another pitch than the score states.
"""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction
from typing import Any

MOVED_KEY = "key change inside a bar moved to its beginning"
UNSEEN = "notes that are not printed written as rests"
MICROTONE = "quarter-tones written as semitones"
OPEN_GRACE = "grace notes left open at the end of a voice or bar"
WRONG_PITCH = "notes that read as another pitch"

# What an accidental means where the score states no alteration.
_STATED = {
    "double-flat": "-2",
    "flat-flat": "-2",
    "flat": "-1",
    "sharp": "1",
    "double-sharp": "2",
    "sharp-sharp": "2",
    "quarter-flat": "-1/2",
    "quarter-sharp": "1/2",
    "three-quarters-flat": "-3/2",
    "three-quarters-sharp": "3/2",
}
_SIGNS = {-2: "__", -1: "_", 0: "=", 1: "^", 2: "^^"}
# A pitch on its way through xml2abc: \x01 flags, alteration \x02 name. XML cannot hold these two characters.
_PITCH = re.compile(r"\x01(?P<flags>[a-z]*)(?P<alter>[^\x02]*)\x02(?P<written>[_=^]*)(?P<name>[A-Ga-g][,']*)")
_KEY = re.compile(r"\[K:([^\[\]]*)\]")


class Faults:
    """Watches one copy of xml2abc convert scores.

    Parameters
    ----------
    module : module
        The private copy; its classes are changed.

    Attributes
    ----------
    correct : bool
        Whether to mend, and not to count only.
    found : list of (str, int)
        What was found, and in which bar.
    """

    def __init__(self, module: Any) -> None:
        self._module = module
        self.correct = False
        self.found: list[tuple[str, int]] = []
        self._parser: Any = None
        self._keys: dict[str, dict[str, int]] = {}  # the alterations of every key that was written, by its name
        self._place: tuple[int, str | None, str | None] | None = None  # bar, voice and staff of the note before
        self._watch()

    def begin(self, correct: bool) -> None:
        """Forget the score before."""
        self.correct = correct
        self.found.clear()
        self._keys.clear()

    def notes(self) -> tuple[str, ...]:
        """Return what was found, each kind once, with its number and its first bar."""
        counts = Counter(what for what, _ in self.found)
        first = {what: min(bar for kind, bar in self.found if kind == what) for what in counts}
        return tuple(
            f"{what} ({count}, first in bar {first[what]})" if count > 1 else f"{what} (bar {first[what]})"
            for what, count in counts.items()
        )

    def _watch(self) -> None:
        module, parser = self._module, self._module.Parser
        set_key, out_voices = module.setKey, module.Music.outVoices
        locate, do_note, do_attributes, name_pitch = parser.locStaffMap, parser.doNote, parser.doAttr, parser.ntAbc

        def begin_part(parser: Any, *part: Any) -> None:
            self._parser, self._place = parser, None
            locate(parser, *part)

        def remember_key(*key: Any) -> tuple[str, dict[str, int]]:
            name, alterations = set_key(*key)
            self._keys[name] = alterations
            return name, alterations

        def note(parser: Any, node: Any) -> None:
            self._before_note(parser, node)
            do_note(parser, node)

        def attributes(parser: Any, node: Any) -> None:
            self._attributes(parser, node, do_attributes)

        def pitch(parser: Any, step: str, octave: int, node: Any, *rest: Any) -> str:
            if node.find("pitch") is None:
                written: str = name_pitch(parser, step, octave, node, *rest)
                return written
            return self._pitch(parser, step, octave, node, rest, name_pitch)

        def voices(music: Any, *rest: Any) -> Any:
            if self._parser.ingrace:
                self._close_grace(self._parser)
            for voice in music.vnums:
                self._read(music, voice)
            return out_voices(music, *rest)

        module.setKey, module.Music.outVoices = remember_key, voices
        parser.locStaffMap, parser.doNote, parser.doAttr, parser.ntAbc = begin_part, note, attributes, pitch

    def _before_note(self, parser: Any, node: Any) -> None:
        """Look at a note that xml2abc is about to take; grace notes belong to a note of the same voice and bar."""
        staff = node.findtext("staff") if parser.isSib else None
        place = (parser.msr.ixm, node.findtext("voice", "1"), staff)
        if place != self._place:
            if self._place and parser.ingrace and (self.correct or node.find("grace") is not None):
                self._close_grace(parser)
            self._place = place
        sounds = node.find("pitch") is not None or node.find("unpitched") is not None
        if sounds and node.get("print-object") == "no":
            if self.correct:
                del node.attrib["print-object"]
            else:
                self.found.append((UNSEEN, parser.msr.ixm + 1))

    def _close_grace(self, parser: Any) -> None:
        if self.correct:
            parser.msc.lastnote.after += "}"
            parser.ingrace = 0
        else:
            self.found.append((OPEN_GRACE, self._place[0] + 1 if self._place else 1))

    def _attributes(self, parser: Any, node: Any, original: Any) -> None:
        """Write a key where it stands, in all voices, and one of a later part not into the header of all parts."""
        out, music, bar = self._module.abcOut, parser.msc, parser.msr
        header_key, before = out.key, bar.attr
        original(parser, node)
        if self.correct and out.key != header_key and music.vceCnt > 1:  # voices without a key have been written
            bar.attr += f"[K:{out.key}]"
            out.key = header_key
        added = bar.attr[len(before) :]
        if not _KEY.search(added) or not music.tijd:
            return
        if not self.correct:
            self.found.append((MOVED_KEY, bar.ixm + 1))
            return
        bar.attr = before
        for voice in music.vnums:
            items = music.voices[voice]
            place = next((index for index, item in enumerate(items) if item.tijd >= music.tijd), len(items))
            if not (items[place:] and getattr(items[place], "str", "") == added):  # once, though each staff states it
                key = self._module.Elem(added)
                key.tijd = music.tijd
                items.insert(place, key)

    def _pitch(self, parser: Any, step: str, octave: int, node: Any, rest: tuple[Any, ...], original: Any) -> str:
        """Return the name of a pitch with its alteration, which the reader of the bar turns into an accidental."""
        alter = _alteration(node.findtext("pitch/alter") or _STATED.get(node.findtext("accidental")))
        ties = {tie.get("type") for path in ("tie", "notations/tied") for tie in node.findall(path)}
        flags = ("o" if "start" in ties else "") + ("t" if "stop" in ties else "")
        if not self.correct:
            if alter.denominator > 1:
                self.found.append((MICROTONE, parser.msr.ixm + 1))
            return f"\x01{flags}{alter}\x02{original(parser, step, octave, node, *rest)}"
        if abs(alter) > 2:
            raise ValueError(f"an alteration of {alter} semitones")
        shown = "s" if node.find("accidental") is not None else ""
        name = self._module.addoct(step, octave + parser.clefOct.get(parser.curStf[rest[0]], 0))
        return f"\x01{flags}{shown}{alter}\x02{name}"

    def _read(self, music: Any, voice: int) -> None:
        """Read a voice as readers of ABC do, and write or check its accidentals."""
        parser = self._parser
        percussion = "perc" in parser.clefMap.get(parser.vce2stf.get(voice), "")  # such a voice begins with K:none
        reader = _Reader({} if percussion else self._keys.get(self._module.abcOut.key, {}), self._keys)
        for index, voices in enumerate(music.gMaten, start=1):
            self.found += [(WRONG_PITCH, index)] * reader.bar(voices[voice], self.correct)


class _Reader:
    """What a reader of a voice knows: the key, the accidentals of the bar, and the ties of the note before."""

    def __init__(self, key: dict[str, int], keys: dict[str, dict[str, int]]) -> None:
        self._key, self._keys = key, keys
        self._bar: dict[str, Fraction | None] = {}
        self._tied: dict[str, tuple[Fraction, Any, int]] = {}  # alteration, and where the tie begins

    def bar(self, measure: list[Any], write: bool) -> int:
        """Read a bar and take the marks off its pitches; without ``write`` return how many read as other ones."""
        self._bar, wrong = {}, 0
        for item in measure:
            if not hasattr(item, "ns"):
                self._change_key(item.str)
                continue
            opened = {}
            for index, text in enumerate(item.ns):
                found = _PITCH.search(text)
                if found is None:
                    continue
                alter = _alteration(found["alter"])
                name = self._write(found, alter) if write else found["written"] + found["name"]
                wrong += not write and self._is_wrong(found, alter)
                item.ns[index] = text[: found.start()] + name + text[found.end() :]
                if "o" in found["flags"]:
                    opened[found["name"]] = alter, item, index
            self._tied = {**self._tied, **opened} if item.grace else opened
        return wrong

    def _change_key(self, text: object) -> None:
        for name in _KEY.findall(text) if isinstance(text, str) and text[:1] != '"' else ():
            if name in self._keys:
                self._key = self._keys[name]
                self._bar = dict.fromkeys(self._bar)  # some readers forget accidentals there, some do not

    def _known(self, name: str) -> Fraction | None:
        return self._bar.get(name, Fraction(self._key.get(name[0].upper(), 0)))

    def _write(self, found: re.Match[str], alter: Fraction) -> str:
        name = found["name"]
        tied = self._tied.get(name)
        if tied is not None and tied[0] != alter:  # the reader would join them
            _, item, index = tied
            item.ns[index] = item.ns[index].removesuffix("-")
        goes_on = tied is not None and tied[0] == alter and "t" in found["flags"]
        if "s" in found["flags"] or (self._known(name) != alter and not goes_on):
            self._bar[name] = alter
            return _sign(alter) + name
        return name

    def _is_wrong(self, found: re.Match[str], alter: Fraction) -> bool:
        name, written = found["name"], found["written"]
        if written:
            self._bar[name] = Fraction(written.count("^") - written.count("_"))
        read = self._tied[name][0] if name in self._tied else self._known(name)
        return alter.denominator == 1 and read not in (None, alter)


def _alteration(text: str | None) -> Fraction:
    try:
        return Fraction((text or "0").strip()[:12] or 0).limit_denominator(8)
    except (ValueError, ZeroDivisionError):
        return Fraction(0)


def _sign(alter: Fraction) -> str:
    """Return an accidental; parts of a semitone as abcm2ps and abc2midi read them.

    Examples
    --------
    >>> [_sign(Fraction(alter)) for alter in ("-1", "0", "1/2", "-3/2")]
    ['_', '=', '^/', '_3/2']
    """
    if alter.denominator == 1:
        return _SIGNS[int(alter)]
    above = "" if abs(alter.numerator) == 1 else str(abs(alter.numerator))
    below = "" if alter.denominator == 2 and not above else str(alter.denominator)
    return f"{'^' if alter > 0 else '_'}{above}/{below}"
