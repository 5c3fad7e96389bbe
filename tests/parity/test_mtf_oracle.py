"""MTF against mido, as the published script uses it: real files, every message type, damaged files."""

import importlib.util
import io
import random
from pathlib import Path

import mido
import pytest
from midi_maker import CHANNEL_RANGES, META_TYPES, OTHER_TYPES, damaged, random_file, released_mtf, saved

from clamp3.errors import FormatError
from clamp3.formats.mtf import midi_to_mtf, mtf_to_midi

GOLDEN = Path(__file__).parent / "golden" / "mtf"
MUSIC21 = Path(importlib.util.find_spec("music21").origin).parent
BUNDLED = sorted(MUSIC21.glob("midi/testPrimitive/*.mid")) + sorted(MUSIC21.glob("omr/*.mid"))
REAL = [path for path in BUNDLED if path.stat().st_size < 20_000]  # mido takes seconds for the others


def ours(data, m3_compatible=True):
    """Return the text, or None where the file is refused."""
    try:
        return midi_to_mtf(data, m3_compatible=m3_compatible).text
    except FormatError:
        return None


def theirs(data, m3_compatible=True):
    try:
        return released_mtf(data, m3_compatible)
    except Exception:  # mido has no error class of its own
        return None


@pytest.mark.parametrize(("name", "m3_compatible"), [("m3", True), ("all", False)])
def test_golden_file_of_every_message(name, m3_compatible):
    data = (GOLDEN / "every_message.mid").read_bytes()
    assert ours(data, m3_compatible) == (GOLDEN / f"every_message.{name}.mtf").read_text(encoding="utf-8")


def test_the_golden_file_holds_every_message():
    words = {line.split(" ")[0] for line in (GOLDEN / "every_message.all.mtf").read_text().split("\n")}
    assert words >= {*CHANNEL_RANGES, *OTHER_TYPES, *META_TYPES}


@pytest.mark.parametrize("m3_compatible", [True, False])
def test_real_files_equal_mido(m3_compatible):
    assert len(REAL) >= 20
    read = 0
    for path in REAL:
        data = path.read_bytes()
        expected = theirs(data, m3_compatible)
        assert ours(data, m3_compatible) == expected, path.name
        read += expected is not None
    assert read >= 20


@pytest.mark.parametrize("m3_compatible", [True, False])
def test_random_files_equal_mido(m3_compatible):
    rng = random.Random(11)
    for _ in range(150):
        data = random_file(rng)
        assert ours(data, m3_compatible) == released_mtf(data, m3_compatible)


def test_damaged_files_are_read_or_refused_as_mido_does():
    rng = random.Random(12)
    read = refused = 0
    for _ in range(600):
        data = damaged(rng, random_file(rng, n_messages=15))
        expected, got = theirs(data, False), ours(data, False)
        if expected is None and got is not None:
            # The one thing mido refuses by accident: log2 of 2 ** 29 and its like is not whole in floating point.
            assert any(line.startswith("time_signature") for line in got.split("\n"))
            continue
        if expected is not None and got is None:
            # Our stated limit: mido reads times of any length.
            with pytest.raises(FormatError, match="more than 8 bytes"):
                midi_to_mtf(data)
            continue
        assert got == expected
        read += got is not None
        refused += got is None
    assert read > 50 and refused > 100


@pytest.mark.parametrize("m3_compatible", [True, False])
def test_mtf_to_midi_to_mtf_is_an_identity(m3_compatible):
    rng = random.Random(13)
    files = [path.read_bytes() for path in REAL] + [random_file(rng) for _ in range(40)]
    texts = [text for data in files if (text := ours(data, m3_compatible))]
    assert len(texts) >= 60
    for text in texts:
        assert ours(mtf_to_midi(text), m3_compatible) == text


def test_midi_to_mtf_to_midi_keeps_every_message_of_the_merged_track():
    rng = random.Random(14)
    real = [path.read_bytes() for path in REAL]
    files = [data for data in real if theirs(data)] + [random_file(rng) for _ in range(40)]
    for data in files:
        before = mido.MidiFile(file=io.BytesIO(data))
        after = mido.MidiFile(file=io.BytesIO(mtf_to_midi(midi_to_mtf(data, m3_compatible=False).text)))
        assert after.ticks_per_beat == before.ticks_per_beat
        assert list(after.merged_track) == list(before.merged_track)


def test_written_files_equal_mido_byte_for_byte():
    rng = random.Random(15)
    for _ in range(60):
        source = mido.MidiFile(file=io.BytesIO(random_file(rng)))
        expected = mido.MidiFile(ticks_per_beat=source.ticks_per_beat, tracks=[source.merged_track])
        assert mtf_to_midi(midi_to_mtf(saved(source), m3_compatible=False).text) == saved(expected)


def test_keep_timing_keeps_every_note_in_its_place():
    rng = random.Random(16)
    kinds = {"note_on", "note_off"}
    for _ in range(40):
        data = random_file(rng)
        if any(
            message.type == "unknown_meta" for track in mido.MidiFile(file=io.BytesIO(data)).tracks for message in track
        ):
            continue  # mido itself misplaces what follows these
        now, expected = 0, []
        for message in mido.MidiFile(file=io.BytesIO(data)).merged_track:
            now += message.time
            if message.type in kinds:
                expected.append(now)
        text = midi_to_mtf(data, keep_timing=True).text
        now, got = 0, []
        for message in mido.MidiFile(file=io.BytesIO(mtf_to_midi(text))).merged_track:
            now += message.time
            if message.type in kinds:
                got.append(now)
        assert got == expected
