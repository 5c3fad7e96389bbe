"""MusicXML (plain or compressed) to standard ABC, as the training data was made.

References
----------
behaviour of the released ``preprocessing/abc/batch_xml2abc.py``: xml2abc 143 with ``-d 8 -x``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clamp3.errors import FormatError
from clamp3.formats import Converted
from clamp3.formats.guards import is_zip, parse_xml, unpack_mxl

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


def musicxml_to_abc(data: bytes, *, name: str = "score") -> Converted:
    """Convert MusicXML to standard ABC with unit length 1/8 and without line-break marks.

    Parameters
    ----------
    data : bytes
        A ``.xml``, ``.musicxml`` or ``.mxl`` file; which one is told by its content.
    name : str
        Used in messages only.

    Returns
    -------
    Converted
        The text equals the released pipeline's byte for byte wherever that one converts the file.

    Raises
    ------
    FormatError
        If the file is no MusicXML, holds no notes, or passes a limit of `clamp3.formats.guards`.
    """
    root = _plain(parse_xml(unpack_mxl(data) if is_zip(data) else data))
    return _convert(root, name)


def _plain(root: Element) -> Element:
    if root.tag.startswith("{"):
        for node in root.iter():
            if isinstance(node.tag, str):
                node.tag = node.tag.rsplit("}", 1)[-1]
    if root.tag != "score-partwise":
        raise FormatError(f"not a MusicXML score: its root element is <{root.tag}>.")
    return root


def _convert(root: Element, name: str) -> Converted:
    from clamp3.formats.xml2abc_engine import engine

    try:
        text = engine().convert(root, name=name)
    except Exception as error:
        raise FormatError(f"xml2abc: {type(error).__name__}: {error}.") from error
    if not text:
        raise FormatError("the score holds no notes.")
    return Converted(text)
