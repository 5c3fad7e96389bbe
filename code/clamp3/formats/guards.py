"""Limits on what is read: sizes, zip bombs, XML entity bombs, nesting, text encodings.

Files come from untrusted sources; every reader of this package uses these checks, so that a hostile or damaged file
raises one `clamp3.errors.FormatError` and never hangs the program or exhausts its memory.
"""

from __future__ import annotations

import io
import os
import posixpath
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from xml.parsers import expat

from clamp3.errors import FormatError, sentence_of

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MIB = 2**20
MAX_FILE_BYTES = 128 * MIB
MAX_XML_BYTES = 128 * MIB  # after unpacking; a two-hour opera in full score stays below 60 MiB
MAX_XML_DEPTH = 64  # MusicXML 4.0 nests about a dozen levels, MEI about twenty
MAX_ZIP_ENTRIES = 10_000
MIN_BOMB_BYTES, MAX_RATIO = 8 * MIB, 200  # notation programs' files unpack to twenty or forty times their size
CONTAINER = "META-INF/container.xml"
SCORE_SUFFIXES = (".xml", ".musicxml")
MAX_CONTAINER_BYTES = MIB
ZIP_MAGIC = b"PK\x03\x04"


class _PrologEnd(Exception):
    """Raised by the handler of the first element: declarations can only come before it."""


def read_file(path: Path, *, limit: int = MAX_FILE_BYTES) -> bytes:
    """Return a file's bytes.

    Parameters
    ----------
    path : Path
    limit : int
        Most bytes.

    Raises
    ------
    FormatError
        If it is empty or larger than ``limit`` bytes.
    OSError
        If it cannot be opened.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size or limit  # a buffer of the whole limit costs more than a small file
        data = file.read(min(size, limit) + 1)
    if not data:
        raise FormatError(f"{path.name} is empty (0 bytes).")
    if len(data) > limit:
        raise FormatError(f"{path.name} is larger than the limit of {limit // MIB} MiB.")
    return data


def is_zip(data: bytes) -> bool:
    """Return whether the bytes start as a zip archive, as those of ``.mxl`` files do."""
    return data.startswith(ZIP_MAGIC)


def unpack_mxl(data: bytes) -> bytes:
    """Return the MusicXML inside a compressed ``.mxl`` file.

    Parameters
    ----------
    data : bytes
        The archive. The score is the first rootfile named by ``META-INF/container.xml``; of archives without one (some
        old exporters), or whose is no XML (those of Wikifonia), the first ``.xml`` or ``.musicxml`` member.

    Returns
    -------
    bytes
        At most `MAX_XML_BYTES`.

    Raises
    ------
    FormatError
        If the archive is damaged, encrypted, has no score, or unpacks to more than the limit.

    References
    ----------
    MusicXML 4.0, "Compressed MXL files".
    """
    with _archive(data, ".mxl") as archive:
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
        if len(names) > MAX_ZIP_ENTRIES:
            raise FormatError(f"the archive has {len(names)} members, more than {MAX_ZIP_ENTRIES}.")
        return _member(archive, _rootfile(archive, names), MAX_XML_BYTES)


def unpack_member(data: bytes, name: str, kind: str) -> bytes:
    """Return one member of a zip archive, at most `MAX_XML_BYTES`.

    Parameters
    ----------
    data : bytes
        The archive.
    name : str
        Path of the member.
    kind : str
        What messages call the archive, such as ``.capx``.

    Raises
    ------
    FormatError
        If the archive is damaged or encrypted, has no such member, or it unpacks to more than the limit.
    """
    with _archive(data, kind) as archive:
        return _member(archive, name, MAX_XML_BYTES)


def each_member(data: bytes, kind: str, suffix: str) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of the members of a zip archive that have a suffix; what macOS adds is left out.

    Parameters
    ----------
    data : bytes
        The archive.
    kind : str
        What messages call the archive.
    suffix : str
        In lower case, such as ``.mid``.

    Raises
    ------
    FormatError
        If the archive cannot be read, has more than `MAX_ZIP_ENTRIES` members, or one of them is too large.
    """
    with _archive(data, kind) as archive:
        names = archive.namelist()
        if len(names) > MAX_ZIP_ENTRIES:
            raise FormatError(f"{len(names)} entries in a {kind} archive; the limit is {MAX_ZIP_ENTRIES}.")
        for name in sorted(names):
            if name.lower().endswith(suffix) and not name.startswith("__MACOSX/"):
                yield name, _member(archive, name, MAX_XML_BYTES)


@contextmanager
def _archive(data: bytes, kind: str) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield archive
    # zipfile raises NotImplementedError for unknown compression and RuntimeError for encrypted members.
    except (
        zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError, LookupError
    ) as error:  # fmt: skip
        raise FormatError(f"not a readable {kind} archive: {sentence_of(error, 200).rstrip('.')}.") from error


def unpacked_size(data: bytes) -> int:
    """Return how many bytes a file has once its archive, if it is one, is unpacked, as its directory says."""
    if not is_zip(data):
        return len(data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return sum(info.file_size for info in archive.infolist())
    except Exception:  # damaged in any way; the reader says how
        return len(data)


def _rootfile(archive: zipfile.ZipFile, names: list[str]) -> str:
    container = _member(archive, CONTAINER, MAX_CONTAINER_BYTES) if CONTAINER in names else b""
    try:
        named = rootfiles(container) if container else []
    except FormatError:  # Wikifonia's name scores in single quotes, with apostrophes in them
        named = []
    if found := next((path for path, _ in named if path in names), None) or next(iter(score_names(names)), None):
        return found
    raise FormatError("the archive holds no MusicXML file.")


def rootfiles(container: bytes) -> list[tuple[str, str]]:
    """Return path and media type ("" if unstated) of the files that a ``META-INF/container.xml`` names.

    Raises
    ------
    FormatError
        As `parse_xml`.
    """
    nodes = (node for node in parse_xml(container).iter() if isinstance(node.tag, str))
    named = [node for node in nodes if node.tag.rsplit("}", 1)[-1] == "rootfile"]
    paths = [posixpath.normpath((node.get("full-path") or "").lstrip("/")) for node in named]
    return [(path, node.get("media-type") or "") for path, node in zip(paths, named, strict=True)]


def score_names(names: Iterable[str]) -> list[str]:
    """Return the members of an archive that are MusicXML by their name."""
    own = (name for name in names if not name.startswith(("META-INF/", "__MACOSX/")))
    return [name for name in own if name.lower().endswith(SCORE_SUFFIXES)]


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    shown = sentence_of(name, 80)
    if archive.getinfo(name).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FormatError(f"{shown} is packed in another way than MusicXML allows (DEFLATE).")
    with archive.open(name) as member:
        content = member.read(limit + 1)  # the size stated in the directory may be wrong
        packed = archive.getinfo(name).compress_size
    if len(content) > limit:
        raise FormatError(f"{shown} unpacks to more than the limit of {limit // MIB} MiB.")
    if len(content) > MIN_BOMB_BYTES and len(content) > MAX_RATIO * packed:
        raise FormatError(f"{shown} unpacks to more than {MAX_RATIO} times its size; no score is so repetitive.")
    return content


def check_xml(data: bytes) -> None:
    """Refuse XML whose prolog declares entities, and XML above the size limit.

    A plain ``<!DOCTYPE score-partwise PUBLIC "…" "….dtd">``, as in most MusicXML, is accepted: the DTD is
    never fetched. Declarations come before the first element, so only the prolog is read here.

    Raises
    ------
    FormatError
        If an entity or an attribute default is declared, the data is too large, or the prolog is broken.
    """
    if len(data) > MAX_XML_BYTES:
        raise FormatError(f"the XML is larger than the limit of {MAX_XML_BYTES // MIB} MiB.")
    if not data.strip():
        raise FormatError("the file is empty.")

    def entity(*declared: object) -> None:
        raise FormatError(
            f"the XML declares the entity {sentence_of(declared[0], 80)!r}; entities are not expanded here."
        )

    def attributes(_element: str, _name: str, _kind: str, default: str | None, _required: bool) -> None:
        # A long default is copied into every element that lacks the attribute: a bomb without entities.
        if default is not None:
            raise FormatError("the XML declares attribute defaults in its DOCTYPE; they are not applied here.")

    def element(*_: object) -> None:
        raise _PrologEnd

    parser = expat.ParserCreate()
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    parser.EntityDeclHandler = entity
    parser.AttlistDeclHandler = attributes
    parser.StartElementHandler = element
    try:
        parser.Parse(data, True)
    except _PrologEnd:
        return
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise FormatError(f"not well-formed XML: {error}.") from error


def parse_xml(data: bytes) -> Element:
    """Return the root element of checked XML.

    Raises
    ------
    FormatError
        As `check_xml`, and if the document is not well-formed or nested deeper than `MAX_XML_DEPTH`.
    """
    from xml.etree import ElementTree

    data = data.lstrip(b" \t\r\n")  # a blank line before the declaration is common, and expat refuses it
    check_xml(data)
    try:
        root = ElementTree.fromstring(data)  # noqa: S314  entities and defaults were refused above
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise FormatError(f"not well-formed XML: {error}.") from error
    level, depth = [root], 1
    while level:
        if depth > MAX_XML_DEPTH:
            raise FormatError(f"the XML is nested deeper than {MAX_XML_DEPTH} levels.")
        level, depth = [child for node in level if len(node) for child in node], depth + 1
    return root


def decode_text(data: bytes) -> str:
    """Return text from UTF-8 (with or without a byte-order mark) or UTF-16 with one.

    Raises
    ------
    FormatError
        Naming the offset of the first invalid byte, or a binary file's first NUL.
    """
    encoding = "utf-8-sig"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        found = f"{data[error.start]:#04x}" if error.start < len(data) else "the end"
        raise FormatError(
            f"not {encoding.removesuffix('-sig').upper()} text: {found} at byte {error.start}."
        ) from error
    if "\0" in text:
        raise FormatError(f"not text: a NUL character at position {text.index(chr(0))}.")
    return text


def decode_lenient(data: bytes) -> tuple[str, tuple[str, ...]]:
    """Return the text of an ABC or kern file and notes on its encoding; Latin-1 is tried last.

    Older collections are Latin-1; every byte sequence is valid Latin-1, so this is a guess, and noted.

    Raises
    ------
    FormatError
        If the bytes are not text.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data:
        return decode_text(data), ()
    try:
        return data.decode("utf-8-sig"), ()
    except UnicodeDecodeError as error:
        return data.decode("latin-1"), (f"not UTF-8 (byte {error.start}): read as Latin-1",)
