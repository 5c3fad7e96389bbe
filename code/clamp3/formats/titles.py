"""The title of a music file, read before conversion (interleaved ABC has no titles).

A title only helps the reader of a result list, so nothing here raises: a file without one has the title "".
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Iterator

from clamp3.errors import FormatError
from clamp3.formats import Kind, kind_of

MAX_CHARACTERS = 120
_HEAD_BYTES = 1 << 18  # titles come first; the credit page of a large score is shorter than this
# Credits without a type are as often the engraver's notes as the title.
_NOT_A_TITLE = re.compile(
    r"©|copyright|\(c\)|permission|public domain|https?:|www\.|all rights|engraved", re.IGNORECASE
)
_USUAL = " .,:;'\"’‘“”„«»`´-–—()[]!?¡¿/&#+*…·♭♯、。・「」『』（）"
# What sequencers and notation programs call tracks and untitled scores.
_NO_TITLE = re.compile(
    r"(?:untitled|title|music21(?: fragment)?|track ?\d*|tempo(?: track)?|piano|conductor(?: track)?|"
    r"control track|midi|new|unnamed.*|acoustic grand piano|wordlist.*)\W*",
    re.IGNORECASE,
)


def title_of(data: bytes, kind: Kind) -> str:
    r"""Return the title of a file on one line.

    Parameters
    ----------
    data : bytes
        Content of the file.
    kind : Kind
        What the file holds.

    Returns
    -------
    str
        At most `MAX_CHARACTERS` characters, "" if the file has none (or only a placeholder such as
        "Untitled", or no word at all). The title of a text file is its first line with words.

    Examples
    --------
    >>> title_of(b"X:1\nT:Drowsy  Maggie\nK:D\n", Kind.ABC)
    'Drowsy Maggie'
    """
    readers = {
        Kind.ABC: _abc,
        Kind.MUSICXML: _musicxml,
        Kind.SCORE: _notation,
        Kind.MIDI: _midi,
        Kind.MTF: _mtf,
        Kind.TEXT: _first_line,
    }
    reader = readers.get(kind)
    if reader is None:
        return ""
    try:
        candidates = [text.encode("utf-8", "replace").decode("utf-8") for text in reader(data)]  # no lone surrogates
    except (FormatError, ValueError, LookupError):
        return ""
    # A file's own name is the title of last resort.
    for candidate in sorted(candidates, key=lambda text: kind_of(text.strip()) is not None):
        title = " ".join(candidate.split())
        title = title[: title.rindex(".")] if kind_of(title) is not None else title
        if is_legible(title) and not _NO_TITLE.fullmatch(title):
            return title if len(title) <= MAX_CHARACTERS else title[: MAX_CHARACTERS - 1] + "…"
    return ""


def is_legible(title: str) -> bool:
    r"""Return whether a text has words in it, and is not the rubbish that recognition of print makes of stains.

    Examples
    --------
    >>> [is_legible(text) for text in ("Für Elise", "月", "1812", "Op. 5", "~| ^l ,.' ;: i", "\ufffd\ufffdx", "")]
    [True, True, True, True, False, False, False]
    """
    odd = sum(not char.isalnum() and char not in _USUAL and not unicodedata.combining(char) for char in title)
    words = re.findall(r"[^\W_]+", title)
    known = [word for word in words if len(word) > 1 or word in "IVX0123456789" or not word.isascii()]
    longest = max(map(len, known), default=0)
    return bool(known) and 4 * odd <= len(title) and (longest > 2 or 2 * len(known) >= len(words))


def head(data: bytes) -> str:
    """Return the beginning of a text file; what cannot be decoded is replaced."""
    from clamp3.formats.guards import decode_text

    first = data[:_HEAD_BYTES]
    try:
        return decode_text(first)
    except FormatError:  # a character cut in two at the end, or an old file in latin-1
        return first.decode("utf-8" if len(data) > _HEAD_BYTES else "latin-1", errors="replace")


def _abc(data: bytes) -> Iterable[str]:
    for line in re.findall(r"^T:[ \t]*(.*)$", head(data), re.MULTILINE):
        yield line.split("%", 1)[0].removeprefix("T:")


def _musicxml(data: bytes) -> Iterable[str]:
    from clamp3.formats.guards import unpack_mxl

    text = head(unpack_mxl(data) if data[:2] == b"PK" else data)
    text = re.split(r"<part[ >]|<measure[ >]", text, maxsplit=1)[0]
    work, movement = (next(map(plain, elements(text, tag)), "") for tag in ("work-title", "movement-title"))
    if work and movement and work != movement and not _NO_TITLE.fullmatch(movement):
        yield movement if work in movement else f"{work}: {movement}"
    yield work
    yield movement
    for credit in elements(text, "credit"):
        kind = next(elements(credit, "credit-type"), "title")
        if kind.strip() == "title":
            words = " ".join(map(plain, elements(credit, "credit-words")))
            if not _NOT_A_TITLE.search(words):
                yield words


def _notation(data: bytes) -> Iterable[str]:
    text = head(data)
    works, pieces = (re.findall(rf"^!!!{key}[^:\n]*:(.*)$", text, re.MULTILINE) for key in ("OPR", "OTL"))  # humdrum
    if works and pieces:
        yield f"{works[0].strip()}: {pieces[0].strip()}"
    yield from pieces
    yield from re.findall(r"^(?:Title|Piece):(.*)$", text, re.MULTILINE)  # RomanText
    yield from map(plain, elements(text, "title"))  # MEI


def _midi(data: bytes) -> Iterable[str]:
    """Yield the name of the first track, read from its leading meta events (``FF 03 length text``)."""
    start = data.find(b"MTrk")
    if start < 0:
        return
    position = start + 8
    while position + 4 <= len(data) and data[position] == 0 and data[position + 1] == 0xFF:
        kind, position = data[position + 2], position + 3
        length = 0
        while position < len(data):
            byte = data[position]
            length, position = (length << 7) | (byte & 0x7F), position + 1
            if byte < 0x80 or length > MAX_CHARACTERS * 100:
                break
        if kind == 0x03:
            yield data[position : position + length].decode("latin-1")
            return
        position += length


def _mtf(data: bytes) -> Iterable[str]:
    """Yield the name of the first track, which files written with all messages have."""
    for line in head(data).split("\n")[:50]:
        if line.startswith("track_name "):
            yield line.removeprefix("track_name ").rpartition(" ")[0].encode().decode("unicode_escape")
            return


def _first_line(data: bytes) -> Iterable[str]:
    yield from [line for line in head(data)[:4096].splitlines() if line.strip()][:8]


def elements(text: str, tag: str) -> Iterator[str]:
    """Yield the content of the elements with a tag, in linear time even if none is closed.

    Parameters
    ----------
    text : str
        Markup.
    tag : str
        Without brackets.
    """
    pattern, end = re.compile(rf"<{tag}(?:\s[^<>]*)?>"), 0
    while opening := pattern.search(text, end):
        end = opening.end()
        if not opening[0].endswith("/>"):
            start, end = end, text.find(f"</{tag}>", end)
            if end < 0:
                return
            yield text[start:end]


def plain(markup: str) -> str:
    """Return the words of markup on one line."""
    return " ".join(html.unescape(re.sub(r"<[^<>]*>", " ", markup)).split())
