"""Recordings to mono sound at 24 kHz, block by block, so that a file of three hours needs no more memory than a song.

libsndfile reads wav, mp3, flac, ogg, opus, aiff and au; FFmpeg's decoders, which PyAV ships, read the rest: m4a, aac,
wma, and the sound of mp4 and webm. Both go by the content, so a wrong suffix does no harm.
The channels' mean is resampled as MERT's published features were (`clamp3.formats.resample`).
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Union

import numpy as np

from clamp3.errors import FormatError
from clamp3.formats import audio_containers as containers
from clamp3.formats.resample import Resampler

if TYPE_CHECKING:
    import soundfile

RATE_HZ = 24_000
MAX_BYTES = 8 << 30
MAX_SEC = 12 * 3600.0
MAX_CHANNELS = 64

_BLOCK_FRAMES = 1 << 18  # 6 s at 44.1 kHz
_SIZES = re.compile(r"(\d{1,15}) \(should be (\d{1,15})\)")
_MAX_DAMAGED = 1000  # packets that are skipped before a file is refused

Recording = Union[bytes, "os.PathLike[str]"]


class Sound:
    """One recording, decoded anew each time it is read.

    Parameters
    ----------
    recording : path or bytes
        A file, or its content.
    name : str
        Used in messages.

    Attributes
    ----------
    notes : list of str
        Damage that was skipped when it was read.
    seconds : float
        How much was read the last time.
    """

    def __init__(self, recording: Recording, name: str) -> None:
        self._recording, self.name = recording, name
        self.notes: list[str] = []
        self.seconds = 0.0

    def blocks(self, longest_sec: float | None = None) -> Iterator[np.ndarray]:
        """Yield the samples in blocks of several seconds.

        Parameters
        ----------
        longest_sec : float, optional
            Stop after this much; None reads all.

        Yields
        ------
        float32 array, shape (N,)
            Mono at `RATE_HZ`, all finite.

        Raises
        ------
        FormatError
            If the content cannot be decoded, has no sound, has NaN or infinite samples, or exceeds a limit.
        """
        self.notes, self.seconds = [], 0.0
        limit = MAX_SEC if longest_sec is None else min(longest_sec, MAX_SEC)
        room, given = round(limit * RATE_HZ), 0
        resampler: Resampler | None = None
        source_hz = 0
        try:
            for mono, rate in self._decode():
                if not np.isfinite(mono).all():
                    raise FormatError(f"{self.name} has NaN or infinite samples.")
                ended = np.zeros(0, np.float32)
                if resampler is None or rate != source_hz:  # streams in a row may have different rates
                    ended = resampler.finish() if resampler is not None else ended
                    resampler, source_hz = Resampler(rate, RATE_HZ), rate
                block = np.concatenate([ended, resampler.push(mono)])[: room - given]
                given += len(block)
                self.seconds = given / RATE_HZ
                if len(block):
                    yield block
                if given >= room:
                    if longest_sec is None or longest_sec > MAX_SEC:
                        raise FormatError(f"{self.name} is longer than the limit of {MAX_SEC / 3600:g} hours.")
                    return
        except OSError as error:
            raise FormatError(f"{self.name} cannot be read ({error.strerror or error}).") from None
        tail = resampler.finish()[: room - given] if resampler is not None else np.zeros(0, np.float32)
        self.seconds = (given + len(tail)) / RATE_HZ
        if len(tail):
            yield tail
        if not self.seconds:
            raise FormatError(f"{self.name} holds no sound.")

    def read(self, longest_sec: float | None = None) -> np.ndarray:
        """Return the whole sound, or its beginning, as one float32 array; see `blocks`."""
        return np.concatenate(list(self.blocks(longest_sec)))

    def _decode(self) -> Iterator[tuple[np.ndarray, int]]:
        """Yield mono blocks at the recording's own rate, with that rate."""
        import soundfile

        done, rate = 0, 0
        with self._open() as file:
            try:
                with soundfile.SoundFile(file) as sound:
                    rate = sound.samplerate
                    for mono in self._by_soundfile(sound):
                        yield mono, rate
                        done += len(mono)
                    frames, promised = sound.frames, sound.extra_info
                if done and not containers.goes_on(file, done / rate):
                    # Lengths of compressed streams may be estimates, and unknown ones are stated as huge numbers.
                    is_cut = done + rate // 10 < frames < 1 << 60 and not containers.has_estimated_length(file)
                    if is_cut or _is_shorter(promised) or containers.is_unfinished_ogg(file):
                        self.notes.append(_cut_off(done / rate))
                    return
            except soundfile.LibsndfileError:  # FFmpeg's decoders know other types, and resynchronise after damage
                if rate and not containers.has_estimated_length(file):
                    self.notes.append("damaged in places")
            file.seek(0)
            for mono, rate in self._by_av(file):
                if done < len(mono):
                    yield mono[done:], rate
                done = max(0, done - len(mono))

    @contextmanager
    def _open(self) -> Iterator[IO[bytes]]:
        with io.BytesIO(self._recording) if isinstance(self._recording, bytes) else open(self._recording, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            if not size:
                raise FormatError(f"{self.name} is empty.")
            if size > MAX_BYTES:
                raise FormatError(f"{self.name} is larger than the limit of {MAX_BYTES >> 30} GiB.")
            yield file

    def _by_soundfile(self, sound: soundfile.SoundFile) -> Iterator[np.ndarray]:
        self._check_channels(sound.channels)
        while len(block := sound.read(_BLOCK_FRAMES // sound.channels, dtype="float32", always_2d=True)):
            yield _mono(block.T)

    def _by_av(self, file: IO[bytes]) -> Iterator[tuple[np.ndarray, int]]:
        import av

        try:
            container = containers.open_by_av(file)
        except (av.FFmpegError, ValueError) as error:
            raise FormatError(f"{self.name} is no recording that can be read ({_reason(error)}).") from None
        with container:
            if not container.streams.audio:
                raise FormatError(f"{self.name} holds no sound.")
            try:
                yield from self._packets(container, container.streams.audio[0])
            except av.FFmpegError as error:
                raise FormatError(f"{self.name} is damaged ({_reason(error)}).") from None

    def _packets(self, container: Any, stream: Any) -> Iterator[tuple[np.ndarray, int]]:
        """Yield what the packets of one stream decode to; damaged ones are skipped."""
        import av

        rate, waiting, damaged, done_sec = 0, 0, 0, 0.0
        pieces: list[np.ndarray] = []  # a frame lasts a few hundredths of a second: too short to filter one by one
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    break
                frames = packet.decode()
            except av.EOFError:
                break
            except (av.FFmpegError, IndexError):  # IndexError: of a stream that the file's head does not name
                damaged += 1
                if damaged > _MAX_DAMAGED:
                    raise
                continue
            for frame in frames:
                values = _channels(frame)  # (C, N)
                self._check_channels(len(values))
                changes = frame.sample_rate != rate or len(values) != len(pieces[0]) if pieces else False
                if changes or waiting >= _BLOCK_FRAMES // 2:
                    yield _mono(np.concatenate(pieces, axis=1)), rate
                    pieces, waiting = [], 0
                rate = frame.sample_rate
                pieces.append(values)
                waiting += values.shape[1]
                done_sec += values.shape[1] / rate
        if pieces:
            yield _mono(np.concatenate(pieces, axis=1)), rate
        elif damaged:
            raise FormatError(f"{self.name} is damaged: none of its packets can be decoded.")
        if damaged:
            self.notes.append(f"{damaged} damaged packets were left out")
        elif rate and done_sec + 1 < _stated_sec(container, stream):
            self.notes.append(_cut_off(done_sec))

    def _check_channels(self, n_channels: int) -> None:
        if n_channels > MAX_CHANNELS:
            raise FormatError(f"{self.name} has {n_channels} channels; {MAX_CHANNELS} are the limit.")


def _cut_off(seconds: float) -> str:
    return f"cut off after {seconds:.1f} s"


def _is_shorter(promised: str) -> bool:
    """Return whether a header states more bytes than there are, by libsndfile's log; streams state the maximum."""
    stated = [(int(size), int(found)) for size, found in _SIZES.findall(promised)]
    return any(found < 0.99 * size and size < 0x7FFFF000 for size, found in stated)


def _stated_sec(container: Any, stream: Any) -> float:
    """Return the duration a container states; 0 where it has none or an estimate from the bit rate."""
    if not any(name in container.format.name for name in ("mov", "matroska", "asf")):
        return 0.0
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return 0.0 if container.streams.video else (container.duration or 0) / 1e6


def _channels(frame: Any) -> np.ndarray:
    """Return a frame's samples in their stored type, shape (C, N)."""
    if frame.format.is_planar and frame.layout.nb_channels > 8:  # PyAV reads past the end of a longer list of planes
        import av

        frame = av.AudioResampler(format=frame.format.packed).resample(frame)[0]
    values: np.ndarray = frame.to_ndarray()
    return values if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels).T


def _mono(channels: np.ndarray) -> np.ndarray:
    """Return the mean of (C, N) channels as float32, full scale at 1."""
    full_scale = 1.0 if channels.dtype.kind == "f" else float(1 << (8 * channels.dtype.itemsize - 1))
    weights = np.full(len(channels), 1 / (len(channels) * full_scale), np.float32)
    mono = weights @ channels.astype(np.float32, copy=False)
    return mono - np.float32(channels.dtype.kind == "u")  # unsigned samples are centred on the middle of their range


def _reason(error: Exception) -> str:
    import av

    if isinstance(error, av.ArgumentError):  # a container that is not in the list
        return "it is of a type that is not read"
    return str(getattr(error, "strerror", None) or error).split("\n")[0].rstrip(".")
