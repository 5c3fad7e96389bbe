"""Scores and performances with several pieces in a file: MusicXML opus and ``.mxl``, Humdrum, MIDI type 2.

References
----------
MusicXML 4.0, "The opus element" and "Compressed MXL files"; Standard MIDI Files 1.0, format 2; the segment records of
the Humdrum tools (``!!!!SEGMENT``).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import BinaryIO, cast
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from clamp3.errors import FormatError
from clamp3.formats import Kind, kind_of
from clamp3.formats.archives import is_safe, unzip, zip_members
from clamp3.formats.containers import Container, Member, Place, span
from clamp3.formats.guards import (
    CONTAINER,
    MAX_FILE_BYTES,
    SCORE_SUFFIXES,
    ZIP_MAGIC,
    parse_xml,
    rootfiles,
    score_names,
)

_HEAD = 1 << 12  # in which the root element begins
_IS_OPUS = re.compile(rb"<(?:\w+:)?opus[\s>]")
_IS_SCORE = re.compile(rb"<(?:\w+:)?score-(?:part|time)wise[\s>]")
_TITLES = re.compile(rb"!!!(?:COM|OTL|OPR|OPT)\b|!!!!SEGMENT")


class KernPieces(Container):
    """A Humdrum file in which all spines end and others begin: another piece."""

    def members(self, file: BinaryIO) -> Iterator[Member]:
        """Yield the pieces, each with the records before it; none if the file is of another notation."""
        if b"**kern" not in span(file, 0, MAX_FILE_BYTES + 1):
            return
        file.seek(0)
        starts, at = [0], 0
        ended = divided = -1  # where the spines have ended, and where a title follows
        for line in file:
            if line.startswith(b"**") and ended >= 0:
                starts.append(divided if divided >= 0 else ended)
                ended = divided = -1
            elif line.startswith(b"*-") and set(line.split()) == {b"*-"}:
                ended, divided = at + len(line), -1
            elif ended >= 0 > divided and _TITLES.match(line):
                divided = at
            at += len(line)
        for number, (start, stop) in enumerate(zip(starts, [*starts[1:], at], strict=True), 1):
            yield Member(str(number), Kind.SCORE, stop - start, (start, stop))

    def read(self, file: BinaryIO, place: Place) -> bytes:
        """Return the lines of a piece."""
        return span(file, *cast("tuple[int, int]", place))


class MidiTracks(Container):
    """A MIDI file of type 2, whose tracks have no common time: each is a piece."""

    def members(self, file: BinaryIO) -> Iterator[Member]:
        """Yield the tracks; none of a file of type 0 or 1."""
        file.seek(0)
        head = file.read(14)
        if head[:4] != b"MThd" or head[8:10] != b"\0\2":
            return
        at, number = 8 + int.from_bytes(head[4:8], "big"), 0
        while len(chunk := span(file, at, at + 8)) == 8:
            size = 8 + int.from_bytes(chunk[4:], "big")
            if chunk[:4] == b"MTrk":
                number += 1
                yield Member(str(number), Kind.MIDI, size, (at, size))
            at += size

    def read(self, file: BinaryIO, place: Place) -> bytes:
        """Return a track as a file of type 0."""
        at, size = cast("tuple[int, int]", place)
        division = span(file, 12, 14)
        return b"MThd\0\0\0\6\0\0\0\1" + division + span(file, at, at + min(size, MAX_FILE_BYTES))


class MusicXMLScores(Container):
    """A MusicXML opus, which names the files of its scores, or a ``.mxl`` file with several."""

    def members(self, file: BinaryIO) -> Iterator[Member]:
        """Yield the scores; none of a file with a single one."""
        file.seek(0)
        head = file.read(_HEAD)
        if not head.startswith(ZIP_MAGIC):
            if is_opus(head):
                for name in _named(parse_xml(span(file, 0, MAX_FILE_BYTES + 1))):
                    yield Member(name, kind_of(name), link=True, problem=_problem(name))
            return
        there = {name: (size, place) for name, size, place, problem in zip_members(file) if not problem}
        names = _rootfiles(file, there)
        if names and is_opus(unzip(file, there[names[0]][1])[:_HEAD]):
            opus = posixpath.dirname(names[0])
            root = parse_xml(unzip(file, there[names[0]][1]))
            paths = [posixpath.normpath(posixpath.join(opus, name)) for name in _named(root)]
            names = [path for path in paths if path in there]
        for number, name in enumerate(names, 1):
            size, place = there[name]
            yield Member(str(number), Kind.MUSICXML, size, place)

    def read(self, file: BinaryIO, place: Place) -> bytes:
        """Return a score of a ``.mxl`` file; one that an opus names is a file by itself."""
        return unzip(file, place)


def is_opus(head: bytes) -> bool:
    """Return whether a MusicXML document, whose beginning is given, is a list of scores."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        head = head.replace(b"\0", b"")
    return _IS_OPUS.search(head) is not None and _IS_SCORE.search(head) is None


def _named(root: Element) -> list[str]:
    """Return the paths of the scores that an opus names, each once."""
    nodes = (node for node in root.iter() if isinstance(node.tag, str) and node.tag.rsplit("}", 1)[-1] == "score")
    links = (next((value for key, value in node.items() if key.endswith("href")), "") for node in nodes)
    return list(dict.fromkeys(unquote(link).removeprefix("./") for link in links if link))


def _problem(name: str) -> str:
    return "" if is_safe(name) and "://" not in name else "the opus names a file outside its folder"


def _rootfiles(file: BinaryIO, there: dict[str, tuple[int, Place]]) -> list[str]:
    """Return the scores that the container of a ``.mxl`` file names, or all where it names none."""
    if CONTAINER in there:
        try:
            named = rootfiles(unzip(file, there[CONTAINER][1]))
        except FormatError:
            return []
        # Others are the same score in another form: PDF, sound.
        scores = dict.fromkeys(path for path, media in named if "musicxml" in (media or "musicxml"))
        if found := [path for path in scores if path in there and path.lower().endswith(SCORE_SUFFIXES)]:
            return found
    return score_names(there)
