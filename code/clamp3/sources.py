"""What can be encoded, and how its bytes become what a tower takes; no torch.

An input is a sentence, a path, bytes with their kind, or samples with their rate. It becomes one *sequence*: token ids
for the text tower, patches for the symbolic tower, or feature vectors for the audio tower.
"""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Union

import numpy as np

from clamp3.errors import FormatError
from clamp3.formats import Kind, kind_of

if TYPE_CHECKING:
    from clamp3.embedding.passages import Marks
    from clamp3.formats.audio import Sound

Modality = Literal["text", "symbolic", "audio"]

# Raise it when the same bytes become another sequence: cached vectors and output folders carry it.
PREPROCESSING_VERSION = 2
AUDIO_VERSION = 1
"""The same for recordings: decoding, resampling, chunks and mel frames."""


@dataclass(frozen=True)
class Source:
    """One input: where its bytes are, what they hold, and how messages call it; ``sha256`` where it is known."""

    kind: Kind
    name: str
    path: Path | None = None
    data: bytes | None = None
    sha256: str | None = None

    @property
    def streamed(self) -> bool:
        """Whether its bytes are read block by block where they are used: a recording in a file."""
        return self.kind is Kind.AUDIO and self.data is None

    @property
    def recording(self) -> bytes | Path:
        """What `clamp3.formats.audio.Sound` takes: the bytes where they are held, else the path."""
        if self.data is not None:
            return self.data
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
                content = hashlib.sha256()
                while block := file.read(1 << 20):
                    content.update(block)
        except OSError as error:
            raise FormatError(f"{self.name} cannot be read ({error.strerror or error}).") from None
        if not size:
            raise FormatError(f"{self.name} is empty.")
        return b"", content.hexdigest()

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
                data = read_file(self.path)
            except OSError as error:
                raise FormatError(f"{self.name} cannot be read ({error.strerror or error}).") from None
        if not data.strip():
            raise FormatError(f"{self.name} is empty.")
        return data


Item = Union[str, "os.PathLike[str]", Source, tuple[bytes, Kind], tuple[np.ndarray, int]]


@dataclass(frozen=True)
class Prepared:
    """Numbers a tower takes, what a user should know about how they came to be, and where they lie in the music."""

    modality: Modality
    values: np.ndarray
    notes: tuple[str, ...] = ()
    marks: Marks | None = None

    def __len__(self) -> int:
        return len(self.values)


@lru_cache(maxsize=1)
def preprocessing() -> str:
    """Return the identity of everything between a file's bytes and a sequence, converters' versions included."""
    try:
        converter = metadata.version("abctoolkit")
    except metadata.PackageNotFoundError:
        converter = "none"
    return f"{PREPROCESSING_VERSION}-abctoolkit{converter}"


def modality_of(kind: Kind) -> Modality:
    """Return which tower takes inputs of a kind."""
    if kind is Kind.TEXT:
        return "text"
    return "audio" if kind in (Kind.AUDIO, Kind.FEATURES) else "symbolic"


def source_of(item: Item) -> Source:
    """Return the source that an item stands for.

    Parameters
    ----------
    item : str, path, Source, (bytes, Kind) or (samples, rate)
        A string is a path if it names an existing file, else a sentence; a folder's bare name is a word. Samples are
        floats, full scale at 1, shape (N,) or (N, channels), at an integer rate per second.

    Raises
    ------
    FormatError
        If a path does not exist, is a folder or has a suffix without reader, if a string is written like the
        path of a music file but names none, or if the item is of another type or shape.
    """
    if isinstance(item, Source):
        return item
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], bytes):
        return Source(Kind(item[1]), f"bytes of kind {Kind(item[1]).value}", data=item[0])
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], np.ndarray):
        return samples_source(*item)
    if isinstance(item, str):
        if _is_there(item):
            return source_of(Path(item))
        if _is_path(item):
            raise FormatError(f"{item} does not exist (to encode these words, add some that are no file name).")
        return sentence(item)
    if isinstance(item, os.PathLike):
        path = Path(item)
        if path.is_dir():
            raise FormatError(f"{path} is a folder; give the files in it.")
        if not path.exists():
            raise FormatError(f"{path} does not exist.")
        return _file(path)
    raise FormatError(f"an input is a string, a path, (bytes, Kind) or (samples, rate), not {type(item).__name__}.")


def sentence(text: str) -> Source:
    """Return a source for words that are never taken for a path."""
    shown = " ".join(text[:60].split())
    return Source(Kind.TEXT, f'"{shown}{"…" if len(text) > 60 else ""}"', data=text.encode("utf-8", "replace"))


def samples_source(samples: np.ndarray, rate_hz: int, name: str | None = None) -> Source:
    """Return a source for a recording that is in memory already.

    Parameters
    ----------
    samples : float array, shape (N,) or (N, channels)
        Full scale at 1.
    rate_hz : int
        Samples per second.
    name : str, optional
        How messages call it.

    Raises
    ------
    FormatError
        If the samples are no floats, or of another shape.
    """
    import io

    import soundfile

    from clamp3.formats.audio import MAX_CHANNELS

    if samples.dtype.kind != "f" or samples.ndim not in (1, 2) or (samples.ndim == 2 and len(samples[0:1].T) == 0):
        raise FormatError(f"samples are floats of shape (N,) or (N, channels), not {samples.dtype} {samples.shape}.")
    if samples.ndim == 2 and samples.shape[1] > MAX_CHANNELS:
        raise FormatError(f"samples of shape {samples.shape} have too many channels; (N, channels) is meant.")
    if int(rate_hz) != rate_hz or not 1 <= rate_hz < 1 << 31:
        raise FormatError(f"{rate_hz} is no sampling rate.")
    out = io.BytesIO()
    soundfile.write(out, samples.astype(np.float32, copy=False), int(rate_hz), format="WAV", subtype="FLOAT")
    shown = name or f"a recording of {len(samples) / rate_hz:.1f} s"
    return Source(Kind.AUDIO, shown, data=out.getvalue())


def _is_there(text: str) -> bool:
    """Whether a string names a file, or a folder by more than one word; some sentences no path can hold."""
    try:
        return Path(text).is_file() or (("/" in text or os.sep in text) and Path(text).is_dir())
    except (OSError, ValueError):
        return False


def _is_path(text: str) -> bool:
    """Whether a string is written like a path, with words such as "6/8" and "and/or" in mind."""
    if text.startswith(("./", "../", "~/", "/", ".\\", "..\\")):
        return True
    return kind_of(text) is not None and ("/" in text or "\\" in text or not any(map(str.isspace, text)))


def _file(path: Path) -> Source:
    kind = kind_of(path)
    if kind is None:
        raise FormatError(f"{path} is of a type no reader exists for ({path.suffix or 'no suffix'}).")
    return Source(kind, str(path), path=path)


def digest(data: bytes) -> str:
    """Return the SHA-256 of an input's bytes, as the ledger and the cache keep it."""
    return hashlib.sha256(data).hexdigest()


def text_lines(text: str) -> list[str]:
    """Return the lines of a text without repetitions and empty ones, in order."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [line for line in dict.fromkeys(lines) if line]


def text_of(data: bytes, name: str) -> list[str]:
    """Return the distinct lines of a text file.

    Raises
    ------
    FormatError
        If the bytes are no text, or blank.
    """
    from clamp3.formats.guards import decode_text

    lines = text_lines(decode_text(data))
    if not any(line.strip() for line in lines):
        raise FormatError(f"{name} holds no words.")
    return lines


def convert(payload: tuple[bytes | Path, Kind, str], *, marked: bool = False) -> Prepared:
    """Return the sequence of a score, performance or recording; picklable, for worker processes.

    Parameters
    ----------
    payload : (bytes or path, Kind, str)
        Content, kind and name. A recording becomes mel chunks.
    marked : bool
        For passages: with marks, and recordings to their end.

    Raises
    ------
    FormatError
        As `symbolic_sequence` and `mel_sequence`.
    """
    content, kind, name = payload
    if kind is Kind.AUDIO:
        return mel_sequence(content, name, whole=marked)
    assert isinstance(content, bytes)
    return symbolic_sequence((content, kind, name), marked=marked)


def symbolic_sequence(payload: tuple[bytes, Kind, str], *, marked: bool = False) -> Prepared:
    """Return the patches of a score or performance.

    Parameters
    ----------
    payload : (bytes, Kind, str)
        Content, kind and name of a file that the symbolic tower takes after conversion.
    marked : bool
        With marks, for passages.

    Returns
    -------
    Prepared
        ``values`` uint8, shape (L, 64), wrapping patches included, any length.

    Raises
    ------
    FormatError
        If the file cannot be converted, or holds no music.
    """
    from clamp3.formats.symbolic import to_symbolic
    from clamp3.modalities import patches

    data, kind, name = payload
    converted = to_symbolic(data, kind, name=name)
    values = patches.encode(converted.text)
    if len(values) <= 2:  # only the two wrapping patches
        raise FormatError(f"{name} holds no music.")
    notes = converted.notes
    lost = patches.lost_characters(converted.text)
    if lost:
        notes = (*notes, f"{lost} characters lie beyond what a patch holds")
    if not marked:
        return Prepared("symbolic", values, notes)
    from clamp3.embedding.passages import performance_marks, score_marks

    marks = performance_marks if kind in (Kind.MIDI, Kind.MTF) else score_marks
    return Prepared("symbolic", values, notes, marks(converted.text))


def audio_sequence(data: bytes, name: str, *, width: int, vector_sec: float) -> Prepared:
    """Return the vectors of an audio feature file, with a zero vector on both ends.

    Parameters
    ----------
    data : bytes
        Content of a ``.npy`` file of shape (…, ``width``); leading axes are flattened.
    name : str
        How messages call it.
    width : int
        D, what the audio tower takes; 768 for MERT features.
    vector_sec : float
        Seconds of the recording that a vector stands for.

    Returns
    -------
    Prepared
        ``values`` float32, shape (T + 2, D).

    Raises
    ------
    FormatError
        If the bytes are no plain numeric ``.npy`` of shape (…, D), are empty, or contain NaN or infinity.
    """
    from clamp3.formats.arrays import read_array

    array = read_array(data, name)
    if array.ndim == 0 or array.shape[-1] != width or array.size == 0:
        raise FormatError(f"{name} has shape {array.shape}; audio features have shape (…, {width}).")
    return heard_sequence(array.reshape(-1, width).astype(np.float32), vector_sec)


def heard_sequence(vectors: np.ndarray, vector_sec: float, sound: Sound | None = None) -> Prepared:
    """Return (T, D) audio vectors, one per ``vector_sec``, with a zero vector on both ends, as the tower learned them.

    Parameters
    ----------
    sound : Sound, optional
        The recording, after it was read: its notes and its length.
    """
    from clamp3.embedding.passages import sound_marks

    ends = np.zeros((1, vectors.shape[1]), np.float32)
    marks = sound_marks(len(vectors), vector_sec, sound.seconds if sound is not None else math.inf)
    notes = tuple(sound.notes) if sound is not None else ()
    return Prepared("audio", np.concatenate([ends, vectors, ends]), notes, marks)


def mel_sequence(recording: bytes | Path, name: str, *, whole: bool = False) -> Prepared:
    """Return the mel chunks of a recording's first two minutes, or of all of it, with a zero vector on both ends.

    Raises
    ------
    FormatError
        If it cannot be decoded.
    """
    from clamp3.formats.audio import Sound
    from clamp3.formats.mel import CHUNK_SEC, LONGEST_SEC, log_mel

    sound, longest_sec = Sound(recording, name), None if whole else LONGEST_SEC
    return heard_sequence(log_mel(sound.blocks(longest_sec), longest_sec=longest_sec), CHUNK_SEC, sound)


def needs_process(data: bytes, kind: Kind) -> bool:
    """Whether a conversion takes long enough, or is fragile enough, to be worth another process."""
    if kind in (Kind.MUSICXML, Kind.SCORE, Kind.MIDI, Kind.AUDIO):
        return True
    if kind is not Kind.ABC:
        return False
    # Interleaved ABC is taken as it is, which is quick unless there is a lot of it.
    return b"[V:" not in data[:65536] or len(data) > 1 << 20
