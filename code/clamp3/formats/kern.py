"""Humdrum ``**kern`` scores: spines that split and join, into the bars of a `Score`.

References
----------
D. Huron, *The Humdrum Toolkit: Reference Manual* (1994), chapters on spine paths and the kern representation.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from dataclasses import field as new
from fractions import Fraction

from clamp3.errors import FormatError
from clamp3.formats.kern_fields import divide, event_of, sign_of, syllable_of
from clamp3.formats.score import DYNAMICS, MAX_DENOMINATOR, ZERO, Bar, Event, Part, Score, direction, whole_rest

MAX_STRANDS = 256
_LABEL = re.compile(r"\*>\s*(?!norep|\[)(.*?)(\d*)$")
_TEXTS = frozenset(("text", "lyrics", "silbe", "vox"))
_KEYBOARDS = frozenset(("piano", "cemba", "clavi", "forte", "organ", "celst", "harp", "klav", "hpschd"))
_EXPANSION = re.compile(r"\*>\s*\w*\[(.*)\]")


@dataclass
class _Spine:
    """One column of the file's beginning, with all that it splits into."""

    kind: str
    staff: int = -1  # of the kern spine itself, or of the one that words and dynamics belong to
    verse: int = 0
    part: str = ""
    number: int = 0  # of *staff
    name: str = ""
    abbreviation: str = ""
    instrument: str = ""
    slurs: list[int] = new(default_factory=list)
    tonic: tuple[str, int, str] | None = None
    fifths: int | None = None
    hairpin: bool = False


@dataclass
class _Strand:
    """One column of the line being read."""

    spine: _Spine
    voice: int = 0
    end: Fraction = ZERO  # where its last note ends in the bar
    fresh: bool = False  # split off, and without a note yet
    beams: int = 0


def read_kern(text: str) -> tuple[Score, list[str]]:
    """Read a Humdrum file.

    Parameters
    ----------
    text : str
        The file; spines other than kern, words and dynamics are left out.

    Returns
    -------
    Score
    list of str
        What was left out.

    Raises
    ------
    FormatError
        If it has no kern spine, or a line has more or fewer fields than there are spines.
    """
    if "**kern" not in text:
        raise FormatError("the file has no **kern spine, and so no notes.")
    reader = _Reader()
    lines = [line.rstrip("\r").split("\t") for line in text.lstrip("\ufeff").split("\n")]
    for number, tokens in enumerate(lines, 1):
        if tokens[0].startswith("!!"):
            reader.record("\t".join(tokens))
        elif any(tokens):
            try:
                reader.line(tokens, lines, number)
            except _Fault as fault:
                raise FormatError(f"line {number} of the kern file {fault}.") from None
    return reader.finish()


class _Fault(Exception):
    """What is wrong with a line; the reader adds its number."""


class _Reader:
    """The state between two lines."""

    def __init__(self) -> None:
        self.score = Score()
        self.spines: list[_Spine] = []  # of kern, by staff
        self.strands: list[_Strand] = []
        self.bar = Bar()
        self.now = ZERO  # of the last line with a note
        self.slurs = 0
        self.labels: set[str] = set()
        self.left_out: dict[str, int] = {}
        self.divided = 0

    def record(self, line: str) -> None:
        """Take title and names from a reference record."""
        key, _, value = line[3:].partition(":")
        key, value = key.split("@")[0], value.strip()
        if line.startswith("!!!") and value:
            if key == "OTL":
                self.score.title = self.score.title or value
            elif key == "COM":
                self.score.composers.append(value)
            elif key == "LYR":
                self.score.lyricists.append(value)

    def line(self, tokens: list[str], lines: list[list[str]], number: int) -> None:
        """Read one line with its fields; ``lines[number:]`` are those that follow."""
        if tokens[0].startswith("**") and not self.strands:
            self._begin(tokens)
            return
        while len(tokens) > len(self.strands) and not tokens[-1].strip():
            tokens.pop()
        if "*v" in tokens:
            tokens = self._joined(tokens)
        if len(tokens) != len(self.strands):
            raise _Fault(f"has {len(tokens)} fields where there are {len(self.strands)} spines")
        first = tokens[0][:1]
        if first == "*":
            self._interpret(tokens)
        elif first == "=":
            kern = [field for field, strand in zip(tokens, self.strands, strict=True) if strand.spine.kind == "kern"]
            if kern:
                self._barline(kern[0], lines, number)
        elif first != "!":
            self._data(tokens)

    def finish(self) -> tuple[Score, list[str]]:
        """Close the last bar and order the parts."""
        if not self.spines:
            raise FormatError("the file has no **kern spine.")
        if self._has_content():
            self._close()
        groups: dict[str, list[int]] = {}
        for staff, spine in enumerate(self.spines):
            keyboard = spine.instrument if spine.instrument in _KEYBOARDS else ""
            groups.setdefault(spine.part or keyboard or f"staff {staff}", []).append(staff)
        numbered = all(spine.number for spine in self.spines)
        for staves in groups.values():
            staves.sort(key=lambda staff: self.spines[staff].number if numbered else -staff)
            names = [spine for spine in (self.spines[staff] for staff in staves) if spine.name or spine.abbreviation]
            named = names[0] if names else self.spines[staves[0]]
            self.score.parts.append(Part(staves, named.name, named.abbreviation))
        self.score.parts.sort(key=lambda part: self.spines[part.staves[0]].number if numbered else -part.staves[0])
        notes = [
            f"spine **{kind} left out" + (f" ({count})" if count > 1 else "") for kind, count in self.left_out.items()
        ]
        self.score.copied = self.divided
        return self.score, notes

    def _begin(self, tokens: list[str]) -> None:
        staff = -1
        n_staves = 0
        for field in tokens:
            spine = _Spine(field[2:].strip())
            if spine.kind == "kern":
                staff = n_staves
                n_staves += 1
                if staff < len(self.spines):  # a further piece in the file
                    spine = self.spines[staff]
                else:
                    self.spines.append(spine)
                spine.staff = staff
                verse = 0
            elif spine.kind in _TEXTS and staff >= 0:
                verse += 1
                spine.staff, spine.verse = staff, verse
            elif spine.kind == "dynam":
                spine.staff = max(staff, 0)
            else:
                self.left_out[spine.kind] = self.left_out.get(spine.kind, 0) + 1
            self.strands.append(_Strand(spine))

    # ---- interpretations -----------------------------------------------------------------------------------------

    def _interpret(self, tokens: list[str]) -> None:
        if any(field in ("*^", "*v", "*x", "*+", "*-") or field.startswith("**") for field in tokens):
            self._paths(tokens)
            return
        labelled = False
        for field, strand in zip(tokens, self.strands, strict=True):
            spine = strand.spine
            if spine.kind != "kern" or field == "*":
                continue
            if field.startswith("*>"):
                if not labelled:
                    self._label(field)
                labelled = True
            elif field.startswith(("*part", "*staff")):
                digits = re.match(r"\*(part|staff)(\d{1,4})", field)
                if digits and digits.group(1) == "part":
                    spine.part = digits.group(2)
                elif digits:
                    spine.number = int(digits.group(2))
            elif field.startswith('*I"'):
                spine.name = spine.name or field[3:].strip()
            elif field.startswith("*I'"):
                spine.abbreviation = spine.abbreviation or field[3:].strip()
            elif field.startswith("*I") and field[2:3].islower():
                spine.instrument = field[2:].strip()
            elif field in ("*ped", "*Xped"):
                self._direct(spine.staff, direction("pedal", type="start" if field == "*ped" else "stop"))
            else:
                self._sign(field, spine)

    def _sign(self, field: str, spine: _Spine) -> None:
        """Take a key, a metre, a clef or a tempo."""
        if field.startswith("*k["):
            spine.fifths = max(-7, min(7, field.count("#") - field.count("-")))
        sign = sign_of(field, spine.fifths)
        tempo = re.match(r"\*MM(\d{1,4}(?:\.\d{1,4})?)$", field)
        stated = [node.tag for marks in self.bar.directions.values() for _, node in marks]
        if tempo and float(tempo.group(1)) and "sound" not in stated:
            self._direct(spine.staff, direction("tempo", tempo.group(1)))
        if sign is not None:
            known = self.bar.signs.setdefault(spine.staff, [])
            sign.onset = self._reached(spine)
            if sign.key is not None:
                known[:] = [old for old in known if old.key is None or old.onset != sign.onset]
            if sign not in known:
                known.append(sign)

    def _reached(self, spine: _Spine) -> Fraction:
        return max(strand.end for strand in self.strands if strand.spine is spine)

    def _label(self, field: str) -> None:
        """Begin a section; those named after another one and numbered are its endings."""
        expansion = _EXPANSION.match(field)
        if expansion:
            self.labels.update(label.strip() for label in expansion.group(1).split(","))
            return
        label = _LABEL.match(field)
        if label is None:
            return
        base, number = label.groups()
        self.labels.add(base + number)
        ending = number if base in self.labels and number else ""
        if ending != self.bar.ending:
            if self._has_content():
                self._close()
            self.bar.ending = ending

    def _paths(self, tokens: list[str]) -> None:
        """Split, join, exchange, add and end spines."""
        after: list[_Strand] = []
        joined: _Strand | None = None
        swapped: int | None = None
        for field, strand in zip(tokens, self.strands, strict=True):
            if field == "*v" and joined is not None and joined.spine is strand.spine:
                joined.end = max(joined.end, strand.end)
                joined.voice = min(joined.voice, strand.voice)
                continue
            joined = strand if field == "*v" else None
            if field == "*-":
                continue
            after.append(strand)
            if field == "*^":
                taken = {other.voice for other in [*self.strands, *after] if other.spine is strand.spine}
                free = next(voice for voice in range(len(taken) + 1) if voice not in taken)
                after.append(_Strand(strand.spine, free, strand.end, fresh=True))
            elif field == "*x":
                if swapped is None:
                    swapped = len(after) - 1
                else:
                    after[swapped], after[-1] = after[-1], after[swapped]
                    swapped = None
            elif field == "*+":
                after.append(_Strand(_Spine("")))
            elif field.startswith("**") and not strand.spine.kind:
                strand.spine.kind = field[2:].strip()
                if strand.spine.kind == "kern":
                    strand.spine.staff = len(self.spines)
                    self.spines.append(strand.spine)
                    strand.end = self.now
        if len(after) > MAX_STRANDS:
            raise _Fault(f"has more than {MAX_STRANDS} spines")
        counts = Counter(id(strand.spine) for strand in after)
        for strand in after:
            if counts[id(strand.spine)] == 1:
                strand.voice = 0
        if not after and self._has_content():
            self._close()
        self.strands = after

    def _joined(self, tokens: list[str]) -> list[str]:
        """Return a line of joins, moved to the nearest strands of one spine where it names those of several."""
        width, first = tokens.count("*v"), tokens.index("*v")
        spines = [strand.spine for strand in self.strands]
        if len(tokens) == len(spines):
            joined = [spine for field, spine in zip(tokens, spines, strict=True) if field == "*v"]
            if all(sum(other is spine for other in joined) > 1 for spine in joined):
                return tokens
        if set(tokens) != {"*", "*v"}:
            return tokens
        places = range(len(spines) - width + 1)
        fitting = [place for place in places if all(spine is spines[place] for spine in spines[place : place + width])]
        if width < 2 or not fitting:
            return tokens
        place = min(fitting, key=lambda place: abs(place - first))
        return ["*"] * place + ["*v"] * width + ["*"] * (len(spines) - width - place)

    # ---- bars and notes ------------------------------------------------------------------------------------------

    def _has_content(self) -> bool:
        return bool(self.bar.voices)

    def _close(self, length: Fraction | None = None) -> None:
        """End the bar where its longest voice ends, or at a time where some notes still sound: they are divided."""
        ends = {key: voice[-1].onset + voice[-1].duration for key, voice in self.bar.voices.items()}
        rests = [key for key, voice in self.bar.voices.items() if len(voice) == 1 and not voice[0].notes]
        whole = max([ends[key] for key in ends if key not in rests] or ends.values())
        for key in rests:  # a rest of the whole bar may be written longer than the bar
            if self.bar.voices[key][0].onset == 0 and ends[key] > whole and (length is None or length >= ends[key]):
                self.bar.voices[key] = [whole_rest(whole)]
        whole = max(voice[-1].onset + voice[-1].duration for voice in self.bar.voices.values())
        length = None if length is not None and length > whole else length
        self.bar.length = length = whole if length is None else length
        after = Bar(ending=self.bar.ending)
        for key, voice in self.bar.voices.items():
            if voice and voice[-1].onset < length < voice[-1].onset + voice[-1].duration:
                after.voices[key] = [divide(voice[-1], length)]
                self.divided += len(voice[-1].notes)
        self.score.bars.append(self.bar)
        self.bar, self.now = after, ZERO
        for strand in self.strands:
            sounds = (strand.spine.staff, strand.voice) in after.voices
            strand.end = strand.end - length if sounds else ZERO
            strand.fresh, strand.beams = False, 0

    def _barline(self, field: str, lines: list[list[str]], number: int) -> None:
        if self._has_content():
            ends = {strand.end for strand in self.strands if strand.spine.kind == "kern"}
            self._close(self._reached_by_next(lines, number) if len(ends) > 1 else None)
        last = self.score.bars[-1] if self.score.bars else None
        sign = re.sub(r"^=+\d*[a-z]?", "", field)
        if last is not None:
            if re.search(r":[|!]", sign):
                last.backward = True
            if field.startswith("==") or ("|!" in sign and ":" not in sign):
                last.style = "light-heavy"
            elif "||" in sign and ":" not in sign:
                last.style = "light-light"
        if re.search(r"[|!]:", sign):
            self.bar.forward = True

    def _reached_by_next(self, lines: list[list[str]], number: int) -> Fraction | None:
        """Return where those voices end that have a note on the next line of notes: there the bar ends."""
        columns = list(self.strands)
        for tokens in lines[number:]:
            first = tokens[0][:1]
            if first == "*" and len(tokens) == len(columns):
                moved: list[_Strand] = []
                for field, strand in zip(tokens, columns, strict=True):
                    if field == "*v" and moved and moved[-1].spine is strand.spine:
                        continue
                    moved += [strand] * (field != "*-") + [strand] * (field == "*^")
                columns = moved
            elif first not in ("!", "*", "=", ""):
                pairs = zip(tokens, columns, strict=False)
                ends = [s.end for field, s in pairs if field not in (".", "") and s.spine.kind == "kern"]
                return max(ends, default=None) or None
        return None

    def _data(self, tokens: list[str]) -> None:
        sounding = [
            (field, strand)
            for field, strand in zip(tokens, self.strands, strict=True)
            if strand.spine.kind == "kern" and field != "."
        ]
        known = [strand.end for _, strand in sounding if not strand.fresh]
        if known:
            self.now = max(known)
        elif sounding:
            self.now = min((s.end for s in self.strands if s.end > self.now), default=self.now)
        events: dict[int, Event] = {}
        for field, strand in sounding:
            event = event_of(field, self.now)
            self._connect(event, field, strand)
            self.bar.voices.setdefault((strand.spine.staff, strand.voice), []).append(event)
            strand.end, strand.fresh = self.now + event.duration, False
            if strand.end.denominator > MAX_DENOMINATOR:
                raise _Fault("has a time that is no sensible fraction of a bar")
            if event.notes and not event.grace:
                events.setdefault(strand.spine.staff, event)
        for field, strand in zip(tokens, self.strands, strict=True):
            spine = strand.spine
            if field == "." or spine.kind == "kern":
                continue
            if spine.verse and spine.staff in events:
                syllable = syllable_of(field)
                if syllable is not None:
                    events[spine.staff].lyrics[spine.verse] = syllable
            elif spine.kind == "dynam":
                self._dynamics(field, spine)

    def _direct(self, staff: int, node: object) -> None:
        strands = [strand.end for strand in self.strands if strand.spine.staff == staff and strand.spine.kind == "kern"]
        onset = max(strands, default=ZERO)
        self.bar.directions.setdefault(staff, []).append((onset, node))  # type: ignore[arg-type]

    def _dynamics(self, field: str, spine: _Spine) -> None:
        marks = self.bar.directions.setdefault(spine.staff, [])
        for word in re.findall(r"[a-z]+", field):
            if word in DYNAMICS:
                marks.append((self.now, direction("dynamics", word)))
        if spine.hairpin and re.search(r"[\[\]<>]", field):
            marks.append((self.now, direction("wedge", type="stop")))
            spine.hairpin = False
        if opening := re.search(r"[<>]", field):
            kind = "crescendo" if opening.group() == "<" else "diminuendo"
            marks.append((self.now, direction("wedge", type=kind)))
            spine.hairpin = True

    def _connect(self, event: Event, field: str, strand: _Strand) -> None:
        """Number slurs, and say where beams begin and end."""
        spine = strand.spine
        for _ in range(field.count(")")):
            if spine.slurs:
                event.slurs.append(("stop", spine.slurs.pop()))
        for _ in range(field.count("(")):
            self.slurs += 1
            spine.slurs.append(self.slurs)
            event.slurs.append(("start", self.slurs))
        first = field.split(" ")[0]
        opened, closed = first.count("L"), first.count("J")
        if not event.grace:
            before = strand.beams
            strand.beams = max(0, before + opened - closed)
            if strand.beams and not before:
                event.beam = "begin"
            elif strand.beams:
                event.beam = "continue"
            elif before:
                event.beam = "end"
