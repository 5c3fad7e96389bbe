"""Wim Vree's xml2abc, run in process: a private copy of the module per thread, trees in, text out.

The released pipeline starts one Python process per file. The converter (LGPL, part of abctoolkit) keeps its output
object in a module global and reports on stderr, so each thread loads its own copy of the module; the importable module
is not modified.
"""

from __future__ import annotations

import gc
import importlib.util
import io
import threading
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

from clamp3.formats.xml2abc_faults import Faults

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

Engine = TypeVar("Engine")
SOURCE = "abctoolkit.xml2abc"
# The released call is ``xml2abc.py -d 8 -x FILE``; the rest are that script's own defaults.
OPTIONS: dict[str, Any] = {
    **dict.fromkeys(("u", "j", "t", "s", "v1", "i")),
    **dict.fromkeys(("m", "c", "n", "b", "v"), 0),
    **{"d": 8, "x": True, "o": "", "p": [], "ped": True, "stm": False},
}


class Xml2Abc:
    """One private copy of the converter, adapted to take a parsed tree; not thread-safe."""

    def __init__(self) -> None:
        self._module: Any = private_copy(SOURCE)
        self.messages: list[str] = []
        self._module.info = self._record
        self._module.E = _TreeAsIs()
        _restore_stemless(self._module)
        self._faults = Faults(self._module)
        _look_up_faster(self._module)
        self._forgets = False
        locate = self._module.Parser.locStaffMap

        def begin_part(parser: Any, part: Element, measures: list[Element]) -> None:
            if self._forgets:
                _forget(parser)
            locate(parser, part, measures)

        self._module.Parser.locStaffMap = begin_part

    def _record(self, message: str, warn: int = 1) -> None:
        if warn:
            self.messages.append(message)

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong in the text that was made last, as notes; nothing where ``correct`` mended it."""
        return self._faults.notes()

    def convert(self, root: Element, *, name: str, forget: bool = False, correct: bool = False) -> str:
        """Return standard ABC, empty if no part has a note; ``messages`` then holds the converter's warnings.

        Parameters
        ----------
        root : Element
            ``score-partwise`` without namespaces.
        name : str
            Used in the converter's messages.
        forget : bool
            Begin each part without what the converter remembers of the one before: the voice of pedal marks, and
            slurs, wedges and repeated bars left open. The released converter remembers, and fails where the next part
            numbers its voices otherwise.
        correct : bool
            Mend what `clamp3.formats.xml2abc_faults` lists; the tree may be changed.

        Raises
        ------
        Exception
            Of any type: the converter raises what its code runs into (KeyError, ValueError, …).
        """
        self.messages.clear()
        self._forgets = forget
        self._faults.begin(correct)
        options = SimpleNamespace(**OPTIONS)
        out = self._module.ABCoutput(name, "", 0, options)
        out.outfile = io.StringIO()
        self._module.abcOut = out
        collecting = gc.isenabled()
        gc.disable()  # everything lives to the end; looking for garbage takes an eighth of the time
        try:
            self._module.Parser(options).parse(root)
        finally:
            if collecting:
                gc.enable()
            del self._module.abcOut  # frees the piece, so that nothing of it reaches the next one
        return str(out.outfile.getvalue())


class _TreeAsIs:
    """Replaces ElementTree inside the copy: ``parse`` is given a tree that is already parsed and checked."""

    def __init__(self) -> None:
        from xml.etree.ElementTree import Element

        self.Element = Element

    @staticmethod
    def parse(root: Element) -> Element:
        return root


def _forget(parser: Any) -> None:
    parser.pedVce, parser.ingrace = None, 0
    for state in (parser.slurBuf, parser.dirStk, parser.curStf, parser.vce2stf, parser.repeat_str, parser.msralts):
        state.clear()


def private_copy(name: str) -> Any:
    """Return a separate module object of an installed module, which ``sys.modules`` does not list."""
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.loader is not None, "abctoolkit is a dependency of this package"
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        # Regular expressions without raw strings, and deprecated names of pyparsing.
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        spec.loader.exec_module(module)
    return module


def _restore_stemless(module: Any) -> None:
    # abctoolkit's copy writes "!stemless!"; the original, which produced the training data, writes "s" and
    # declares it in the header.
    append_note, add_chord = module.Music.appendNote, module.Music.addChord

    def shorten(note: Any) -> None:
        if "!stemless!" in note.before:
            note.before = ["s" if mark == "!stemless!" else mark for mark in note.before]
            module.abcOut.stemless = 1

    def append_note_short(music: Any, voice: int, note: Any, pitch: str) -> None:
        shorten(note)
        append_note(music, voice, note, pitch)

    def add_chord_short(music: Any, note: Any, pitch: str) -> None:
        shorten(note)
        add_chord(music, note, pitch)

    module.Music.appendNote, module.Music.addChord = append_note_short, add_chord_short


# Children of <notations> that xml2abc turns into text; it looks up <tied>, <slur> and <tuplet> elsewhere.
_MARKS = frozenset(("ornaments", "technical", "articulations", "fermata", "arpeggiate", "glissando", "slide"))


def _look_up_faster(module: Any) -> None:
    # The converter spends half its time on some 25 path look-ups per note, and 30 more per <notations>.
    do_note, do_notations = module.Parser.doNote, module.Parser.doNotations

    def do_note_indexed(parser: Any, note: Element) -> None:
        do_note(parser, _Note(note))

    def do_notations_if_any(parser: Any, note: Any, notations: Element, is_tab: bool) -> None:
        if not _MARKS.isdisjoint([child.tag for child in notations]):
            do_notations(parser, note, notations, is_tab)

    module.Parser.doNote, module.Parser.doNotations = do_note_indexed, do_notations_if_any


class _Note:
    """A <note> whose children are looked up by tag in a table; paths have at most two steps."""

    __slots__ = ("_children", "attrib", "get")

    def __init__(self, node: Element) -> None:
        self.get, self.attrib = node.get, node.attrib
        children: dict[str, list[Element]] = {}
        for child in node:
            if child.tag in children:
                children[child.tag].append(child)
            else:
                children[child.tag] = [child]
        self._children = children

    def find(self, tag: str) -> Element | None:
        found = self._children.get(tag)
        return found[0] if found else None

    def findall(self, path: str) -> list[Element]:
        tag, _, below = path.partition("/")
        found = self._children.get(tag, [])
        return [node for parent in found for node in parent.findall(below)] if below else found

    def findtext(self, path: str, default: str | None = None) -> str | None:
        tag, _, below = path.partition("/")
        for node in self._children.get(tag, ()):
            if not below:
                return node.text or ""
            text = node.findtext(below)
            if text is not None:
                return text
        return default


def per_thread(make: Callable[[], Engine]) -> Callable[[], Engine]:
    """Return a function that gives each thread one object of its own, made on first use."""
    local = threading.local()

    def get() -> Engine:
        if not hasattr(local, "made"):
            local.made = make()
        made: Engine = local.made
        return made

    return get


engine = per_thread(Xml2Abc)
