"""Other score notations (Humdrum kern, MEI, RomanText, Capella …) to MusicXML, through music21.

music21 takes half a second to import and seconds per score; MusicXML is only converted this way if its direct
conversion fails.
"""

from __future__ import annotations

import io
import tempfile
import warnings
import zipfile
from pathlib import Path

from clamp3.errors import FormatError, sentence_of
from clamp3.formats.guards import check_xml, decode_lenient, decode_text, unpack_member

_FORMATS = {".krn": "humdrum", ".mei": "mei", ".rntxt": "romanText", ".capx": "capella"}
_CAPELLA_MEMBER = "score.xml"
_XML_FORMATS = (".mei", ".xml", ".musicxml")
_TEXT_FORMATS = (".krn", ".rntxt")


def _checked_capella(data: bytes) -> bytes:
    """Return an archive with only the checked score: music21 unpacks it without limits."""
    score = unpack_member(data, _CAPELLA_MEMBER, ".capx")
    check_xml(score)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(_CAPELLA_MEMBER, score)
    return out.getvalue()


def score_to_musicxml(data: bytes, *, suffix: str, name: str = "score") -> bytes:
    """Convert a score that music21 reads into uncompressed MusicXML.

    Parameters
    ----------
    data : bytes
        The file's content.
    suffix : str
        Its suffix, such as ``.krn`` or ``.mei``, which names the format.
    name : str
        Title for a score without one; used in messages too.

    Returns
    -------
    bytes
        UTF-8 MusicXML.

    Raises
    ------
    FormatError
        If music21 has no reader for the suffix, cannot read the content, or finds no note in it.
    """
    suffix = suffix.lower()
    if suffix == ".capx":
        data = _checked_capella(data)
    elif suffix in _XML_FORMATS:
        check_xml(data)
    elif suffix in _TEXT_FORMATS:
        # Old kern files name composers in Latin-1.
        text = decode_lenient(data)[0] if suffix == ".krn" else decode_text(data)
        if not text.strip():
            raise FormatError("the file is empty.")
        data = text.encode("utf-8")
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
            return bytes(GeneralObjectExporter(score).parse())
        except (FormatError, MemoryError):
            raise
        except Exception as error:
            said = sentence_of(error, 150).rstrip(".")
            raise FormatError(f"music21 cannot convert this {suffix} file: {type(error).__name__}: {said}.") from error
