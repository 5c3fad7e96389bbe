"""Recordings and files of audio features: a vector per chunk of a few seconds, between two zero vectors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import numpy as np

from clamp3.errors import FormatError
from clamp3.formats import Converted, Kind
from clamp3.modalities.base import Modality, Payload, Prepared
from clamp3.modalities.marks import sound_marks

if TYPE_CHECKING:
    from clamp3.formats.audio import Sound

# Increment it when the same recording becomes other vectors: decoding, resampling, chunks and mel frames.
AUDIO_VERSION = 1


class FrontEnd(Protocol):
    """What turns recordings into the vectors that an audio tower reads.

    Attributes
    ----------
    width : int
        D, numbers of a vector.
    chunk_sec : float
        Seconds per vector.
    apart : bool
        Whether it pickles, so that worker processes can prepare recordings.
    identity : str
        Its part of the identity of vectors.
    """

    @property
    def width(self) -> int: ...  # noqa: D102
    @property
    def chunk_sec(self) -> float: ...  # noqa: D102
    @property
    def apart(self) -> bool: ...  # noqa: D102
    @property
    def identity(self) -> str: ...  # noqa: D102

    def vectors(self, sound: Sound, *, whole: bool) -> np.ndarray:
        """Return (T, D) vectors of a recording.

        Parameters
        ----------
        sound : Sound
            The recording.
        whole : bool
            Whether to take it to its end, and not only as much as the front end usually does.
        """


class MelFrames:
    """Chunks of log-mel frames; of a long recording the first two minutes, or all."""

    apart = True
    identity = "mel"

    @property
    def width(self) -> int:
        """Numbers of a flattened chunk."""
        from clamp3.formats.mel import CHUNK_FRAMES, N_BINS

        return CHUNK_FRAMES * N_BINS

    @property
    def chunk_sec(self) -> float:
        """Seconds of a chunk."""
        from clamp3.formats.mel import CHUNK_SEC

        return CHUNK_SEC

    def vectors(self, sound: Sound, *, whole: bool) -> np.ndarray:
        """Return (T, frames * bins) chunks, float32; see `FrontEnd.vectors`."""
        from clamp3.formats.mel import LONGEST_SEC, log_mel

        longest_sec = None if whole else LONGEST_SEC
        return log_mel(sound.blocks(longest_sec), longest_sec=longest_sec)


class Audio(Modality):
    """Recordings, and ``.npy`` files of what a front end made of them; the front end is a `FrontEnd`."""

    name = "audio"
    kinds = frozenset({Kind.AUDIO, Kind.FEATURES})
    views: Mapping[str, str] = MappingProxyType({"audio": ".npy"})

    def prepare(self, payload: Payload, front_end: FrontEnd | None = None, *, marked: bool = False) -> Prepared:
        """Return vectors, float32, shape (T + 2, D), a zero vector on both ends; see `Modality.prepare`."""
        content, kind, name = payload
        assert front_end is not None
        if kind == Kind.AUDIO:
            from clamp3.formats.audio import Sound

            assert not isinstance(content, Converted)
            sound = Sound(content, name)
            vectors = front_end.vectors(sound, whole=marked)
            return self._between_zeros(vectors, front_end.chunk_sec, sound.seconds, tuple(sound.notes))
        from clamp3.formats.arrays import read_array

        assert isinstance(content, bytes)
        array, width = read_array(content, name), front_end.width
        if array.ndim == 0 or array.shape[-1] != width or array.size == 0:
            raise FormatError(f"{name} has shape {array.shape}; audio features have shape (…, {width}).")
        return self._between_zeros(array.reshape(-1, width).astype(np.float32), front_end.chunk_sec)

    def _between_zeros(
        self, vectors: np.ndarray, chunk_sec: float, end_sec: float = math.inf, notes: tuple[str, ...] = ()
    ) -> Prepared:
        """Return (T, D) vectors with a zero vector on both ends, as the published tower was trained."""
        ends = np.zeros((1, vectors.shape[1]), np.float32)
        marks = sound_marks(len(vectors), chunk_sec, end_sec)
        return Prepared(self.name, np.concatenate([ends, vectors, ends]), notes, marks)

    def seconds(self, content: bytes) -> float:
        """Return how long decoding and frames take, roughly: 30 s of samples 0.06 s, as MP3 twice that."""
        return len(content) / (50e6 if content.startswith(b"RIFF") else 2.5e6)

    def needs_process(self, payload: Payload, front_end: FrontEnd | None = None) -> bool:
        """Return whether it is a recording whose front end works in other processes."""
        return payload[1] == Kind.AUDIO and front_end is not None and front_end.apart

    def version(self, kind: Kind, front_end: FrontEnd | None = None) -> str:
        """Return the version of decoding and frames for recordings; files of features have nothing left to version."""
        return f"audio{AUDIO_VERSION}" if kind == Kind.AUDIO else ""


AUDIO = Audio()
