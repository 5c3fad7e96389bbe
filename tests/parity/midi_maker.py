"""Random MIDI files with every message type mido can write, and the published way to turn MIDI into MTF."""

import io

import mido
from mido.midifiles.meta import _META_SPEC_BY_TYPE, _key_signature_encode

# What the published text leaves out.
TEXT_TYPES = ["text", "copyright", "track_name", "instrument_name", "lyrics", "marker", "cue_marker", "device_name"]
META_TYPES = sorted(_META_SPEC_BY_TYPE)
KEYS = sorted(_key_signature_encode)
CHANNEL_RANGES = {
    "note_on": ("note", "velocity"),
    "note_off": ("note", "velocity"),
    "polytouch": ("note", "value"),
    "control_change": ("control", "value"),
    "program_change": ("program",),
    "aftertouch": ("value",),
}
OTHER_TYPES = ("pitchwheel", "sysex", "quarter_frame", "songpos", "song_select", "active_sensing", "unknown_meta")


def released_mtf(data, m3_compatible=True):
    """Return the text as the published script writes it: mido's merged track, message dict by message dict."""
    file = mido.MidiFile(file=io.BytesIO(data))
    lines = [f"ticks_per_beat {file.ticks_per_beat}"]
    for message in file.merged_track:
        if m3_compatible and message.type in TEXT_TYPES:
            continue
        values = " ".join(str(value) for value in message.dict().values())
        lines.append(values.encode("unicode_escape").decode("ascii"))
    return "\n".join(lines)


def random_message(rng, kind):
    """Return a message of one type with random values."""

    def data(limit, most=6):
        return [rng.randrange(limit) for _ in range(rng.randrange(most))]

    if kind in CHANNEL_RANGES:
        values = {name: rng.randrange(128) for name in CHANNEL_RANGES[kind]}
        return mido.Message(kind, channel=rng.randrange(16), **values)
    if kind in OTHER_TYPES:
        return {
            "pitchwheel": lambda: mido.Message(kind, channel=rng.randrange(16), pitch=rng.randrange(-8192, 8192)),
            "sysex": lambda: mido.Message(kind, data=data(128)),
            "quarter_frame": lambda: mido.Message(kind, frame_type=rng.randrange(8), frame_value=rng.randrange(16)),
            "songpos": lambda: mido.Message(kind, pos=rng.randrange(16384)),
            "song_select": lambda: mido.Message(kind, song=rng.randrange(128)),
            "active_sensing": lambda: mido.Message(kind),
            "unknown_meta": lambda: mido.UnknownMetaMessage(rng.choice([8, 10, 0x30, 0x60, 0x7E]), data=data(256)),
        }[kind]()
    if kind in TEXT_TYPES:
        name = "name" if kind.endswith("name") else "text"
        return mido.MetaMessage(kind, **{name: "".join(map(chr, data(256, 12)))})
    values = {
        "sequence_number": lambda: {"number": rng.randrange(1 << 16)},
        "channel_prefix": lambda: {"channel": rng.randrange(256)},
        "midi_port": lambda: {"port": rng.randrange(256)},
        "end_of_track": lambda: {},
        "set_tempo": lambda: {"tempo": rng.randrange(1 << 24)},
        "smpte_offset": lambda: {
            "frame_rate": rng.choice([24, 25, 29.97, 30]),
            "hours": rng.randrange(32),
            "minutes": rng.randrange(60),
            "seconds": rng.randrange(60),
            "frames": rng.randrange(256),
            "sub_frames": rng.randrange(100),
        },
        "time_signature": lambda: {
            "numerator": rng.randrange(256),
            "denominator": 2 ** rng.randrange(8),
            "clocks_per_click": rng.randrange(256),
            "notated_32nd_notes_per_beat": rng.randrange(256),
        },
        "key_signature": lambda: {"key": rng.choice(KEYS)},
        "sequencer_specific": lambda: {"data": tuple(data(256))},
    }[kind]()
    return mido.MetaMessage(kind, **values)


def random_file(rng, n_messages=40):
    """Return the bytes of a file of one to four tracks that mido wrote."""
    kinds = sorted({*CHANNEL_RANGES, *OTHER_TYPES, *META_TYPES})
    file = mido.MidiFile(ticks_per_beat=rng.randrange(1, 1 << 15))
    for _ in range(rng.randrange(1, 5)):
        track = mido.MidiTrack()
        for _ in range(rng.randrange(n_messages)):
            kind = rng.choice(kinds) if rng.random() < 0.7 else "note_on"
            time = rng.choice([0, 0, 1, rng.randrange(300), rng.randrange(1 << 28)])
            message = random_message(rng, kind)
            message.time = time
            track.append(message)
        file.tracks.append(track)
    return saved(file)


def saved(file):
    """Return the bytes mido writes for a file."""
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def damaged(rng, data):
    """Return the bytes with a few of them changed, removed or added."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5])):
        at, what = rng.randrange(14, len(data)), rng.random()
        if what < 0.6:
            data[at] = rng.choice([rng.randrange(256), 0xF0, 0xF7, 0xF8, 0xF6, 0xFF, 0x80, 0x2F, 0xFA])
        elif what < 0.8:
            del data[at]
        else:
            data.insert(at, rng.randrange(256))
    return bytes(data)
