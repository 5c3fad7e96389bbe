"""Wim Vree's xml2abc, run in process: a private copy of the module per thread, trees in, text out.

The released pipeline starts one Python process per file. The converter (LGPL, inside abctoolkit) keeps
its output object in a module global and reports on stderr, so each thread loads its own copy of the
module under its own name; the one other programs import stays as it is.
"""

from __future__ import annotations

import importlib.util
import io
import threading
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

SOURCE = "abctoolkit.xml2abc"
# The released call is ``xml2abc.py -d 8 -x FILE``; the rest are that script's own defaults.
OPTIONS: dict[str, Any] = {
    **dict.fromkeys(("u", "j", "t", "s", "v1", "i")),
    **dict.fromkeys(("m", "c", "n", "b", "v"), 0),
    **{"d": 8, "x": True, "o": "", "p": [], "ped": True, "stm": False},
}


class Xml2Abc:
    """One private copy of the converter, adapted to take a parsed tree; not safe across threads."""

    def __init__(self) -> None:
        self._module = _private_copy()
        self.messages: list[str] = []
        self._module.info = self._record
        self._module.E = _TreeAsIs()
        _restore_stemless(self._module)

    def _record(self, message: str, warn: int = 1) -> None:
        if warn:
            self.messages.append(message)

    def convert(self, root: Element, *, name: str) -> str:
        """Return standard ABC, empty if no part has a note; ``messages`` then holds the converter's remarks.

        Raises
        ------
        Exception
            Whatever the converter's code ends in on trees it does not foresee (KeyError, ValueError, …).
        """
        self.messages.clear()
        options = SimpleNamespace(**OPTIONS)
        out = self._module.ABCoutput(name, "", 0, options)
        out.outfile = io.StringIO()
        self._module.abcOut = out
        try:
            self._module.Parser(options).parse(root)
        finally:
            del self._module.abcOut  # frees the piece; nothing of it may reach the next one
        return str(out.outfile.getvalue())


class _TreeAsIs:
    """Stands in for ElementTree inside the copy: ``parse`` gets a tree that is already parsed and checked."""

    def __init__(self) -> None:
        from xml.etree.ElementTree import Element

        self.Element = Element

    @staticmethod
    def parse(root: Element) -> Element:
        return root


def _private_copy() -> ModuleType:
    spec = importlib.util.find_spec(SOURCE)
    assert spec is not None and spec.loader is not None, "abctoolkit is a dependency of this package"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _restore_stemless(module: ModuleType) -> None:
    # abctoolkit's copy writes "!stemless!"; the original, which made the training data, writes "s" and
    # declares it in the header.
    append_note, add_chord = module.Music.appendNote, module.Music.addChord

    def shorten(note: Any) -> None:
        if "!stemless!" in note.before:
            note.before = ["s" if mark == "!stemless!" else mark for mark in note.before]
            module.abcOut.stemless = 1  # type: ignore[attr-defined]

    def append_note_short(music: Any, voice: int, note: Any, pitch: str) -> None:
        shorten(note)
        append_note(music, voice, note, pitch)

    def add_chord_short(music: Any, note: Any, pitch: str) -> None:
        shorten(note)
        add_chord(music, note, pitch)

    module.Music.appendNote, module.Music.addChord = append_note_short, add_chord_short


_LOCAL = threading.local()


def engine() -> Xml2Abc:
    """Return this thread's converter, made on first use."""
    if not hasattr(_LOCAL, "engine"):
        _LOCAL.engine = Xml2Abc()
    made: Xml2Abc = _LOCAL.engine
    return made
