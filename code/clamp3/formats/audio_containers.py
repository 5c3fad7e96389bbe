"""What libsndfile does not see in a recording's container: streams that follow the first, lengths that are estimates.

libsndfile stops at the number of samples that a header states or a first frame suggests. Concatenated mp3 files, mp3 of
variable bit rate without a header and chained Ogg streams go on after that.
"""

from __future__ import annotations

import os
from typing import IO, Any

# No containers that refer to other files or addresses (playlists, concatenations, image sequences).
CONTAINERS = "mov,matroska,webm,asf,aac,mp3,ogg,wav,w64,flac,aiff,au,caf,ac3,eac3,avi,mpegts,mpeg,flv,amr,ape,wv,tta"

_PAGE = 27  # bytes of an Ogg page's header before its table of segments (RFC 3533, section 6)
_FIRST_PAGE, _LAST_PAGE = 2, 4
_TAGS_BYTES = 1 << 13  # tags at the end of an mp3 file; anything larger is looked into
_SLACK_SEC = 0.2  # a few frames: encoders' delay and padding


def open_by_av(file: IO[bytes]) -> Any:
    """Return FFmpeg's view of an open file; it may raise ``av.FFmpegError`` or ValueError."""
    import av

    file.seek(0)
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "none"}
    return av.open(file, options=options, metadata_errors="replace")


def goes_on(file: IO[bytes], done_sec: float) -> bool:
    """Return whether a recording that libsndfile has read to its end holds more sound.

    Parameters
    ----------
    file : binary file
        Its position is moved.
    done_sec : float
        How much was read.
    """
    start = _after_tags(file)
    head = file.read(4)
    if head == b"OggS":
        return _is_chained_ogg(file, start)
    if not _is_mpeg(head):
        return False
    stated = _stated_bytes(file, start)
    size = file.seek(0, os.SEEK_END)
    if stated and size - start - stated < _TAGS_BYTES:
        return False
    return _packets_sec(file) > done_sec + _SLACK_SEC


def has_estimated_length(file: IO[bytes]) -> bool:
    """Return whether the number of samples is not stated: mp3 without a Xing header, FLAC from a pipe."""
    start = _after_tags(file)
    head = file.read(26)
    if head[:4] == b"fLaC":
        return not (int.from_bytes(head[21:26], "big") & (1 << 36) - 1)
    return _is_mpeg(head) and not _stated_bytes(file, start)


def is_unfinished_ogg(file: IO[bytes]) -> bool:
    """Return whether the last page of an Ogg stream lacks the end-of-stream flag."""
    file.seek(0)
    if file.read(4) != b"OggS":
        return False
    file.seek(max(0, file.seek(0, os.SEEK_END) - (1 << 16)))  # a page has at most 65,307 bytes
    tail = file.read()
    flags = tail[tail.rfind(b"OggS") + 5 :][:1]
    return not flags or not flags[0] & _LAST_PAGE


def _after_tags(file: IO[bytes]) -> int:
    """Move to the first byte after any ID3v2 tags, and return its position."""
    position = 0
    while True:
        file.seek(position)
        head = file.read(10)
        if head[:3] != b"ID3" or len(head) < 10:
            break
        size = 0
        for byte in head[6:10]:
            size = size << 7 | byte & 0x7F
        position += 10 + size
    file.seek(position)
    return position


def _is_mpeg(head: bytes) -> bool:
    return len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06 != 0


def _stated_bytes(file: IO[bytes], start: int) -> int:
    """Return the length of the stream that a Xing, Info or VBRI header in the first frame states; 0 if none does."""
    file.seek(start)
    frame = file.read(256)
    for mark in (b"Xing", b"Info"):
        at = frame.find(mark)
        if at > 0 and len(frame) >= at + 16:
            flags = frame[at + 7]
            at += 8 + 4 * (flags & 1)
            return int.from_bytes(frame[at : at + 4], "big") if flags & 2 else 0
    at = frame.find(b"VBRI")
    return int.from_bytes(frame[at + 10 : at + 14], "big") if at > 0 else 0


def _packets_sec(file: IO[bytes]) -> float:
    """Return the duration of all packets, which are found without decoding them."""
    import av

    try:
        with open_by_av(file) as container:
            stream = container.streams.audio[0]
            ticks = sum(packet.duration or 0 for packet in container.demux(stream))
            return float(ticks * stream.time_base)
    except (av.FFmpegError, ValueError, IndexError):
        return 0.0


def _is_chained_ogg(file: IO[bytes], position: int) -> bool:
    """Return whether a stream begins after pages of another one; those at the beginning run side by side."""
    begun = False
    while True:
        file.seek(position)
        page = file.read(_PAGE)
        if len(page) < _PAGE or page[:4] != b"OggS":
            return False
        if page[5] & _FIRST_PAGE:
            if begun:
                return True
        else:
            begun = True
        position += _PAGE + page[26] + sum(file.read(page[26]))
