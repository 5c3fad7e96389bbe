"""Standard MIDI files read into the one merged track that MTF is written from, and files written back.

The reader creates no object per message: a channel message is looked up by its three bytes, so the text of a repeated
message (most are) is built once. Messages are those of mido's ``merged_track``, in the same order and with the same
text; the tests compare with mido message by message.

Accepted is what mido accepts (without its ``clip``: a data byte above 127 is an error), and also RIFF-wrapped files,
chunks of unknown type between tracks if their names are printable, escapes (0xF7), and more than 32,767 tracks.
Refused are files of type 2 (their tracks have no common time), variable-length quantities above 8 bytes, messages above
1,000,000 bytes, and everything that is cut short or undefined. That includes headers of which mido reads no track at
all, because it takes their count for a negative one, or the rest of the file for the header.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from clamp3.errors import FormatError

CHANNEL_TYPES = {  # name -> (status of channel 0, number of data bytes)
    "note_off": (0x80, 2),
    "note_on": (0x90, 2),
    "polytouch": (0xA0, 2),
    "control_change": (0xB0, 2),
    "program_change": (0xC0, 1),
    "aftertouch": (0xD0, 1),
    "pitchwheel": (0xE0, 2),
}
SYSTEM_TYPES = {  # name -> (status, number of data bytes)
    "quarter_frame": (0xF1, 1),
    "songpos": (0xF2, 2),
    "song_select": (0xF3, 1),
    "tune_request": (0xF6, 0),
    "clock": (0xF8, 0),
    "start": (0xFA, 0),
    "continue": (0xFB, 0),
    "stop": (0xFC, 0),
    "active_sensing": (0xFE, 0),
}
TEXT_TYPES = {  # what M3-compatible text leaves out
    "text": 0x01,
    "copyright": 0x02,
    "track_name": 0x03,
    "instrument_name": 0x04,
    "lyrics": 0x05,
    "marker": 0x06,
    "cue_marker": 0x07,
    "device_name": 0x09,
}
META_TYPES = {  # name -> (type byte, minimum number of data bytes)
    "sequence_number": (0x00, 0),
    "channel_prefix": (0x20, 1),
    "midi_port": (0x21, 0),
    "end_of_track": (0x2F, 0),
    "set_tempo": (0x51, 3),
    "smpte_offset": (0x54, 5),
    "time_signature": (0x58, 4),
    "key_signature": (0x59, 2),
    "sequencer_specific": (0x7F, 0),
}
FRAME_RATES = {0: "24", 1: "25", 2: "29.97", 3: "30"}
_MAJOR = ("Cb", "Gb", "Db", "Ab", "Eb", "Bb", "F", "C", "G", "D", "A", "E", "B", "F#", "C#")
_MINOR = ("Ab", "Eb", "Bb", "F", "C", "G", "D", "A", "E", "B", "F#", "C#", "G#", "D#", "A#")
KEYS = {name: (sharps, 0) for sharps, name in enumerate(_MAJOR, -7)}
KEYS |= {name + "m": (sharps, 1) for sharps, name in enumerate(_MINOR, -7)}
PITCH_CENTRE = 8192

MAX_NUMBER_BYTES = 8  # a variable-length number; the standard allows 4
MAX_MESSAGE_BYTES = 1_000_000  # mido's limit

KEY_NAMES = {signature: name for name, signature in KEYS.items()}
_TEXT_NAMES = {kind: name for name, kind in TEXT_TYPES.items()}
_META_NAMES = {kind: name for name, (kind, _) in META_TYPES.items()}
_END_OF_TRACK = META_TYPES["end_of_track"][0]

_SYSEX, _UNDEFINED = -1, -2
_NAMES = [""] * 256
_N_DATA = [_UNDEFINED] * 256  # data bytes after each status byte
for _name, (_status, _n) in CHANNEL_TYPES.items():
    _NAMES[_status : _status + 16] = [_name] * 16
    _N_DATA[_status : _status + 16] = [_n] * 16
for _name, (_status, _n) in SYSTEM_TYPES.items():
    _NAMES[_status] = _name
    _N_DATA[_status] = _n
_N_DATA[0xF0] = _N_DATA[0xF7] = _SYSEX

Message = tuple[str, str]
"""A message's text before and after its delta time."""


class _Fault(Exception):
    """What is wrong with some bytes; the reader adds where."""


@dataclass
class MergedTrack:
    """Messages of all tracks in file order with their absolute times.

    Attributes
    ----------
    ticks_per_beat : int
        Negative if the file counts SMPTE frames, as in mido.
    times : list of int
        Absolute time of each message in ticks.
    messages : list of Message
        End-of-track messages left out.
    text_like : set of int
        Indices of the messages whose type is one of ``TEXT_TYPES``.
    end : int
        Time of the last end of a track.
    has_notes : bool
    notes : list of str
        What is unusual about the file.
    """

    ticks_per_beat: int
    times: list[int] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    text_like: set[int] = field(default_factory=set)
    end: int = 0
    has_notes: bool = False
    notes: list[str] = field(default_factory=list)
    escapes: int = 0


def read_midi(data: bytes, *, keep_unknown_time: bool = False) -> MergedTrack:
    """Read a Standard MIDI File.

    Parameters
    ----------
    data : bytes
        A whole file of type 0 or 1, bare or inside RIFF (``.rmi``).
    keep_unknown_time : bool
        Keep the delta time of meta messages of unknown type, which mido, and so the published texts, lose.

    Returns
    -------
    MergedTrack

    Raises
    ------
    FormatError
        If the file is not MIDI, is cut short, breaks the format or exceeds a limit.

    References
    ----------
    Standard MIDI Files 1.0, RP-001 (MIDI Manufacturers Association).
    """
    data, notes = _unwrap(data)
    chunks = _chunks(data)
    header = next(chunks)[1]
    kind, n_tracks = int.from_bytes(header[0:2], "big"), int.from_bytes(header[2:4], "big")
    merged = MergedTrack(int.from_bytes(header[4:6], "big", signed=True), notes=notes)
    if kind == 2:
        raise FormatError("The MIDI file is of type 2: its tracks are independent and have no common time.")
    cache: dict[bytes, Message] = {}
    n_read = 0
    while n_read < n_tracks:
        name, content = next(chunks, (b"", b""))
        if not name:
            raise FormatError(f"The MIDI file is cut short: its header counts {n_tracks} tracks, {n_read} are there.")
        if name != b"MTrk":
            if not (name.isascii() and name.decode("ascii").isprintable()):
                raise FormatError(f"After track {n_read} the MIDI file goes on with bytes that are no chunk: {name!r}.")
            merged.notes.append(f"A chunk of unknown type {name!r} was skipped.")
            continue
        n_read += 1
        _read_track(content, n_read, merged, cache, keep_unknown_time)
    if surplus := _count_tracks(chunks):
        merged.notes.append(f"{surplus} of {n_read + surplus} tracks were left out: the header counts {n_tracks}.")
    if merged.escapes:
        merged.notes.append(f"{merged.escapes} escape messages (0xF7) with bytes above 127 were left out.")
    merged.has_notes = any(0x90 <= event[0] <= 0x9F and event[2] for event in cache)
    return merged


def write_midi(ticks_per_beat: int, *tracks: Iterable[tuple[int, bytes]]) -> bytes:
    """Write a file of type 1, byte for byte as mido would.

    Parameters
    ----------
    ticks_per_beat : int
        16 bits, signed.
    *tracks : iterable of (int, bytes)
        Delta time in ticks and the message: channel and system messages with their status byte, sysex
        (0xF0, data, 0xF7) without length, meta messages whole. The last one must be an end of track.

    Returns
    -------
    bytes
    """
    header = b"MThd\x00\x00\x00\x06\x00\x01" + len(tracks).to_bytes(2, "big")
    header += ticks_per_beat.to_bytes(2, "big", signed=True)
    return b"".join([header, *map(_written, tracks)])


def _written(events: Iterable[tuple[int, bytes]]) -> bytes:
    """Return the chunk of one track."""
    track = bytearray()
    running = 0
    numbers = {delta: encode_number(delta) for delta in range(128)}
    for delta, message in events:
        track += numbers.get(delta) or encode_number(delta)
        status = message[0]
        if status < 0xF0:
            track += message[1:] if status == running else message
            running = status
            continue
        running = 0
        track += message if status != 0xF0 else b"\xf0" + encode_number(len(message) - 1) + message[1:]
    return b"MTrk" + len(track).to_bytes(4, "big") + bytes(track)


def encode_number(value: int) -> bytes:
    """Return a variable-length quantity: seven bits a byte, the high bit set on all bytes but the last."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F | 0x80)
    return bytes(reversed(groups))


def _unwrap(data: bytes) -> tuple[bytes, list[str]]:
    """Return the MIDI file inside a RIFF container, or the data if there is none."""
    if data[:4] != b"RIFF" or data[8:12] != b"RMID":
        return data, []
    pos = 12
    while pos + 8 <= len(data):
        name, size = data[pos : pos + 4], int.from_bytes(data[pos + 4 : pos + 8], "little")
        if name == b"data":
            return data[pos + 8 : pos + 8 + size], ["The MIDI file was taken out of a RIFF container."]
        pos += 8 + size + size % 2
    raise FormatError("The RIFF container is cut short or holds no MIDI data.")


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name and the content of each chunk; a size beyond the data is an error."""
    if not data:
        raise FormatError("The file is empty.")
    if data[:4] != b"MThd":
        raise FormatError(f"This is not a MIDI file: it starts with {data[:4]!r}, not with b'MThd'.")
    pos = 0
    while pos + 8 <= len(data):
        name, size = data[pos : pos + 4], int.from_bytes(data[pos + 4 : pos + 8], "big")
        content = data[pos + 8 : pos + 8 + size]
        if len(content) < size:
            claim = f"the chunk {name!r} at byte {pos} claims {size} bytes, {len(content)} are there"
            raise FormatError(f"The MIDI file is cut short: {claim}.")
        if pos == 0 and size < 6:
            raise FormatError(f"The MIDI file's header holds {size} bytes instead of 6.")
        yield name, content
        pos += 8 + size
    if pos == 0:
        raise FormatError("The MIDI file is cut short inside its header.")


def _count_tracks(chunks: Iterator[tuple[bytes, bytes]]) -> int:
    """Return how many whole tracks follow; what is cut short after the last counted track was never part of it."""
    n_tracks = 0
    try:
        for name, _ in chunks:
            n_tracks += name == b"MTrk"
    except FormatError:
        pass
    return n_tracks


def _read_track(
    track: bytes, number: int, merged: MergedTrack, cache: dict[bytes, Message], keep_unknown_time: bool
) -> None:
    """Append one track's messages to ``merged``; the hot loop of the reader.

    ``cache`` maps the three bytes of a channel message with two data bytes to its text, shared by all tracks.
    """
    add_time, add_message, known = merged.times.append, merged.messages.append, cache.get
    now, pos, end = 0, 0, len(track)
    last = b""  # the last message that is no meta message; its first byte is the running status
    try:
        while pos < end:
            delta = track[pos]
            pos += 1
            if delta > 0x7F:
                delta, pos = _number(track, pos - 1)
            now += delta
            event = track[pos : pos + 3]
            message = known(event)
            if message is not None:
                pos += 3
                last = event
            elif (first := track[pos]) == 0xFF:
                kind = track[pos + 1]
                payload, pos = _payload(track, pos + 2)
                if kind == _END_OF_TRACK:
                    continue
                if kind in _TEXT_NAMES:
                    merged.text_like.add(len(merged.times))
                elif kind not in _META_NAMES and not keep_unknown_time:
                    now -= delta
                message = _meta(kind, payload)
            else:
                if first > 0x7F:
                    last = event
                    pos += 1
                elif not last:
                    raise _Fault("a message has no status byte and none to repeat")
                n_data = _N_DATA[last[0]]
                if n_data == _SYSEX:
                    # As mido: after a sysex a byte without status starts another sysex and is itself lost.
                    payload, pos = _payload(track, pos + (first <= 0x7F))
                    if first == 0xF7 and not payload.removesuffix(b"\xf7").isascii():
                        merged.escapes += 1
                        continue
                    message = _sysex(payload)
                elif n_data == _UNDEFINED or (n_data == 0 and first <= 0x7F):
                    raise _misplaced(last[0])
                else:
                    event = last[:1] + track[pos : pos + n_data]
                    pos += n_data
                    if pos > end:
                        raise IndexError
                    message = known(event)
                    if message is None:
                        message = _short(event)
                        if n_data == 2:
                            cache[event] = message
            add_message(message)
            add_time(now)
    except IndexError:
        raise FormatError(f"Track {number} of the MIDI file is cut short inside a message.") from None
    except _Fault as fault:
        raise FormatError(f"Track {number} of the MIDI file, near byte {pos} of {end}: {fault}.") from None
    merged.end = max(merged.end, now)


def _misplaced(status: int) -> _Fault:
    if _N_DATA[status] == _UNDEFINED:
        return _Fault(f"the status byte 0x{status:02x} is undefined")
    return _Fault("a message has no status byte and its predecessor takes no data")


def _number(data: bytes, pos: int) -> tuple[int, int]:
    """Read a variable-length quantity; return it and the position after it."""
    value = 0
    for byte in data[pos : pos + MAX_NUMBER_BYTES]:
        value = value << 7 | byte & 0x7F
        pos += 1
        if byte < 0x80:
            return value, pos
    if pos >= len(data):
        raise IndexError
    raise _Fault(f"a time or a length takes more than {MAX_NUMBER_BYTES} bytes")


def _payload(data: bytes, pos: int) -> tuple[bytes, int]:
    """Read a length and that many bytes; return them and the position after them."""
    size, pos = _number(data, pos)
    if size > MAX_MESSAGE_BYTES:
        raise _Fault(f"a message claims {size} bytes; the limit is {MAX_MESSAGE_BYTES}")
    if pos + size > len(data):
        raise IndexError
    return data[pos : pos + size], pos + size


@lru_cache(maxsize=1 << 14)
def _short(event: bytes) -> Message:
    """Return the text of a channel or system message."""
    status, data = event[0], event[1:]
    name = _NAMES[status]
    if not data.isascii():
        raise _Fault(f"a {name} message has a data byte above 127")
    if 0xE0 <= status < 0xF0:
        values = [status & 0x0F, (data[0] | data[1] << 7) - PITCH_CENTRE]
    elif status < 0xE0:
        values = [status & 0x0F, *data]
    elif name == "songpos":
        values = [data[0] | data[1] << 7]
    elif name == "quarter_frame":
        values = [data[0] >> 4, data[0] & 0x0F]
    else:
        values = list(data)
    return f"{name} ", "".join(f" {value}" for value in values)


def _sysex(payload: bytes) -> Message:
    payload = payload[payload[:1] == b"\xf0" :]
    if payload[-1:] == b"\xf7":
        payload = payload[:-1]
    if not payload.isascii():
        raise _Fault("a sysex message has a data byte above 127")
    return "sysex ", f" {list(payload)}"


def _meta(kind: int, payload: bytes) -> Message:
    """Return the text of a meta message, whose delta time comes last."""
    if kind in _TEXT_NAMES:
        text = payload.decode("latin-1").encode("unicode_escape").decode("ascii")
        return f"{_TEXT_NAMES[kind]} {text} ", ""
    if kind not in _META_NAMES:
        return f"unknown_meta {kind} {tuple(payload)} ", ""
    name = _META_NAMES[kind]
    if len(payload) < META_TYPES[name][1] or (name == "sequence_number" and len(payload) == 1):
        raise _Fault(f"a {name} message has only {len(payload)} bytes")
    if name in ("sequence_number", "set_tempo"):
        value = str(int.from_bytes(payload[: 3 if name == "set_tempo" else 2], "big"))
    elif name in ("channel_prefix", "midi_port"):
        value = str(payload[0] if payload else 0)
    elif name == "smpte_offset":
        value = _smpte_offset(payload)
    elif name == "time_signature":
        value = f"{payload[0]} {1 << payload[1]} {payload[2]} {payload[3]}"
    elif name == "key_signature":
        signature = (int.from_bytes(payload[:1], "big", signed=True), payload[1])
        if signature not in KEY_NAMES:
            raise _Fault(f"a key_signature message names no key: {signature[0]} sharps, mode {signature[1]}")
        value = KEY_NAMES[signature]
    else:
        value = str(tuple(payload))
    return f"{name} {value} ", ""


def _smpte_offset(payload: bytes) -> str:
    rate, hours = payload[0] >> 5, payload[0] & 0x1F
    minutes, seconds, frames, sub_frames = payload[1:5]
    if rate not in FRAME_RATES or minutes > 59 or seconds > 59 or sub_frames > 99:
        raise _Fault(f"a smpte_offset message holds impossible values: {list(payload[:5])}")
    return f"{FRAME_RATES[rate]} {hours} {minutes} {seconds} {frames} {sub_frames}"
