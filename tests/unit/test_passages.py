"""Passages: plans in seconds and bars, tempo maps, and vectors that equal those of the cut-out piece."""

import io

import mido
import numpy as np
import pytest
from recordings import by_soundfile, tune

from clamp3.embedding.clamp3 import Clamp3
from clamp3.embedding.passages import Passage, PassagePlan, cut, divide, pack, unpack
from clamp3.errors import ConfigError
from clamp3.formats import Kind
from clamp3.formats.mtf import midi_to_mtf
from clamp3.jobs.cache import VectorCache
from clamp3.modalities import SYMBOLIC, patches
from clamp3.modalities.marks import Marks, performance_marks, score_marks, sound_marks

pytestmark = pytest.mark.kernels

RATE = 24_000


def abc(n_bars, header="%%score 1 2\nL:1/8\nM:2/4\nK:C\nV:1 treble\nV:2 bass\n"):
    lines = [f"[V:1]{'CDEFGAB'[i % 7]}4|[V:2]{'CDEFGAB'[i // 7 % 7]},4|" for i in range(n_bars)]
    return header + "\n".join(lines) + "\n"


def midi(n_beats, tempi=((0, 500_000),), ticks=480):
    """One note per beat; ``tempi`` are (beat, microseconds per beat)."""
    track, file = mido.MidiTrack(), mido.MidiFile(ticks_per_beat=ticks)
    events = [(beat * ticks, 0, mido.MetaMessage("set_tempo", tempo=tempo)) for beat, tempo in tempi]
    for beat in range(n_beats):
        pitch = 40 + beat % 40
        events.append((beat * ticks, 1, mido.Message("note_on", note=pitch, velocity=80)))
        events.append((beat * ticks + ticks // 2, 0, mido.Message("note_off", note=pitch, velocity=0)))
    last = 0
    for at, _, message in sorted(events, key=lambda event: event[:2]):
        track.append(message.copy(time=at - last))
        last = at
    file.tracks.append(track)
    out = io.BytesIO()
    file.save(file=out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("n_vectors", "end", "expected"),
    [
        (20, 98, ["0:00-0:30", "0:10-0:40", "0:20-0:50", "0:30-1:00", "0:40-1:10", "0:50-1:20", "1:00-1:30",
                  "1:10-1:38"]),
        (6, 30, ["0:00-0:30"]),
        (7, 33, ["0:00-0:30", "0:10-0:33"]),
        (8, 40, ["0:00-0:30", "0:10-0:40"]),
        (1, 3, ["0:00-0:03"]),
    ],
)  # fmt: skip
def test_windows_of_thirty_seconds_every_ten(n_vectors, end, expected):
    for vector_sec in (5.0, 4.992):
        found = divide(n_vectors + 2, sound_marks(n_vectors, vector_sec, end), PassagePlan())
        assert [str(passage) for passage in found] == expected
        assert (found[0].first, found[-1].last) == (1, n_vectors + 1)
        assert all(passage.last - passage.first <= 6 for passage in found)


def test_hops_that_are_no_multiple_of_a_vector_report_where_they_really_begin():
    found = divide(14, sound_marks(12, 5.0), PassagePlan(windows_sec=12, hop_sec=7))
    assert [(p.start, p.end) for p in found[:3]] == [(0, 10), (5, 20), (15, 25)]
    assert found[-1].end == 60


def test_silence_of_any_length_costs_nothing():
    """A stray delta time of years lies between two notes."""
    starts = np.array([0.0, 1.0, 1e15, 1e15 + 40])
    found = divide(6, Marks("seconds", 0, starts, 1e15 + 50), PassagePlan())
    assert [(p.first, p.last) for p in found] == [(1, 3), (3, 4), (4, 5)]


def test_bars_of_a_score():
    text = abc(40)
    values, marks = patches.encode(text), score_marks(text)
    assert marks.head == 5 and marks.end == 40  # the unit length is no patch
    found = divide(len(values), marks, PassagePlan())
    assert [str(p) for p in found] == ["bars 1-16", "bars 9-24", "bars 17-32", "bars 25-40"]
    header = text.replace("L:1/8\n", "").split("[V:1]")[0]
    bars = text.split("\n")[6:]
    expected = header + "\n".join(bars[8:24]) + "\n"
    np.testing.assert_array_equal(cut(values, marks, found[1]), patches.encode(expected))


def test_lines_that_are_no_bars():
    text = abc(4).replace("[V:1]E4", "K:G\n% a remark without a bar sign\n[V:1]E4")
    found = divide(len(patches.encode(text)), score_marks(text), PassagePlan(windows_bars=2, hop_bars=2))
    assert [str(p) for p in found] == ["bars 1-2", "bars 3-4"]


def test_ticks_and_seconds_of_a_performance():
    # 60 beats at 120 per minute are 30 s, then 60 at 60 are 60 s.
    text = midi_to_mtf(midi(120, ((0, 500_000), (60, 1_000_000)))).text
    values, marks = patches.encode(text), performance_marks(text)
    assert marks.end == pytest.approx(30 + 59.5) and marks.end_tick == 119 * 480 + 240
    assert len(marks.starts) == len(values) - 2 and (np.diff(marks.starts) >= 0).all()
    found = divide(len(values), marks, PassagePlan())
    places = ["0:00-0:30", "0:10-0:40", "0:20-0:50", "0:30-1:00", "0:40-1:10", "0:50-1:20", "1:00-1:30"]
    assert [str(p) for p in found] == places
    third = found[3]
    assert (third.start, third.end) == (pytest.approx(30), pytest.approx(60))
    assert (third.start_tick, third.end_tick) == (60 * 480, 90 * 480)
    part = patches.decode(cut(values, marks, third))
    assert part.startswith("ticks_per_beat 480\nset_tempo 500000 0\n")
    assert part.count("note_on") == 30


def test_a_file_in_film_frames():
    marks = performance_marks("ticks_per_beat -6360\nnote_on 0 0 60 64\nnote_off 2000 0 60 0\nend_of_track 0")
    assert marks.end == pytest.approx(2.0)  # 25 frames of 40 ticks per second


def test_merged_messages_and_odd_lines():
    text = (
        "ticks_per_beat 100\nset_tempo 1000000 50\nsysex 50 (1, 2)\nsequencer_specific (0, 0, 65) 100\n"
        "note_on 100 0 60 64\nnote_on 100 0 62 64\nnote_on x 0 62 64\nend_of_track 0"
    )
    marks = performance_marks(text)
    # 0.25 s at the first tempo, then seconds of 100 ticks.
    assert marks.end == pytest.approx(0.25 + 0.5 + 1 + 1 + 1)
    assert marks.head == 4 and marks.ticks.tolist() == [0, 50, 100, 200, 300, 400]  # the notes share a patch


def test_what_cannot_be_divided_is_one_passage():
    for marks in (None, sound_marks(4, 5.0), performance_marks("ticks_per_beat 480\nend_of_track 0")):
        (only,) = divide(9, marks, PassagePlan())
        assert only.unit == "whole" and (only.first, only.last) == (0, 9) and str(only) == ""
        values = np.arange(9)[:, None]
        np.testing.assert_array_equal(cut(values, marks, only), values)


@pytest.mark.parametrize(
    "sizes", [{"hop_sec": 0}, {"hop_sec": 31}, {"windows_bars": 0, "hop_bars": 0}, {"hop_bars": 17}]
)
def test_plans_with_gaps_are_refused(sizes):
    with pytest.raises(ConfigError, match="not possible"):
        PassagePlan(**sizes)


def test_what_is_packed_comes_back():
    passages = [Passage("bars", 1, 16, 3, 40), Passage("seconds", 1 / 3, 90000.1, 0, 2**24 + 1, 2**40 + 1, 5)]
    vectors = np.random.default_rng(0).standard_normal((2, 7)).astype(np.float32)
    packed = pack(vectors, passages)
    assert packed.ndim == 1 and packed.dtype == np.float32
    back, found = unpack(np.frombuffer(packed.tobytes(), np.float32))
    np.testing.assert_array_equal(back, vectors)
    assert list(found) == passages


def test_vectors_of_passages_are_those_of_the_music_cut_out(tiny_weights, tiny_mel, tiny_mert):
    text = abc(24)
    score = (text.encode(), Kind.ABC)
    header, bars = text.split("[V:1]")[0], text.split("\n")[6:]
    part = (header + "\n".join(bars[8:24]) + "\n").encode()
    sound = by_soundfile(tune(44, rate=RATE), RATE, "WAV", "FLOAT")
    for weights in (tiny_weights, tiny_mel):
        clamp3 = Clamp3.from_pretrained(weights, mert_model=tiny_mert)
        encoded = clamp3.encode(
            [score, "slow song", (b"bad", Kind.MIDI), (sound, Kind.AUDIO)], windows_sec=30, hop_sec=10
        )
        assert [error is None for error in encoded.errors] == [True, True, False, True]
        assert encoded.owners == [0, 0, 1, 3, 3, 3]
        assert [str(p) for p in encoded.passages] == [
            "bars 1-16", "bars 9-24", "", "0:00-0:30", "0:10-0:40", "0:20-0:44"]  # fmt: skip
        assert encoded.vectors.shape == (6, 24) and np.isfinite(encoded.vectors).all()
        alone = clamp3.encode([(part, Kind.ABC), "slow song"]).vectors
        np.testing.assert_allclose(encoded.vectors[1:3], alone, atol=5e-6)


def test_the_vector_of_a_stretch_of_sound_is_that_of_its_chunks(tiny_mel):
    clamp3 = Clamp3.from_pretrained(tiny_mel)
    chunks = np.random.default_rng(0).standard_normal((9, 6656)).astype(np.float32)

    def npy(array):
        stream = io.BytesIO()
        np.save(stream, array)
        return stream.getvalue(), Kind.FEATURES

    encoded = clamp3.encode([npy(chunks)], windows_sec=20, hop_sec=20)
    assert [str(p) for p in encoded.passages] == ["0:00-0:20", "0:20-0:40", "0:40-0:45"]
    for vector, part in zip(encoded.vectors, (chunks[:4], chunks[4:8], chunks[8:]), strict=True):
        np.testing.assert_allclose(vector, clamp3.encode([npy(part)]).vectors[0], atol=5e-6)


def test_performances_have_seconds_and_ticks(tiny_weights):
    encoded = Clamp3.from_pretrained(tiny_weights).encode([(midi(100), Kind.MIDI)], windows_sec=20, hop_sec=15)
    assert encoded.errors == [None]
    found = [(p.start, p.end, p.start_tick, p.end_tick) for p in encoded.passages]
    assert found[1] == (pytest.approx(15), pytest.approx(35), 30 * 480, 70 * 480)
    assert found[-1][1] == pytest.approx(49.75)


def test_passages_are_cached_apart_from_pieces(tiny_weights, tmp_path):
    cache = VectorCache(tmp_path / "cache")
    item = (abc(24).encode(), Kind.ABC)

    def run(plan):
        (result,) = Clamp3.from_pretrained(tiny_weights, cache=cache).stream([item], passages=plan)
        return result

    first, again, other, whole = (run(plan) for plan in (PassagePlan(), PassagePlan(), PassagePlan(hop_bars=4), None))
    assert [r.cached for r in (first, again, other, whole)] == [False, True, False, False]
    np.testing.assert_array_equal(again.value, first.value)
    assert again.passages == first.passages and len(first.passages) == 2 and len(other.passages) == 3
    assert whole.value.shape == (24,) and whole.passages == ()


def test_marks_survive_the_way_to_a_worker():
    prepared = SYMBOLIC.prepare((abc(3).encode(), Kind.ABC, "a.abc"), marked=True)
    assert prepared.marks.end == 3 and SYMBOLIC.prepare((abc(3).encode(), Kind.ABC, "a.abc")).marks is None


def test_hidden_states_of_passages_are_refused(tiny_weights):
    with pytest.raises(ConfigError, match="hidden states of passages"):
        Clamp3.from_pretrained(tiny_weights).encode(["slow song"], temporal=True, windows_sec=30)
