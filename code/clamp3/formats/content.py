"""What kind of music some content is, where no suffix says it."""

from __future__ import annotations

import re

from clamp3.formats import Kind

_HEAD_BYTES = 1 << 12
_STARTS = (
    (b"MThd", Kind.MIDI),
    (b"\x93NUMPY", Kind.FEATURES),
    (b"fLaC", Kind.AUDIO),
    (b"OggS", Kind.AUDIO),
    (b"ID3", Kind.AUDIO),
    (b"FORM", Kind.AUDIO),
    (b"RIFF", Kind.AUDIO),
    (b"ticks_per_beat ", Kind.MTF),
    (b"PK\x03\x04", Kind.MUSICXML),
)
_SCORE = re.compile(r"<score-(?:partwise|timewise)[\s>]")
_FIELD = re.compile(r"[A-Za-z]:|%")


def kind_in(content: bytes | str) -> Kind | None:
    r"""Return the kind of some music by its content, None if it is none that shows; words are none.

    Examples
    --------
    >>> kind_in("X:1\nT:The Kesh\nK:G\nGAG GAB|"), kind_in(b"MThd\0\0\0\6"), kind_in("an Irish jig\nin 6/8")
    (Kind('abc'), Kind('midi'), None)
    """
    if isinstance(content, str):
        content = content.encode("utf-8", "replace")
    for start, kind in _STARTS:
        if content.startswith(start):
            return kind
    text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    if text.lstrip().startswith("<"):
        return Kind.MUSICXML if _SCORE.search(text[:_HEAD_BYTES]) else None
    return Kind.ABC if _is_abc(text.split("\n")) else None


def _is_abc(lines: list[str]) -> bool:
    """Whether lines begin with fields of ABC, ``X:`` or ``K:`` among them, and go on with bars."""
    lines = [line for line in lines if line.strip()]
    head = next((place for place, line in enumerate(lines) if not _FIELD.match(line)), len(lines))
    fields = {line[:2] for line in lines[:head]}
    music = "".join(lines[head:])
    return ({"X:", "K:"} <= fields and bool(music)) or (bool(fields & {"X:", "K:"}) and "|" in music)
