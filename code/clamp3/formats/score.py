"""A score as readers of notation see it: bars of staves, whose voices are events with exact times.

The readers of kern and MEI fill a `Score`; `clamp3.formats.score_xml` writes it as MusicXML. Times are fractions of a
quarter note, counted from the beginning of the bar.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from xml.etree.ElementTree import Element, SubElement

ZERO = Fraction(0)
MAX_DENOMINATOR = 1 << 40
"""Of times and durations; the tuplets of real scores need a few thousand."""
TYPES = {
    Fraction(32): "maxima",
    Fraction(16): "long",
    Fraction(8): "breve",
    Fraction(4): "whole",
    Fraction(2): "half",
    Fraction(1): "quarter",
    Fraction(1, 2): "eighth",
    **{Fraction(1, 1 << i): f"{4 << i}th" for i in range(2, 9)},
}
SIGNATURE = "FCGDAEB"
_MODES = {"major": 0, "minor": -3, "dorian": -2, "phrygian": -4, "lydian": 1, "mixolydian": -1, "locrian": -5}
DYNAMICS = frozenset((
    "p", "pp", "ppp", "pppp", "f", "ff", "fff", "ffff", "mp", "mf", "sfz", "sf", "fp", "fz", "rf", "rfz", "n",
))  # fmt: skip


@dataclass
class Note:
    """One note head; ``ties`` holds "start" and "stop". Without a step it has no pitch."""

    step: str
    octave: int
    alter: int = 0
    ties: set[str] = field(default_factory=set)


@dataclass
class Event:
    """A note, a chord or (without notes) a rest.

    Attributes
    ----------
    onset, duration : Fraction
        What it takes up in its bar; grace notes take nothing.
    notes : list of Note
    written : Fraction
        Value of the note without dots and tuplets.
    dots : int
    ratio : tuple of int, optional
        Notes played and notes they stand for, of a tuplet.
    tuplet : object, optional
        Events of one tuplet have the same; None lets the writer group them.
    grace : str
        ``"slash"`` or ``"plain"``.
    beam : str
        ``"begin"``, ``"continue"`` or ``"end"``.
    marks : list of str
        MusicXML names of articulations and ornaments.
    slurs : list of (str, int)
        ``"start"`` or ``"stop"`` with a number.
    lyrics : dict of int to (str, str)
        Per verse its syllabic and its text.
    tremolo : tuple of (str, int), optional
        Type and number of strokes.
    hidden : bool
        Takes up its time, but is not shown.
    """

    onset: Fraction
    duration: Fraction
    notes: list[Note] = field(default_factory=list)
    written: Fraction = ZERO
    dots: int = 0
    ratio: tuple[int, int] | None = None
    tuplet: object = None
    grace: str = ""
    beam: str = ""
    marks: list[str] = field(default_factory=list)
    slurs: list[tuple[str, int]] = field(default_factory=list)
    lyrics: dict[int, tuple[str, str]] = field(default_factory=dict)
    tremolo: tuple[str, int] | None = None
    hidden: bool = False


@dataclass
class Sign:
    """A key, a metre or a clef from a time on; the fields that are None stay as they are.

    ``key`` is (fifths, mode or ""), ``metre`` (beats, unit), ``clef`` (sign, line, octaves).
    """

    onset: Fraction = ZERO
    key: tuple[int, str] | None = None
    metre: tuple[str, int] | None = None
    clef: tuple[str, str, int] | None = None
    transpose: tuple[int, int] | None = None


@dataclass
class Bar:
    """One bar of all staves; staves and voices are numbered from 0.

    Attributes
    ----------
    length : Fraction
    voices : dict of (int, int) to list of Event
        By staff and voice.
    signs : dict of int to list of Sign
    directions : dict of int to list of (Fraction, Element)
        Contents of ``<direction>`` or ``<harmony>`` elements, by staff.
    forward, backward : bool
        A repeated passage begins or ends here.
    style : str
        MusicXML's name of the line at its end.
    ending : str
        Number of the volta that the bar belongs to.
    """

    length: Fraction = ZERO
    voices: dict[tuple[int, int], list[Event]] = field(default_factory=dict)
    signs: dict[int, list[Sign]] = field(default_factory=dict)
    directions: dict[int, list[tuple[Fraction, Element]]] = field(default_factory=dict)
    forward: bool = False
    backward: bool = False
    style: str = ""
    ending: str = ""


@dataclass
class Part:
    """Staves of one instrument, from the top, and the groups it stands in: (number, symbol), from outside."""

    staves: list[int]
    name: str = ""
    abbreviation: str = ""
    groups: list[tuple[int, str]] = field(default_factory=list)


@dataclass
class Score:
    """Parts from the top, and their bars; ``copied`` notes are more than the source has (repeated or divided ones)."""

    parts: list[Part] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    title: str = ""
    composers: list[str] = field(default_factory=list)
    lyricists: list[str] = field(default_factory=list)
    copied: int = 0

    def events(self) -> Iterable[Event]:
        """Yield the events of all bars, staves and voices."""
        for bar in self.bars:
            for voice in bar.voices.values():
                yield from voice


def direction(kind: str, text: str = "", **attributes: str) -> Element:
    """Return the content of a direction: ``words``, ``dynamics``, ``wedge``, ``pedal``, ``octave-shift``, ``tempo``.

    Parameters
    ----------
    kind : str
    text : str
        Words, the name of a dynamic mark, or quarters a minute.
    **attributes : str
        Of the element.
    """
    if kind == "tempo":
        return Element("sound", tempo=text)
    whole = Element("direction-type")
    node = SubElement(whole, kind, attributes)
    if kind == "dynamics":
        SubElement(node, text)
    else:
        node.text = text or None
    return whole


def mode_for(step: str, alter: int, fifths: int, mode: str) -> str:
    """Return a mode in which this tonic has that signature, the stated one if it fits; empty if none does.

    Parameters
    ----------
    step : str
        Of the tonic.
    alter : int
        Of the tonic.
    fifths : int
        Of the signature.
    mode : str
        The stated one.

    Examples
    --------
    >>> mode_for("A", 0, 0, "minor"), mode_for("G", 0, -1, "minor"), mode_for("C", 0, 4, "major")
    ('minor', 'dorian', '')

    """
    tonic = SIGNATURE.index(step) - 1 + 7 * alter
    fitting = [name for name, shift in _MODES.items() if tonic + shift == fifths]
    return mode if mode in fitting else "".join(fitting[:1])


def value_of(duration: Fraction) -> tuple[Fraction, int, tuple[int, int] | None]:
    """Return value, dots and tuplet ratio of a duration.

    Examples
    --------
    >>> value_of(Fraction(3, 2)), value_of(Fraction(2, 3))
    ((Fraction(1, 1), 1, None), (Fraction(1, 1), 0, (3, 2)))
    """
    for dots, share in ((0, Fraction(1)), (1, Fraction(3, 2)), (2, Fraction(7, 4)), (3, Fraction(15, 8))):
        if duration / share in TYPES:
            return duration / share, dots, None
    written = min((value for value in TYPES if value >= duration), default=Fraction(32))
    if duration.denominator & (duration.denominator - 1) == 0:
        return written, 0, None  # five quarters are no tuplet
    ratio = written / duration
    return written, 0, (ratio.numerator, ratio.denominator)


def whole_rest(length: Fraction) -> Event:
    """Return the rest of a whole bar."""
    return Event(ZERO, length, written=Fraction(4))
