"""MIDI to MTF (MIDI Text Format), the text that CLaMP 2 and 3 read performances from, and back.

An MTF text starts with ``ticks_per_beat N``; then every line is one message of the merged track: the
type, its values and the delta time in ticks, separated by spaces (channel and system messages have the
time right after the type, meta messages last). Characters that would break a line are escaped.

References
----------
CLaMP 2 (arXiv 2410.13267), section 3.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from clamp3.errors import FormatError
from clamp3.formats import Converted
from clamp3.formats.midi import (
    CHANNEL_TYPES,
    FRAME_RATES,
    KEYS,
    MAX_MESSAGE_BYTES,
    MAX_NUMBER_BYTES,
    META_TYPES,
    PITCH_CENTRE,
    SYSTEM_TYPES,
    TEXT_TYPES,
    encode_number,
    read_midi,
    write_midi,
)

TIME_FIRST = frozenset({*CHANNEL_TYPES, *SYSTEM_TYPES, "sysex"})  # the delta time follows their name, else it is last
_HEAD = "ticks_per_beat"
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,77}")
_ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|.?)", re.DOTALL)
_ESCAPED = {"\\": "\\", "n": "\n", "r": "\r", "t": "\t"}
_MAX_DELTA = (1 << 7 * MAX_NUMBER_BYTES) - 1
_RATE_CODES = {text: code for code, text in FRAME_RATES.items()}


def midi_to_mtf(
    data: bytes, *, m3_compatible: bool = True, keep_timing: bool = False, without: Collection[str] = ()
) -> Converted:
    r"""Convert a MIDI file.

    Parameters
    ----------
    data : bytes
        A Standard MIDI File of type 0 or 1.
    m3_compatible : bool
        Leave out the text-like messages (names, lyrics, markers …), as the published weights expect.
    keep_timing : bool
        Add the delta times of text-like messages, which are lost with them otherwise, to the message that follows.
    without : collection of str
        Types of further messages to leave out in the same way; CLaMP 2 and M3 learned no ``sysex`` and no
        ``sequencer_specific``.

    Returns
    -------
    Converted
        The text without a final newline, and notes, such as how many ticks were lost.

    Raises
    ------
    FormatError
        If the file cannot be read as MIDI.

    Examples
    --------
    >>> note = mtf_to_midi("ticks_per_beat 480\nnote_on 0 0 60 80\nnote_off 480 0 60 0\nend_of_track 0")
    >>> print(midi_to_mtf(note).text)
    ticks_per_beat 480
    note_on 0 0 60 80
    note_off 480 0 60 0
    end_of_track 0
    """
    merged = read_midi(data, keep_unknown_time=keep_timing)
    times, messages = merged.times, merged.messages
    dropped = merged.text_like if m3_compatible else set()
    if without:
        further = {index for index, (before, _) in enumerate(messages) if before.partition(" ")[0] in without}
        dropped = dropped | further
    lines = [f"{_HEAD} {merged.ticks_per_beat}"]
    add = lines.append
    last = lost = 0
    for index in sorted(range(len(times)), key=times.__getitem__):  # stable: tracks keep their order
        now = times[index]
        if index in dropped:
            if not keep_timing:
                lost += now - last
                last = now
            continue
        before, after = messages[index]
        add(f"{before}{now - last}{after}")
        last = now
    add(f"end_of_track {merged.end - last}")
    notes = merged.notes
    if lost:
        what = f"text-like, {' and '.join(without)}" if without else "text-like"
        notes.append(f"{len(dropped)} {what} messages were left out, and {lost} ticks of time with them.")
    if merged.ticks_per_beat <= 0:
        notes.append(f"The time unit {merged.ticks_per_beat} is not ticks per beat (SMPTE frames or none).")
    if not merged.has_notes:
        notes.append("The file holds no note.")
    return Converted("\n".join(lines), tuple(notes))


def mtf_to_midi(text: str) -> bytes:
    """Write an MTF text as a MIDI file of type 1 with one track.

    Parameters
    ----------
    text : str
        MTF, any line ending. Blank lines are skipped; a missing end of track is added.

    Returns
    -------
    bytes
        Reading the file with `midi_to_mtf` gives the text again.

    Raises
    ------
    FormatError
        If a line is not a message; the message names its number.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    cache: dict[tuple[str, str], bytes] = {}
    events: list[tuple[int, bytes]] = []
    ticks_per_beat: int | None = None
    waiting = 0  # time of end-of-track messages before the last one
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            if ticks_per_beat is None:
                ticks_per_beat = _head(line)
                continue
            delta, message = _message(line, cache)
        except ValueError as error:
            raise FormatError(f"Line {number} of the MTF text ({line[:60]!r}): {error}.") from None
        if message:
            events.append((delta + waiting, message))
            waiting = 0
        else:
            waiting += delta
    if ticks_per_beat is None:
        raise FormatError(f"The MTF text is empty; its first line should be {_HEAD!r} and a number.")
    events.append((waiting, bytes([0xFF, META_TYPES["end_of_track"][0], 0])))
    return write_midi(ticks_per_beat, events)


def _head(line: str) -> int:
    word, _, value = line.partition(" ")
    if word != _HEAD:
        raise ValueError(f"an MTF text starts with {_HEAD!r} and a number")
    return _integer(value, -0x8000, 0x7FFF)


def _message(line: str, cache: dict[tuple[str, str], bytes]) -> tuple[int, bytes]:
    """Return delta time and bytes of one line; no bytes for an end of track."""
    name, _, rest = line.partition(" ")
    if name in TIME_FIRST:
        time, _, values = rest.partition(" ")
        message = cache.get((name, values))
        if message is None:
            message = cache[name, values] = _sysex(values) if name == "sysex" else _short(name, values.split())
        return _delta(time), message
    values, _, time = rest.rpartition(" ")
    if name == "end_of_track" and not values:
        return _delta(time), b""
    if name in TEXT_TYPES:
        kind, payload = TEXT_TYPES[name], _text(values)
    elif name == "unknown_meta":
        type_byte, _, values = values.partition(" ")
        kind, payload = _integer(type_byte, 0, 0xFF), _sequence(values, "()", 0xFF)
        if kind in TEXT_TYPES.values() or any(kind == known for known, _ in META_TYPES.values()):
            raise ValueError(f"the type byte {kind} belongs to a known meta message")
    elif name in META_TYPES:
        kind, payload = META_TYPES[name][0], _meta(name, values)
    else:
        raise ValueError("there is no such message in a MIDI file")
    if len(payload) > MAX_MESSAGE_BYTES:
        raise ValueError(f"a message may hold {MAX_MESSAGE_BYTES} bytes, not {len(payload)}")
    return _delta(time), b"\xff" + bytes([kind]) + encode_number(len(payload)) + payload


def _integer(text: str, low: int, high: int) -> int:
    if not _WHOLE_NUMBER.fullmatch(text):
        raise ValueError(f"{text[:20]!r} is not a whole number")
    value = int(text)
    if not low <= value <= high:
        raise ValueError(f"{value} is not in {low} to {high}")
    return value


def _delta(text: str) -> int:
    return _integer(text, 0, _MAX_DELTA)


def _numbers(texts: list[str], *highest: int) -> list[int]:
    """Return as many whole numbers from 0 as there are limits."""
    if len(texts) != len(highest):
        raise ValueError(f"{len(highest)} values are needed, got {len(texts)}")
    return [_integer(text, 0, high) for text, high in zip(texts, highest, strict=True)]


def _short(name: str, values: list[str]) -> bytes:
    """Return the bytes of a channel or system message from its values without the time."""
    if name in CHANNEL_TYPES:
        status, n_data = CHANNEL_TYPES[name]
        if name == "pitchwheel":
            if len(values) != 2:
                raise ValueError(f"2 values are needed, got {len(values)}")
            pitch = _integer(values[1], -PITCH_CENTRE, PITCH_CENTRE - 1) + PITCH_CENTRE
            return bytes([status | _integer(values[0], 0, 15), pitch & 0x7F, pitch >> 7])
        channel, *data = _numbers(values, 15, *[127] * n_data)
        return bytes([status | channel, *data])
    status, n_data = SYSTEM_TYPES[name]
    if name == "songpos":
        (position,) = _numbers(values, 0x3FFF)
        return bytes([status, position & 0x7F, position >> 7])
    if name == "quarter_frame":
        kind, value = _numbers(values, 7, 15)
        return bytes([status, kind << 4 | value])
    return bytes([status, *_numbers(values, *[127] * n_data)])


def _sysex(values: str) -> bytes:
    return b"\xf0" + _sequence(values, "[]", 0x7F) + b"\xf7"


def _sequence(text: str, brackets: str, highest: int) -> bytes:
    """Return the numbers of a list or tuple in Python's notation, without evaluating it."""
    if len(text) < 2 or text[0] + text[-1] != brackets:
        raise ValueError(f"numbers in {brackets} are needed")
    items = text[1:-1].removesuffix(",").split(", ") if text[1:-1] else []
    if len(items) >= MAX_MESSAGE_BYTES:
        raise ValueError(f"a message may hold fewer than {MAX_MESSAGE_BYTES} bytes")
    return bytes(_numbers(items, *[highest] * len(items)))


def _text(escaped: str) -> bytes:
    def restore(match: re.Match[str]) -> str:
        code = match[1]
        if code[:1] == "x" and len(code) == 3:
            return chr(int(code[1:], 16))
        if code not in _ESCAPED:
            raise ValueError(f"the escape {match[0]!r} is none of \\\\ \\n \\r \\t \\xhh")
        return _ESCAPED[code]

    text = _ESCAPE.sub(restore, escaped)
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"the character {text[error.start]!r} is not in Latin-1, which MIDI text is written in"
        ) from None


def _meta(name: str, values: str) -> bytes:
    """Return the data bytes of a meta message with numeric values."""
    items = values.split()
    if name == "sequence_number":
        return _numbers(items, 0xFFFF)[0].to_bytes(2, "big")
    if name == "set_tempo":
        return _numbers(items, 0xFFFFFF)[0].to_bytes(3, "big")
    if name in ("channel_prefix", "midi_port"):
        return bytes(_numbers(items, 0xFF))
    if name == "time_signature":
        numerator, denominator, clocks, notated = _numbers(items, 0xFF, 1 << 255, 0xFF, 0xFF)
        power = denominator.bit_length() - 1
        if denominator != 1 << max(power, 0):
            raise ValueError(f"the denominator {denominator} is not a power of two")
        return bytes([numerator, power, clocks, notated])
    if name == "key_signature":
        if values not in KEYS:
            raise ValueError(f"{values!r} is not a key")
        sharps, mode = KEYS[values]
        return bytes([sharps & 0xFF, mode])
    if name == "smpte_offset":
        if not items or items[0] not in _RATE_CODES:
            raise ValueError(f"the frame rate must be one of {', '.join(_RATE_CODES)}")
        hours, *others = _numbers(items[1:], 31, 59, 59, 0xFF, 99)
        return bytes([_RATE_CODES[items[0]] << 5 | hours, *others])
    if name == "sequencer_specific":
        return _sequence(values, "()", 0xFF)
    raise ValueError("end_of_track takes only a time")
