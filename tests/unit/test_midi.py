"""The MIDI reader and writer on bytes made by hand; the comparison with mido is in tests/parity."""

import time
import tracemalloc

import pytest

from clamp3.errors import FormatError
from clamp3.formats.midi import KEYS, encode_number, read_midi, write_midi
from clamp3.formats.mtf import midi_to_mtf, mtf_to_midi

END = b"\x00\xff\x2f\x00"


def chunk(name, content, size=None):
    return name + (len(content) if size is None else size).to_bytes(4, "big") + content


def midi(*tracks, kind=1, division=b"\x01\xe0", n_tracks=None):
    count = len(tracks) if n_tracks is None else n_tracks
    header = kind.to_bytes(2, "big") + count.to_bytes(2, "big") + division
    return chunk(b"MThd", header) + b"".join(chunk(b"MTrk", track) for track in tracks)


def lines(data, **options):
    return midi_to_mtf(data, **options).text.split("\n")


def test_every_channel_message_and_running_status():
    track = (
        b"\x00\x93\x3c\x50"  # note on, channel 3
        b"\x60\x3c\x00"  # running status, 96 ticks later
        b"\x81\x00\x83\x40\x01"  # note off after 128 ticks
        b"\x00\xa0\x10\x11\x00\xbf\x40\x7f\x00\xc1\x05\x00\x06"  # the last one runs on program change
        b"\x00\xd2\x22\x00\xe0\x00\x00\x00\xe0\x00\x40\x00\x7f\x7f" + END
    )
    assert lines(midi(track)) == [
        "ticks_per_beat 480",
        "note_on 0 3 60 80",
        "note_on 96 3 60 0",
        "note_off 128 3 64 1",
        "polytouch 0 0 16 17",
        "control_change 0 15 64 127",
        "program_change 0 1 5",
        "program_change 0 1 6",
        "aftertouch 0 2 34",
        "pitchwheel 0 0 -8192",
        "pitchwheel 0 0 0",
        "pitchwheel 0 0 8191",
        "end_of_track 0",
    ]


def test_every_meta_message():
    track = (
        b"\x00\xff\x00\x02\x01\x02\x00\xff\x20\x01\x05\x00\xff\x21\x01\x07"
        b"\x00\xff\x51\x03\x07\xa1\x20\x00\xff\x54\x05\x41\x02\x03\x04\x05"
        b"\x00\xff\x58\x04\x06\x03\x24\x08\x00\xff\x59\x02\x03\x01\x00\xff\x59\x02\xf9\x00"
        b"\x00\xff\x7f\x02\x00\xff\x00\xff\x7f\x01\x2a\x00\xff\x08\x01\x2a" + END
    )
    assert lines(midi(track))[1:] == [
        "sequence_number 258 0",
        "channel_prefix 5 0",
        "midi_port 7 0",
        "set_tempo 500000 0",
        "smpte_offset 29.97 1 2 3 4 5 0",
        "time_signature 6 8 36 8 0",
        "key_signature F#m 0",
        "key_signature Cb 0",
        "sequencer_specific (0, 255) 0",
        "sequencer_specific (42,) 0",
        "unknown_meta 8 (42,) 0",
        "end_of_track 0",
    ]


def test_sysex_and_system_messages():
    track = (
        b"\x00\xf0\x03\x43\x10\xf7\x05\xf7\x01\x01\x00\xf0\x01\xf7\x00\xf1\x35\x00\xf2\x01\x02\x00\xf3\x04\x00\xf8"
        + END
    )
    assert lines(midi(track))[1:-1] == [
        "sysex 0 [67, 16]",
        "sysex 5 [1]",
        "sysex 0 []",
        "quarter_frame 0 3 5",
        "songpos 0 257",
        "song_select 0 4",
        "clock 0",
    ]


def test_text_is_one_escaped_line():
    track = b"\x00\xff\x01\x06a\n\\\xe9 \x00" + END
    assert lines(midi(track), m3_compatible=False)[1] == r"text a\n\\\xe9 \x00 0"


def test_tracks_merge_by_time_and_keep_their_order():
    first = b"\x00\x90\x01\x01\x0a\x90\x02\x01" + b"\x20\xff\x2f\x00"
    second = b"\x00\x91\x03\x01\x0a\x91\x04\x01\x05\x91\x05\x01" + END
    assert lines(midi(first, second)) == [
        "ticks_per_beat 480",
        "note_on 0 0 1 1",
        "note_on 0 1 3 1",
        "note_on 10 0 2 1",
        "note_on 0 1 4 1",
        "note_on 5 1 5 1",
        "end_of_track 27",  # the later end of the two: 42 - 15
    ]


def test_an_end_of_track_inside_a_track_gives_its_time_to_the_next_message():
    track = b"\x03\x90\x01\x01\x07\xff\x2f\x00\x01\x90\x02\x01" + END
    assert lines(midi(track))[1:] == ["note_on 3 0 1 1", "note_on 8 0 2 1", "end_of_track 0"]


NAMED = b"\x05\x90\x01\x01\x0a\xff\x03\x01A\x02\x90\x02\x01\x04\xff\x06\x00\x01\xff\x2f\x00"


def test_dropped_messages_take_their_time_with_them_unless_kept():
    assert lines(midi(NAMED))[1:] == ["note_on 5 0 1 1", "note_on 2 0 2 1", "end_of_track 1"]
    assert lines(midi(NAMED), keep_timing=True)[1:] == ["note_on 5 0 1 1", "note_on 12 0 2 1", "end_of_track 5"]
    assert lines(midi(NAMED), m3_compatible=False)[2] == "track_name A 10"


def test_lost_time_is_said():
    assert midi_to_mtf(midi(NAMED)).notes == ("2 text-like messages were left out, and 14 ticks of time with them.",)
    assert midi_to_mtf(midi(NAMED), keep_timing=True).notes == ()


def test_time_of_unknown_meta_messages_is_lost_as_in_mido_unless_kept():
    track = b"\x07\xff\x60\x00\x02\x90\x01\x01" + END
    assert lines(midi(track))[1:3] == ["unknown_meta 96 () 0", "note_on 2 0 1 1"]
    assert lines(midi(track), keep_timing=True)[1:3] == ["unknown_meta 96 () 7", "note_on 2 0 1 1"]


def test_riff_wrapped_files_are_unwrapped():
    plain = midi(b"\x00\x90\x01\x01" + END)
    data = b"data" + len(plain).to_bytes(4, "little") + plain
    info = b"DISP" + (3).to_bytes(4, "little") + b"abc\0"
    wrapped = b"RIFF" + (4 + len(info) + len(data)).to_bytes(4, "little") + b"RMID" + info + data
    assert lines(wrapped) == lines(plain)
    assert midi_to_mtf(wrapped).notes == ("The MIDI file was taken out of a RIFF container.",)
    with pytest.raises(FormatError, match="RIFF container is cut short or holds no MIDI"):
        midi_to_mtf(b"RIFF\x04\x00\x00\x00RMIDdat")


def test_chunks_of_unknown_type_are_passed_over_and_said():
    plain = midi(b"\x00\x90\x01\x01" + END)
    data = plain[:14] + chunk(b"XFIH", b"abc") + plain[14:]
    assert lines(data) == lines(plain)
    assert "b'XFIH'" in midi_to_mtf(data).notes[0]


@pytest.mark.parametrize(
    ("division", "first"), [(b"\x00\x00", "ticks_per_beat 0"), (b"\xe7\x28", "ticks_per_beat -6360")]
)
def test_time_without_beats_is_kept_and_said(division, first):
    converted = midi_to_mtf(midi(b"\x00\x90\x01\x01" + END, division=division))
    assert converted.text.split("\n")[0] == first
    assert "not ticks per beat" in converted.notes[0]
    assert midi_to_mtf(mtf_to_midi(converted.text)).text == converted.text


def test_a_file_without_notes_is_said():
    assert midi_to_mtf(midi(b"\x00\x90\x01\x00" + END)).notes == ("The file holds no note.",)
    assert lines(midi(n_tracks=0)) == ["ticks_per_beat 480", "end_of_track 0"]


NOTE = b"\x00\x90\x3c\x50"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "not a MIDI file"),
        (b"MThd\x00\x00", "cut short inside its header"),
        (chunk(b"MThd", b"\x00\x01"), "header holds 2 bytes"),
        (
            chunk(b"MThd", b"\x00\x01\x00\x01\x01\xe0") + chunk(b"MTrk", bytes(1000), 200_000_000),
            "claims 200000000 bytes",
        ),
        (midi(NOTE + END)[:-3], "claims 8 bytes, 5 are there"),
        (midi(NOTE, n_tracks=0xFFFF), "65535 tracks, 1 are there"),
        (midi(NOTE[:3]), "Track 1 of the MIDI file is cut short inside a message"),
        (midi(NOTE + END, NOTE + b"\x00\x90\x01"), "Track 2 .* cut short"),
        (midi(NOTE + b"\x00"), "cut short inside a message"),
        (midi(b"\x00\xff\x01\x05abc"), "cut short inside a message"),
        (midi(b"\x00\xff\x01\xff\xff\xff\x7fabc"), "claims 268435455 bytes; the limit is 1000000"),
        (midi(b"\xff" * 9 + b"\x00" + NOTE), "more than 8 bytes"),
        (midi(b"\xff" * 100_000), "more than 8 bytes"),
        (midi(b"\x00\x3c\x50"), "no status byte and none to repeat"),
        (midi(b"\x00\xf8\x00\x01" + END), "its predecessor takes no data"),
        (midi(b"\x00\xf4" + END), "status byte 0xf4 is undefined"),
        (midi(b"\x00\x90\x3c\x80" + END), "note_on message has a data byte above 127"),
        (midi(b"\x00\xf0\x02\x80\xf7" + END), "sysex message has a data byte above 127"),
        (midi(b"\x00\xff\x51\x02\x01\x01" + END), "set_tempo message has only 2 bytes"),
        (midi(b"\x00\xff\x00\x01\x01" + END), "sequence_number message has only 1 bytes"),
        (midi(b"\x00\xff\x59\x02\x08\x00" + END), "names no key: 8 sharps, mode 0"),
        (midi(b"\x00\xff\x54\x05\x00\x3c\x00\x00\x00" + END), "smpte_offset message holds impossible values"),
        (midi(NOTE + END, kind=2), "type 2"),
    ],
)
def test_hostile_and_broken_files_end_in_one_sentence(data, said):
    started = time.process_time()
    with pytest.raises(FormatError, match=said):
        midi_to_mtf(data)
    assert time.process_time() - started < 0.5


def test_memory_is_not_taken_by_claimed_size():
    data = chunk(b"MThd", b"\x00\x01\xff\xff\x01\xe0") + chunk(b"MTrk", bytes(900), 200_000_000)
    tracemalloc.start()
    with pytest.raises(FormatError):
        read_midi(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


def test_many_real_tracks_are_read():
    assert len(lines(midi(*[NOTE + END] * 40_000))) == 40_002


@pytest.mark.parametrize(
    ("value", "written"),
    [(0, "00"), (127, "7f"), (128, "8100"), (8192, "c000"), (0xFFFFFFF, "ffffff7f"), (1 << 28, "8180808000")],
)
def test_numbers_are_written_as_the_standard_shows(value, written):
    assert encode_number(value).hex() == written


def test_the_writer_uses_running_status():
    track = [
        (0, b"\x90\x3c\x50"),
        (200, b"\x90\x3c\x00"),
        (0, b"\xf0\x01\xf7"),
        (0, b"\x90\x01\x01"),
        (1, b"\xff\x2f\x00"),
    ]
    content = b"\x00\x90\x3c\x50\x81\x48\x3c\x00\x00\xf0\x02\x01\xf7\x00\x90\x01\x01\x01\xff\x2f\x00"
    assert write_midi(96, track) == midi(content, division=b"\x00\x60")


def test_there_are_fifteen_major_and_fifteen_minor_keys():
    assert len(KEYS) == 30
    assert KEYS["C"] == (0, 0) and KEYS["Am"] == (0, 1) and KEYS["Cb"] == (-7, 0) and KEYS["A#m"] == (7, 1)


def test_escapes_are_legal_and_said_where_no_message_can_hold_them():
    track = b"\x00\x90\x3c\x50\x10\xf7\x02\xf3\x01\x10\xf7\x01\x05\x00\xf7\x01\xf8\x60\x90\x3c\x00" + END
    read = midi_to_mtf(midi(track))
    assert read.text.split("\n")[1:-1] == ["note_on 0 0 60 80", "sysex 32 [5]", "note_on 96 0 60 0"]
    assert read.notes == ("2 escape messages (0xF7) with bytes above 127 were left out.",)


def test_tracks_beyond_the_count_are_said():
    two = midi(NOTE, NOTE, n_tracks=1)
    for data in (two, two + b"MTrk\xff\xff\xff\xff"):
        assert midi_to_mtf(data).text == midi_to_mtf(midi(NOTE)).text
        assert midi_to_mtf(data).notes == ("1 of 2 tracks were left out: the header counts 1.",)


HEADER = b"\x00\x01\x00\x02\x01\xe0"
TRACK = chunk(b"MTrk", NOTE + END)


@pytest.mark.parametrize(
    ("data", "said"),
    [  # mido takes these for files without a track
        (chunk(b"MThd", b"\x00\x01\xff\x01\x01\xe0") + TRACK, "header counts 65281 tracks, 1 are there"),
        (chunk(b"MThd", HEADER[:2] + b"\x00\x00" + HEADER[4:], 0x106) + TRACK, "claims 262 bytes"),
        (chunk(b"MThd", HEADER) + TRACK + chunk(b"\x00\xff/\x00", bytes(8)) + TRACK, "bytes that are no chunk"),
        (chunk(b"MThd", HEADER) + TRACK + bytes(8) + TRACK, "After track 1 .* bytes that are no chunk"),
        (chunk(b"MThd", HEADER) + TRACK + chunk(b"MTrj", NOTE + END), "header counts 2 tracks, 1 are there"),
    ],
)
def test_headers_and_chunks_that_are_damage_are_refused(data, said):
    with pytest.raises(FormatError, match=said):
        midi_to_mtf(data)


def test_chunks_that_programs_write_between_tracks_are_skipped_and_said():
    made = midi_to_mtf(chunk(b"MThd", HEADER) + TRACK + chunk(b"XFIH", bytes(8)) + TRACK)
    assert made.text.count("note_on") == 2
    assert any("unknown type b'XFIH'" in note for note in made.notes)


def test_a_beat_that_mido_loses_in_floating_point_is_read_like_its_neighbours():
    for power in (28, 29, 30):
        metre = b"\x00\xff\x58\x04\x04" + bytes([power]) + b"\x18\x08"
        assert f"time_signature 4 {1 << power} 24 8 0" in midi_to_mtf(midi(metre + NOTE + END)).text
