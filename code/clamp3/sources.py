"""An input: a sentence, a path, bytes with their kind, samples with their rate, or an object of a music library.

What its bytes become is defined by its modality (`clamp3.modalities`).
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeGuard, Union, cast

import numpy as np
from numpy.typing import NDArray

from clamp3.errors import FormatError, sentence_of
from clamp3.formats import Kind, kind_of
from clamp3.formats.content import kind_in
from clamp3.formats.pieces import SIGN, Piece, find, is_archive, pieces_of, read_piece


@dataclass(frozen=True)
class Source:
    """One input.

    Attributes
    ----------
    kind : Kind
        What the bytes hold.
    name : str
        Its name in messages.
    path : Path or None
        File with the bytes, if they are not in ``data``.
    data : bytes or None
        The bytes themselves.
    sha256 : str or None
        Of the bytes, where it is known.
    piece : Piece or None
        What part of the file it is, if the file holds several pieces.
    """

    kind: Kind
    name: str
    path: Path | None = None
    data: bytes | None = None
    sha256: str | None = None
    piece: Piece | None = None

    @property
    def location(self) -> str:
        """The file, and the piece in it; what `source_of` takes. "" if there is no file."""
        return f"{self.path or ''}{SIGN + self.piece.name if self.piece else ''}"

    @property
    def streamed(self) -> bool:
        """Whether its bytes are read block by block where they are used, as those of a recording in a file are."""
        return self.kind == Kind.AUDIO and self.data is None and self.piece is None

    @property
    def recording(self) -> bytes | Path:
        """What `clamp3.formats.audio.Sound` takes: the bytes if they are in memory or in an archive, else the path."""
        if not self.streamed:
            return self.read()
        assert self.path is not None
        return self.path

    def open(self) -> tuple[bytes, str]:
        """Return the bytes, none of a streamed source, and their SHA-256.

        Raises
        ------
        FormatError
            If the file cannot be read, is empty or too large.
        """
        if not self.streamed:
            data = self.read()
            return data, self.sha256 or digest(data)
        from clamp3.formats.audio import MAX_BYTES

        assert self.path is not None
        if self.sha256 is not None:
            return b"", self.sha256
        try:
            with self.path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size > MAX_BYTES:
                    raise FormatError(f"{self.name} is larger than the limit of {MAX_BYTES >> 30} GiB.")
                content = digest_of(file)
        except OSError as error:
            raise FormatError(f"{self.name} cannot be read ({error.strerror or error}).") from None
        if not size:
            raise FormatError(f"{self.name} is empty.")
        return b"", content

    def read(self) -> bytes:
        """Return the bytes.

        Raises
        ------
        FormatError
            If the file cannot be read, is empty or too large.
        """
        from clamp3.formats.guards import read_file

        if self.data is not None:
            data = self.data
        else:
            assert self.path is not None
            try:
                data = read_file(self.path) if self.piece is None else read_piece(self.path, self.piece)
            except FormatError as error:
                raise error if self.piece is None else FormatError(f"{self.name}: {error}") from None
            except OSError as error:
                raise FormatError(f"{self.name} cannot be read ({error.strerror or error}).") from None
        if not data.strip():
            raise FormatError(f"{self.name} is empty.")
        return data


# Besides these: objects of the libraries in `_OBJECTS`.
Item = Union[str, "os.PathLike[str]", bytes, Source, tuple[bytes, str], tuple[Any, float], "Mapping[str, Any]"]
_RECORDING = frozenset(("array", "sampling_rate"))  # keys of a recording of the datasets library


def is_item(what: object) -> bool:
    """Return whether something is one input (or meant as one), and not an iterable of inputs."""
    if isinstance(what, tuple):
        named = len(what) == 2 and _is_bytes(what[0]) and isinstance(what[1], str)
        return named or (len(what) == 2 and any(map(_is_array, what)))
    if isinstance(what, np.ndarray) and what.ndim == 1 and what.dtype.kind in "OUST":
        return False  # of strings or objects, as pandas gives them
    single = isinstance(what, (str, os.PathLike, Source)) or _is_bytes(what) or _is_array(what)
    return single or _is_recording(what) or _library(what) in _OBJECTS or not hasattr(what, "__iter__")


def source_of(item: Item) -> Source:
    r"""Return the source that an item stands for.

    Parameters
    ----------
    item : str, path, bytes, Source, (bytes, Kind), (samples, rate), a recording of datasets, music21 or mido object
        A string is a path if it names an existing file, or a piece in one (``jigs.abc#12``); a tune if it has several
        lines that begin with the fields of ABC, or are MTF or MusicXML (`sentence` makes words of it); else a sentence.
        A folder's bare name is a word. A whole tune book stands for its first tune (`expanded` gives all).
        Bytes without a kind are taken if they show what they are. Samples are arrays or tensors as librosa, torchaudio
        and soundfile give them (`clamp3.formats.samples.samples_of`), at an integer rate per second, or a mapping with
        ``array`` and ``sampling_rate``, as the datasets library gives them.
        A music21 stream is taken as its MusicXML, a `mido.MidiFile` as its bytes.

    Raises
    ------
    FormatError
        If a path does not exist, is a folder or has a suffix without reader, if a string reads as the path of a music
        file but names none, or if the item is of another type or shape.

    Examples
    --------
    >>> source = source_of("a slow air for fiddle")
    >>> source.kind, source.name
    (Kind('text'), '"a slow air for fiddle"')
    >>> source_of((b"K:G\nGAG|", Kind.ABC)).name
    'bytes of kind abc'
    >>> source_of("X:1\nT:The Kesh\nM:6/8\nK:G\nGAG GAB|").name
    'a string of kind abc'
    """
    if isinstance(item, Source):
        return item
    if isinstance(item, str):
        return _string(item)
    if isinstance(item, os.PathLike):
        path = Path(item)
        if path.is_dir():
            raise FormatError(f"{path} is a folder; give the files in it.")
        if not path.exists() and find(str(path)) is None:
            raise FormatError(f"{path} does not exist.")
        return _file(path)
    if _is_bytes(item):
        return _bytes(bytes(item))
    if isinstance(item, tuple) and len(item) == 2:
        content, about = item[0], cast(Any, item[1])
        if _is_bytes(content):
            return _bytes(bytes(content), about)
        if _is_array(content):
            return samples_source(cast(Any, content), about)
        if _is_array(about):
            raise FormatError("the samples come first, then their rate: (samples, rate).")
    if _is_array(item):
        raise FormatError("samples need their rate: give (samples, rate).")
    if _is_recording(item):
        return samples_source(np.asarray(item["array"]), item["sampling_rate"])
    library = _library(item)
    if library in _OBJECTS:
        return _object(item, library)
    raise FormatError(
        "an input is a string, a path, (bytes, Kind), (samples, rate), a music21 stream or a mido.MidiFile, "
        f"not {type(item).__name__}; write it to a file and give its path."
    )


def _string(text: str) -> Source:
    """Return the source of a string: a file, a tune or words."""
    if _is_there(text):
        return source_of(Path(text))
    kind = kind_in(text) if "\n" in text else None
    if kind is not None:
        return Source(kind, f"a string of kind {kind.value}", data=text.encode("utf-8", "replace"))
    if _is_path(text):
        raise FormatError(f"{text} does not exist (to encode these words, add some that are no file name).")
    return sentence(text)


def _bytes(data: bytes, kind: object = None) -> Source:
    kinds = ", ".join(Kind.known)
    if kind is None:
        kind = kind_in(data)
        if kind is None:
            raise FormatError(f"the bytes do not show what they hold; give (bytes, kind), the kind one of {kinds}.")
    elif kind not in Kind.known:
        raise FormatError(f"{kind!r} is no kind of file; there are {kinds}.")
    return Source(Kind(str(kind)), f"bytes of kind {kind}", data=data)


def _music21(item: Any) -> bytes:
    from music21.musicxml.m21ToXml import GeneralObjectExporter

    written: bytes = GeneralObjectExporter(item).parse()
    return written


def _mido(item: Any) -> bytes:
    out = io.BytesIO()
    item.save(file=out)
    return out.getvalue()


_OBJECTS: dict[str, tuple[Kind, Callable[[Any], bytes]]] = {
    "music21": (Kind.MUSICXML, _music21),
    "mido": (Kind.MIDI, _mido),
}


def _object(item: object, library: str) -> Source:
    """Return the source of an object of a library that writes what it holds."""
    kind, write = _OBJECTS[library]
    name = f"a {library} {type(item).__name__}"
    try:
        return Source(kind, name, data=write(item))
    except Exception as error:  # whatever the library says of its own object
        what = sentence_of(error, 100) or type(error).__name__
        raise FormatError(f"{name} cannot be written as {kind.value} ({what}); give a whole piece.") from None


def _library(item: object) -> str:
    """Return the package that defines an object's class, or one that it derives from."""
    packages = (base.__module__.partition(".")[0] for base in type(item).__mro__)
    return next((package for package in packages if package in _OBJECTS or package == "torch"), "")


def _is_array(what: object) -> bool:
    return isinstance(what, np.ndarray) or (_library(what) == "torch" and hasattr(what, "detach"))


def _is_recording(what: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(what, Mapping) and what.keys() >= _RECORDING


def _is_bytes(what: object) -> TypeGuard[bytes | bytearray | memoryview]:
    return isinstance(what, (bytes, bytearray, memoryview))


def sentence(text: str) -> Source:
    """Return a source for words that are never read as a path."""
    shown = " ".join(text[:60].split())
    return Source(Kind.TEXT, f'"{shown}{"…" if len(text) > 60 else ""}"', data=text.encode("utf-8", "replace"))


def samples_source(samples: NDArray[Any], rate_hz: float, name: str | None = None) -> Source:
    """Return a source for a recording that is in memory already.

    Parameters
    ----------
    samples : array or tensor
        As `clamp3.formats.samples.samples_of` takes them.
    rate_hz : int
        Samples per second.
    name : str, optional
        Its name in messages.

    Raises
    ------
    FormatError
        If the samples are of another type or shape, or the rate is none.
    """
    import soundfile

    from clamp3.formats.samples import samples_of

    if not isinstance(rate_hz, (int, float, np.number)) or not 1 <= rate_hz < 1 << 31 or int(rate_hz) != rate_hz:
        raise FormatError(f"{rate_hz} is no sampling rate.")
    values = samples_of(samples)
    out = io.BytesIO()
    soundfile.write(out, values, int(rate_hz), format="WAV", subtype="FLOAT")
    shown = name or f"a recording of {len(values) / rate_hz:.1f} s"
    return Source(Kind.AUDIO, shown, data=out.getvalue())


def _is_there(text: str) -> bool:
    """Return whether a string names a file, or a folder with a slash; sentences may be impossible as paths."""
    try:
        if SIGN in text and find(text) is not None:
            return True
        return Path(text).is_file() or (("/" in text or os.sep in text) and Path(text).is_dir())
    except (OSError, ValueError):
        return False


def _is_path(text: str) -> bool:
    """Return whether a string reads as a path; words such as "6/8" and "and/or" do not."""
    if text.startswith(("./", "../", "~/", "/", ".\\", "..\\")):
        return True
    return kind_of(text) is not None and ("/" in text or "\\" in text or not any(map(str.isspace, text)))


def expanded(items: Iterable[Item]) -> Iterator[Item]:
    r"""Yield inputs, in place of a file that holds several pieces each of them; files are listed as they are needed.

    Parameters
    ----------
    items : iterable of str, path, Source, (bytes, Kind) or (samples, rate)
        What cannot be listed stays in its place: whoever reads it says why.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     book = Path(folder, "jigs.abc")
    ...     _ = book.write_text("X:1\nK:C\nC|\n\nX:2\nK:D\nD|\n")
    ...     [source.piece.name for source in expanded([book])]
    ['1', '2']
    """
    for item in items:
        path = _whole_file(item)
        n_pieces = 0
        if path is not None:
            with suppress(FormatError, OSError):
                for piece in pieces_of(path):
                    n_pieces += 1
                    if piece.link and not piece.problem:
                        yield path.parent / piece.name
                    elif piece.kind is not None:
                        yield Source(piece.kind, f"{path}{SIGN}{piece.name}", path=path, piece=piece)
        if not n_pieces:
            yield item


def _whole_file(item: Item) -> Path | None:
    if isinstance(item, Source):
        return item.path if item.piece is None and item.data is None else None
    if isinstance(item, (str, os.PathLike)) and _is_there(os.fspath(item)) and Path(item).is_file():
        return Path(item)
    return None


def _file(path: Path) -> Source:
    found = find(str(path))
    if found is not None:
        if found[1].kind is None:
            raise FormatError(f"{path} is of a type no reader exists for.")
        return Source(found[1].kind, str(path), path=found[0], piece=found[1])
    kind = kind_of(path)
    if is_archive(path):
        try:
            first = next((piece.name for piece in pieces_of(path) if piece.kind is not None), "tune.abc")
        except FormatError as error:
            raise FormatError(f"{path}: {error}") from None
        raise FormatError(f"{path} is an archive; name a file in it, as {path}{SIGN}{first}.")
    if kind is None:
        raise FormatError(f"{path} is of a type no reader exists for ({path.suffix or 'no suffix'}).")
    return Source(kind, str(path), path=path)


def digest(data: bytes) -> str:
    """Return the SHA-256 of an input's bytes, as ledger and cache hold it."""
    return hashlib.sha256(data).hexdigest()


def digest_of(file: IO[bytes]) -> str:
    """Return the SHA-256 of an open file, read block by block."""
    content = hashlib.sha256()
    while block := file.read(1 << 20):
        content.update(block)
    return content.hexdigest()
