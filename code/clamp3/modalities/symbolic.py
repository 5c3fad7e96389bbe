"""Scores and performances: any notation or MIDI to interleaved ABC or MTF, and that to patches."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from clamp3.errors import FormatError
from clamp3.formats import Kind
from clamp3.formats.symbolic import CONVERTERS, to_symbolic
from clamp3.modalities import patches
from clamp3.modalities.base import Modality, Payload, Prepared
from clamp3.modalities.marks import marks_of

_LARGE_ABC = 1 << 20  # bytes


class Symbolic(Modality):
    """Scores and performances, as patches of 64 character codes; there is no front end."""

    name = "symbolic"
    views: Mapping[str, str] = MappingProxyType({"abc": ".abc", "mtf": ".mtf"})

    @property
    def kinds(self) -> frozenset[Kind]:
        """Kinds that have a converter, registered ones among them."""
        return frozenset(CONVERTERS)

    def prepare(self, payload: Payload, front_end: Any = None, *, marked: bool = False) -> Prepared:
        """Return patches, uint8, shape (L, 64), wrapping ones included, any length; see `Modality.prepare`."""
        data, kind, name = payload
        assert isinstance(data, bytes)
        converted = to_symbolic(data, kind, name=name)
        values = patches.encode(converted.text)
        if len(values) <= 2:  # only the two wrapping patches
            raise FormatError(f"{name} holds no music.")
        notes = converted.notes
        if lost := patches.lost_characters(converted.text):
            notes = (*notes, f"{lost} characters lie beyond what a patch holds")
        return Prepared(self.name, values, notes, marks_of(converted.text) if marked else None)

    def needs_process(self, payload: Payload, front_end: Any = None) -> bool:
        """Whether it has to be converted; interleaved ABC and MTF are taken as they are, unless there is a lot."""
        data, kind, _ = payload
        assert isinstance(data, bytes)
        if kind == Kind.MTF:
            return False
        return kind != Kind.ABC or b"[V:" not in data[:65536] or len(data) > _LARGE_ABC


SYMBOLIC = Symbolic()
