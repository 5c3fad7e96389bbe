"""MTF back to MIDI: every kind of line, and a numbered reason for every malformed one."""

import random
import time

import pytest

from clamp3.errors import FormatError
from clamp3.formats.mtf import midi_to_mtf, mtf_to_midi

EVERY = r"""ticks_per_beat 96
sequence_number 300 0
text a\nb \\ \xe9 [1, 2] (x) 0
text  3
copyright me 0
track_name  two  blanks  0
instrument_name a 0
lyrics la 5
marker m 0
cue_marker c 0
device_name d 0
channel_prefix 200 0
midi_port 3 0
set_tempo 500000 0
smpte_offset 29.97 31 59 59 255 99 0
time_signature 6 8 36 8 0
time_signature 1 57896044618658097711785492504343953926634992332820282019728792003956564819968 0 0 0
key_signature F#m 0
sequencer_specific () 0
sequencer_specific (255,) 0
sequencer_specific (0, 1, 2) 7
unknown_meta 8 (1, 2) 0
note_on 0 0 60 80
note_on 1 0 64 80
note_off 16383 15 60 0
polytouch 0 1 2 3
control_change 0 1 2 3
program_change 0 1 2
aftertouch 0 1 2
pitchwheel 0 1 -8192
pitchwheel 0 1 8191
sysex 0 []
sysex 72057594037927935 [1, 127]
quarter_frame 0 7 15
songpos 0 16383
song_select 0 127
tune_request 0
clock 0
start 0
continue 0
stop 0
active_sensing 0
end_of_track 12"""


def test_every_kind_of_line_comes_back():
    assert midi_to_mtf(mtf_to_midi(EVERY), m3_compatible=False).text == EVERY


def test_random_performances_come_back():
    rng = random.Random(1)
    for _ in range(20):
        lines = [
            f"{rng.choice(['note_on', 'note_off'])} {rng.choice([0, rng.randrange(2000)])} {rng.randrange(16)} "
            f"{rng.randrange(128)} {rng.randrange(128)}"
            for _ in range(200)
        ]
        text = "\n".join(["ticks_per_beat 480", *lines, "end_of_track 1"])
        assert midi_to_mtf(mtf_to_midi(text)).text == text


def test_line_endings_and_blank_lines_do_not_matter():
    assert mtf_to_midi("\r\n" + EVERY.replace("\n", "\r\n") + "\n\n") == mtf_to_midi(EVERY)


def test_a_missing_end_of_track_is_added_and_early_ones_give_their_time_on():
    text = "ticks_per_beat 1\nnote_on 1 0 1 1\nend_of_track 5\nnote_on 2 0 1 1"
    assert midi_to_mtf(mtf_to_midi(text)).text == "ticks_per_beat 1\nnote_on 1 0 1 1\nnote_on 7 0 1 1\nend_of_track 0"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("note_on 0 0 60", "3 values are needed, got 2"),
        ("note_on 0 0 60 80 1", "3 values are needed, got 4"),
        ("note_on 0 16 60 80", "16 is not in 0 to 15"),
        ("note_on 0 0 60 128", "128 is not in 0 to 127"),
        ("note_on -1 0 60 80", "-1 is not in 0 to"),
        ("note_on 1.5 0 60 80", "'1.5' is not a whole number"),
        ("note_on 0 0 ٣ 80", "is not a whole number"),
        ("note_on 72057594037927936 0 60 80", "is not in 0 to 72057594037927935"),
        ("note_on " + "9" * 5000 + " 0 60 80", "is not a whole number"),
        ("note_on", "3 values are needed, got 0"),
        ("clock", "'' is not a whole number"),
        ("note_up 0 0 60 80", "no such message"),
        ("reset 0", "no such message"),
        ("clock 0 1", "0 values are needed, got 1"),
        ("pitchwheel 0 0 8192", "8192 is not in -8192 to 8191"),
        ("pitchwheel 0 0", "2 values are needed, got 1"),
        ("key_signature H 0", "'H' is not a key"),
        ("time_signature 3 5 24 8 0", "5 is not a power of two"),
        ("time_signature 3 0 24 8 0", "0 is not a power of two"),
        ("smpte_offset 26 0 0 0 0 0 0", "frame rate must be one of 24, 25, 29.97, 30"),
        ("smpte_offset 24 0 60 0 0 0 0", "60 is not in 0 to 59"),
        ("set_tempo 16777216 0", "is not in 0 to 16777215"),
        ("sysex 0 [1, 128]", "128 is not in 0 to 127"),
        ("sysex 0 1, 2", r"numbers in \[\] are needed"),
        ("sysex 0 [__import__('os').system('true')]", "is not a whole number"),
        ("sequencer_specific (1, 256) 0", "256 is not in 0 to 255"),
        ("sequencer_specific [1] 0", r"numbers in \(\) are needed"),
        ("unknown_meta 81 (1, 2, 3) 0", "81 belongs to a known meta message"),
        ("unknown_meta 3 (65) 0", "3 belongs to a known meta message"),
        ("end_of_track 1 0", "end_of_track takes only a time"),
        (r"text a\q 0", "escape"),
        ("text a\\ 0", "escape"),
        (r"text \N{BULLET} 0", "escape"),
        ("text 你 0", "not in Latin-1"),
        ("text hello", "'hello' is not a whole number"),
        ("ticks_per_beat 480", "no such message"),
    ],
)
def test_malformed_lines_are_named(line, said):
    with pytest.raises(FormatError, match=rf"(?s)^Line 3 of the MTF text \(.*{said}"):
        mtf_to_midi(f"ticks_per_beat 480\nnote_on 0 0 1 1\n{line}\nend_of_track 0")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        ("X:1\nK:C\n", "Line 1 .* starts with 'ticks_per_beat'"),
        ("ticks_per_beat\n", "is not a whole number"),
        ("ticks_per_beat 32768\n", "32768 is not in -32768 to 32767"),
    ],
)
def test_what_is_no_mtf_is_refused(text, said):
    with pytest.raises(FormatError, match=said):
        mtf_to_midi(text)


def test_a_hostile_list_is_refused_quickly():
    started = time.process_time()
    with pytest.raises(FormatError, match="fewer than 1000000 bytes"):
        mtf_to_midi(f"ticks_per_beat 1\nsysex 0 [{', '.join(['1'] * 1_500_000)}]")
    with pytest.raises(FormatError, match="a message may hold 1000000 bytes"):
        mtf_to_midi(f"ticks_per_beat 1\ntext {'x' * 3_000_000} 0")
    assert time.process_time() - started < 2
