"""Wim Vree's abc2xml, run in process: a private copy of the module per thread, ABC in, a MusicXML tree out."""

from __future__ import annotations

import warnings
from math import gcd
from typing import TYPE_CHECKING, Any

from clamp3.formats.xml2abc_engine import per_thread, private_copy

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

SOURCE = "abctoolkit.abc2xml"


class Abc2Xml:
    """One private copy of the converter; not thread-safe."""

    def __init__(self) -> None:
        self._module: Any = private_copy(SOURCE)
        self.messages: list[str] = []
        self._module.info = lambda message, warn=1: self.messages.append(str(message))

    def convert(self, text: str) -> Element:
        """Return one tune as ``score-partwise``; ``messages`` then holds the converter's warnings.

        The converter's own file reader is not used: it would follow ``%%abc-include`` to any path.

        Raises
        ------
        Exception
            Of any type: the converter raises what its code runs into.
        """
        self.messages.clear()
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


def _smallest_divisions(score: Element) -> None:
    durations = list(score.iter("duration"))
    divisions = list(score.iter("divisions"))
    common = gcd(*(int(node.text or 0) for node in durations + divisions)) or 1
    for node in durations + divisions:
        node.text = str(int(node.text or 0) // common)


engine = per_thread(Abc2Xml)
