"""Other score notations (Humdrum kern, MEI, RomanText, Capella …) to MusicXML.

Kern and MEI have readers here (`clamp3.formats.kern`, `clamp3.formats.mei`); where these fail, and for all else,
music21 reads, which takes half a second to import and seconds per score. The notes of source and result are counted.
"""

from __future__ import annotations

import io
import re
import tempfile
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, tostring

from clamp3.errors import FormatError, sentence_of
from clamp3.formats import note_counts
from clamp3.formats.guards import check_xml, decode_lenient, decode_text, parse_xml, unpack_member

_FORMATS = {".krn": "humdrum", ".mei": "mei", ".rntxt": "romanText", ".capx": "capella"}
_CAPELLA_MEMBER = "score.xml"
_XML_FORMATS = (".mei", ".xml", ".musicxml")
_TEXT_FORMATS = (".krn", ".rntxt")
# A measure, beat or time signature of five digits, or with an exponent; music21 fills the score up to it.
_FAR = re.compile(
    r"^m\d{5}|^m\d{1,4}-\d{5}|^m\S*\de\d|^m.*\bb\d{5}|^time ?signature:.*\d{5}", re.MULTILINE | re.IGNORECASE
)


@dataclass(frozen=True)
class Notated:
    """A ``score-partwise`` tree, what was lost on the way, and the number of its notes."""

    root: Element
    notes: tuple[str, ...]
    n_notes: int


def without_namespaces(root: Element) -> Element:
    """Take the namespace off all tags of a tree, in place, and return it."""
    for node in root.iter():
        if isinstance(node.tag, str) and node.tag.startswith("{"):
            node.tag = node.tag.rsplit("}", 1)[-1]
    return root


def _checked_capella(data: bytes) -> bytes:
    """Return an archive with only the checked score: music21 unpacks it without limits."""
    score = unpack_member(data, _CAPELLA_MEMBER, ".capx")
    check_xml(score)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(_CAPELLA_MEMBER, score)
    return out.getvalue()


def score_to_musicxml(data: bytes, *, suffix: str, name: str = "score") -> bytes:
    """Convert a score into uncompressed MusicXML; see `read_notation`.

    Parameters
    ----------
    data : bytes
        The file's content.
    suffix : str
        Its suffix, such as ``.krn`` or ``.mei``, which names the format.
    name : str
        Used in messages.

    Returns
    -------
    bytes
        UTF-8 MusicXML.

    Raises
    ------
    FormatError
        As `read_notation`.
    """
    return bytes(tostring(read_notation(data, suffix=suffix, name=name).root, "utf-8"))


def read_notation(data: bytes, *, suffix: str, name: str = "score") -> Notated:
    """Read a score of any notation that there is a reader for.

    Parameters
    ----------
    data : bytes
        The file's content.
    suffix : str
        Its suffix, such as ``.krn`` or ``.mei``, which names the format.
    name : str
        Used in messages.

    Returns
    -------
    Notated

    Raises
    ------
    FormatError
        If no reader knows the suffix or can read the content, if it has no notes, or if the result has more than
        `clamp3.formats.note_counts.MAX_LOST` of the notes less or more than the source.
    """
    suffix = suffix.lower()
    content: str | Element = ""
    if suffix == ".capx":
        data = _checked_capella(data)
        content = parse_xml(unpack_member(data, _CAPELLA_MEMBER, ".capx"))
    elif suffix in _XML_FORMATS:
        content = parse_xml(data)
    elif suffix in _TEXT_FORMATS:
        # Old kern files name composers in Latin-1.
        content = decode_lenient(data)[0] if suffix == ".krn" else decode_text(data)
        if not content.strip():
            raise FormatError("the file is empty.")
        if suffix == ".rntxt" and _FAR.search(content):
            raise FormatError(
                "a measure, beat or time signature has a number of more than four digits, "
                "up to which music21 would fill the score."
            )
        data = content.encode("utf-8")
    if isinstance(content, Element):
        without_namespaces(content)
    n_source = note_counts.in_source(content, ".musicxml" if suffix == ".xml" else suffix)
    if suffix not in (".krn", ".mei"):
        root = _by_music21(data, suffix)
        return _counted(root, n_source, 0, (f"read as {suffix} by music21",))
    try:
        return _by_own_reader(content, n_source)
    except FormatError as error:
        reason = error
    try:
        root = _by_music21(data, suffix)
        return _counted(root, n_source, 0, (f"read as {suffix} by music21, since {str(reason).rstrip('.')}",))
    except FormatError:
        raise reason from None


def _by_own_reader(content: str | Element, n_source: int | None) -> Notated:
    from clamp3.formats.score_xml import to_musicxml

    if isinstance(content, str):
        from clamp3.formats.kern import read_kern

        score, notes = read_kern(content)
    else:
        from clamp3.formats.mei import read_mei

        score, notes = read_mei(content)
    return _counted(to_musicxml(score), n_source, score.copied, tuple(notes))


def _counted(root: Element, n_source: int | None, n_copied: int, notes: tuple[str, ...]) -> Notated:
    """Compare the number of notes with the source's, to which repeated bars that are written out add some."""
    n_notes = note_counts.in_musicxml(root)
    if not n_notes:
        raise FormatError("the score holds no notes.")
    return Notated(root, notes + note_counts.difference(n_source, n_notes - n_copied, "the reader"), n_notes)


def _by_music21(data: bytes, suffix: str) -> Element:
    from music21 import converter
    from music21.musicxml.m21ToXml import GeneralObjectExporter

    with warnings.catch_warnings(), tempfile.TemporaryDirectory(prefix="clamp3-") as folder:
        warnings.simplefilter("ignore")  # hundreds of warnings per file
        # A temporary file, because music21 guesses the format of bytes by trial.
        path = Path(folder) / f"score{suffix}"
        path.write_bytes(data)
        try:
            score = converter.parse(path, format=_FORMATS.get(suffix), forceSource=True, storePickle=False)
            if not any(True for _ in score.recurse().notes):
                raise FormatError("the score holds no notes.")
            return parse_xml(bytes(GeneralObjectExporter(score).parse()))
        except (FormatError, MemoryError):
            raise
        except Exception as error:
            said = sentence_of(error, 150).rstrip(".")
            raise FormatError(f"music21 cannot convert this {suffix} file: {type(error).__name__}: {said}.") from error
