"""Tune books: ABC files with several tunes, each of which begins with its number, ``X:``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO, cast

from clamp3.errors import FormatError
from clamp3.formats import Kind
from clamp3.formats.abc.standard import holds_music, is_field
from clamp3.formats.containers import Container, Member, Place, span
from clamp3.formats.guards import MAX_FILE_BYTES, MIB, decode_text

_BLOCK, _OVERLAP = MIB, 64
_BOM, _UTF16 = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")
_MAX_UTF16 = 4 * MIB  # of which no part can be read alone
_MAX_HEAD = 1 << 16  # what precedes the first tune is read with each of them
# A rest before a repeat sign is no number.
_START = re.compile(rb"[\r\n]X:(?![|:])[ \t]{0,20}(\d{0,9})")


@dataclass(frozen=True)
class Tune:
    """A tune of a book.

    Attributes
    ----------
    number : str
        Its ``X:``; behind a hyphen a count, from 2, where an earlier tune has the same.
    start, stop : int
        Where its bytes are.
    head : int
        Where the fields that hold for all tunes of the book end, at its beginning.
    """

    number: str
    start: int
    stop: int
    head: int = 0


def tunes(file: BinaryIO) -> Iterator[Tune]:
    r"""Yield the tunes of a book, reading it once, a block at a time.

    A file without ``X:`` has none. Music before the first one is a tune with the number 0.

    Examples
    --------
    >>> from io import BytesIO
    >>> [(tune.number, tune.start) for tune in tunes(BytesIO(b"M:4/4\nX:7\nK:C\nC|\n\nX:7\nK:D\nD|\n"))]
    [('7', 6), ('7-2', 18)]
    """
    taken: Counter[str] = Counter()
    before, head = "", 0  # the tune that has not ended yet
    at = -1
    for ordinal, (start, number) in enumerate(_starts(file)):
        if ordinal == 0:
            head = min(start, _MAX_HEAD)
            if holds_music(_lines(span(file, 0, head))):
                before, at, head = "0", 0, 0
        if at >= 0:
            yield Tune(before, at, start, head)
        # The number of a tune without one is its place.
        named = number.lstrip("0") or ("0" if number else str(ordinal + 1))
        taken[named] += 1
        before, at = named if taken[named] == 1 else f"{named}-{taken[named]}", start
    if at >= 0:
        file.seek(0, 2)
        yield Tune(before, at, file.tell(), head)


def _starts(file: BinaryIO) -> Iterator[tuple[int, str]]:
    """Yield offset and number of every ``X:`` at the beginning of a line."""
    file.seek(0)
    held, base, position = b"\n", -1, 0  # what of the file is in ``held`` begins at ``base``
    while True:
        file.seek(position)
        block = file.read(_BLOCK)
        if position == 0 and block.startswith(_BOM):
            held, base, block = b"\n", len(_BOM) - 1, block[len(_BOM) :]
            position = len(_BOM)
        position += len(block)
        held += block
        for found in _START.finditer(held):
            if not block or found.start() < len(held) - _OVERLAP:
                yield base + found.start() + 1, found[1].decode()
        if not block:
            return
        kept = held[-_OVERLAP:]
        base, held = base + len(held) - len(kept), kept


def _lines(head: bytes) -> list[str]:
    return re.split("\r\n|\r|\n", head.removeprefix(_BOM).decode("latin-1"))


class TuneBook(Container):
    """An ABC file; a tune is what lies between its ``X:`` and the next, behind the book's own fields."""

    def members(self, file: BinaryIO) -> Iterator[Member]:
        """Yield the tunes; none if the file has no ``X:``."""
        for tune in tunes(_text(file)):
            yield Member(tune.number, Kind.ABC, tune.stop - tune.start, (tune.head, tune.start, tune.stop))

    def read(self, file: BinaryIO, place: Place) -> bytes:
        """Return a tune with the fields and directives of the book before it; see `Container.read`."""
        head, start, stop = cast("tuple[int, int, int]", place)
        if stop - start > MAX_FILE_BYTES:
            raise FormatError(f"the tune is larger than the limit of {MAX_FILE_BYTES // MIB} MiB.")
        text = _text(file)
        fields = [line for line in _lines(span(text, 0, head)) if is_field(line) or line.startswith("%")]
        return "".join(f"{line}\n" for line in fields).encode("latin-1") + span(text, start, stop)


def _text(file: BinaryIO) -> BinaryIO:
    """Return a file as bytes of which a part can be read: UTF-16 becomes UTF-8."""
    file.seek(0)
    if file.read(2) not in _UTF16:
        return file
    file.seek(0)
    data = file.read(_MAX_UTF16 + 1)
    return BytesIO(decode_text(data).encode("utf-8", "surrogatepass") if len(data) <= _MAX_UTF16 else b"")
