"""Wim Vree's abc2xml, run in process: a private copy of the module per thread, ABC in, a MusicXML tree out."""

from __future__ import annotations

import warnings
from math import gcd
from typing import TYPE_CHECKING, Any

from clamp3.formats.abc.first_letters import look_ahead
from clamp3.formats.xml2abc_engine import per_thread, private_copy

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

SOURCE = "abctoolkit.abc2xml"
_PITCH_LEVEL = 5  # of indentation


class Abc2Xml:
    """One private copy of the converter; not thread-safe."""

    def __init__(self) -> None:
        self._module: Any = private_copy(SOURCE)
        self.messages: list[str] = []
        self._module.info = lambda message, warn=1: self.messages.append(str(message))
        self._module.addElem = _add_element
        look_ahead(self._module.abc_voice)
        self._accidentals = _Accidentals(self._module)

    @property
    def wrong(self) -> list[int]:
        """Bars of the notes that got another accidental than the last tune states, if it was not corrected."""
        return self._accidentals.wrong

    def convert(self, text: str, *, correct: bool = False) -> Element:
        """Return one tune as ``score-partwise``; ``messages`` then holds the converter's warnings.

        The converter's own file reader is not used: it would follow ``%%abc-include`` to any path.

        Parameters
        ----------
        text : str
            With its header.
        correct : bool
            Let an accidental before a tied note count for the rest of its bar, and a tie in one overlay not for others.

        Raises
        ------
        Exception
            Of any type: the converter raises what its code runs into.
        """
        self.messages.clear()
        self._accidentals.begin(correct)
        self._module.prevloc = 0
        converter = self._module.MusicXml()
        converter.uSyms = dict(converter.uSyms)  # symbols that a tune defines must not reach the next one
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it uses deprecated names of pyparsing
            score: Element = converter.parse(text)
        _smallest_divisions(score)
        for encoding in score.iter("encoding"):
            for date in encoding.findall("encoding-date"):  # the same text gives the same file every day
                encoding.remove(date)
        return score


def _add_element(parent: Element, child: Element, level: int) -> None:
    """Append an indented element; the converter's own function copies the list of those before it each time."""
    if len(parent):
        last = parent[-1]
        last.tail = (last.tail or "") + "  "
    else:
        parent.text = "\n" + level * "  "
    parent.append(child)
    child.tail = "\n" + (level - 1) * "  "


class _Accidentals:
    """Reads accidentals beside the converter, which forgets those of tied notes: ``^F-|^F F`` ends in F natural.

    Where a tie is open at a pitch in another overlay, it forgets the key too.
    """

    def __init__(self, module: Any) -> None:
        self.wrong: list[int] = []
        self._correct, self._number = False, 1
        self._bar: dict[tuple[str, str | None], str] = {}  # alteration by name and octave
        self._module = module
        make_measure, make_pitch = module.MusicXml.mkMeasure, module.MusicXml.mkPitch

        def measure(converter: Any, number: int, *rest: Any) -> Any:
            self._number, self._bar = number, {}
            return make_measure(converter, number, *rest)

        def pitch(converter: Any, sign: str, name: str, octave: int, level: int) -> tuple[Any, ...]:
            element, alter, *percussion = make_pitch(converter, sign, name, octave, level)
            if element.tag == "pitch":
                alter = self._read(converter, sign, name, octave, element, alter)
            return element, alter, *percussion

        module.MusicXml.mkMeasure, module.MusicXml.mkPitch = measure, pitch

    def begin(self, correct: bool) -> None:
        """Forget the tune before."""
        self._correct, self.wrong = correct, []

    def _read(self, converter: Any, sign: str, name: str, octave: int, element: Element, made: str) -> str:
        """Return the alteration of a note, and let its pitch have it where that is asked for."""
        tie = converter.ties.get((name, octave))
        tied = tie is not None and tie[2] == converter.overlayVnum
        place, octave_name = (name.upper(), element.findtext("octave")), element.findtext("octave") or ""
        if sign:
            self._bar[place] = converter.alterTab[sign]
        alter = tie[0] if tied else self._bar.get(place, converter.keyAlts.get(name.upper(), ""))
        if int(alter or 0) == int(made or 0):
            return made
        if not self._correct:
            self.wrong.append(self._number)
            return made
        for child in list(element):
            element.remove(child)
        for tag, text in (("step", name.upper()), ("alter", alter), ("octave", octave_name)):
            if text:
                self._module.addElemT(element, tag, text, _PITCH_LEVEL)
        return alter


def _smallest_divisions(score: Element) -> None:
    durations = list(score.iter("duration"))
    divisions = list(score.iter("divisions"))
    common = gcd(*(int(node.text or 0) for node in durations + divisions)) or 1
    for node in durations + divisions:
        node.text = str(int(node.text or 0) // common)


engine = per_thread(Abc2Xml)
