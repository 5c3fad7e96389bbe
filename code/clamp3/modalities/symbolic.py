"""Scores and performances: any notation or MIDI to interleaved ABC or MTF, and that to patches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

from clamp3.errors import FormatError
from clamp3.formats import Converted, Kind
from clamp3.formats.guards import decode_lenient
from clamp3.formats.symbolic import CONVERTERS, CORRECTED, to_symbolic
from clamp3.modalities import patches
from clamp3.modalities.base import Modality, Payload, Prepared
from clamp3.modalities.marks import marks_of

# Kinds that this package's own code reads, in a time that grows as their length does (tests/unit/test_limits.py).
_OWN = frozenset((Kind.ABC, Kind.MIDI, Kind.MTF))
_LARGE = 1 << 18  # bytes; fewer take a second or two at most
_REWRITTEN = "interleaved first, as the models learned it; --as_is encodes it as it is written"


@dataclass(frozen=True)
class Reading:
    """How files become the text that a symbolic tower reads, where models differ: the front end of such a tower.

    Attributes
    ----------
    without : tuple of str
        Types of MIDI messages that MIDI files lose beside the text-like ones, because the model never learned them.
    as_is : bool
        Patches are cut from ABC as it is written: standard ABC is not interleaved first.
    correct : bool
        What the released converters get wrong in silence is mended; see `clamp3.formats.symbolic.to_symbolic`.
    """

    without: tuple[str, ...] = ()
    as_is: bool = False
    correct: bool = False

    @property
    def options(self) -> tuple[str, ...]:
        """What was chosen, by name: part of what folders of vectors say of themselves."""
        return tuple(name for name in ("as_is", "correct") if getattr(self, name))


AS_LEARNED = Reading()


class Symbolic(Modality):
    """Scores and performances, as patches of 64 character codes; the front end is a `Reading`."""

    name = "symbolic"
    pad = patches.PAD
    views: Mapping[str, str] = MappingProxyType({"abc": ".abc", "mtf": ".mtf"})

    @property
    def kinds(self) -> frozenset[Kind]:
        """Kinds that have a converter, registered ones included."""
        return frozenset(CONVERTERS)

    def prepare(self, payload: Payload, front_end: Reading | None = None, *, marked: bool = False) -> Prepared:
        """Return patches, uint8, shape (L, 64), wrapping ones included, any length; see `Modality.prepare`."""
        data, kind, name = payload
        assert not isinstance(data, Path)
        converted = (
            data if isinstance(data, Converted) else _read(data, kind, name=name, reading=front_end or Reading())
        )
        values = patches.encode(converted.text)
        if len(values) <= 2:  # only the two wrapping patches
            raise FormatError(f"{name} holds no music.")
        notes = converted.notes
        lost = patches.lost_characters(converted.text)
        if lost:
            notes = (*notes, f"{lost} characters lie beyond what a patch holds")
        return Prepared(self.name, values, notes, marks_of(converted.text) if marked else None)

    def needs_process(self, payload: Payload, front_end: Reading | None = None) -> bool:
        """Return whether it has to be converted; interleaved ABC and MTF are taken as they are, unless large."""
        data, kind, _ = payload
        assert isinstance(data, bytes)
        if len(data) > _LARGE:
            return True
        return kind != Kind.MTF and (kind != Kind.ABC or b"[V:" not in data)

    def conversion(self, payload: Payload, front_end: Reading | None = None) -> Callable[..., Converted] | None:
        """Return the conversion of what others' converters read, and of what is long."""
        data, kind, _ = payload
        if kind not in _OWN:
            # Imports no numpy, so its worker starts in a quarter of the time.
            return partial(to_symbolic, correct=True) if front_end is not None and front_end.correct else to_symbolic
        assert isinstance(data, bytes)
        return partial(_read, reading=front_end or Reading()) if len(data) > _LARGE else None

    def version(self, kind: Kind, front_end: Reading | None = None) -> str:
        """Return what MIDI files lose, or how scores are taken; "" for what every model reads alike."""
        if front_end is None:
            return ""
        if kind == Kind.MIDI and front_end.without:
            return f"without {' '.join(front_end.without)}"
        if kind == Kind.ABC and front_end.as_is:
            return "as_is"
        return "correct" if front_end.correct and kind in CORRECTED else ""


SYMBOLIC = Symbolic()


def _read(data: bytes, kind: Kind, *, name: str, reading: Reading) -> Converted:
    """Return the text of a file, and notes on how it came to be."""
    if kind == Kind.MIDI and reading.without:
        from clamp3.formats.mtf import midi_to_mtf

        return midi_to_mtf(data, without=reading.without)
    if kind != Kind.ABC:
        return to_symbolic(data, kind, name=name, correct=reading.correct)
    written = Converted(*decode_lenient(data))
    if reading.as_is and written.text.strip():
        return written
    converted = to_symbolic(data, kind, name=name, correct=reading.correct)
    return converted if converted.text == written.text else replace(converted, notes=(*converted.notes, _REWRITTEN))
