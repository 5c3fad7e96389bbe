"""Notes of performances in seconds: as mido plays them, whatever the tempo does and however notes end."""

import io
import random

import mido
import pytest

from clamp3.errors import FormatError
from clamp3.formats import midi_notes
from clamp3.formats.midi import read_midi
from clamp3.formats.midi_notes import notes_in


def made(seed):
    """Return a MIDI file of two tracks with changes of tempo and program, and notes that overlap or do not end."""
    chance = random.Random(seed)
    file = mido.MidiFile(type=1, ticks_per_beat=chance.choice([96, 480]))
    for channel in range(2):
        track = mido.MidiTrack()
        for _ in range(60):
            time, note = chance.randrange(200), chance.randrange(60, 64)
            kind = chance.random()
            if kind < 0.1 and channel == 0:
                track.append(mido.MetaMessage("set_tempo", tempo=chance.randrange(200_000, 900_000), time=time))
            elif kind < 0.2:
                track.append(mido.Message("program_change", program=chance.randrange(128), channel=channel, time=time))
            else:
                name, velocity = chance.choice([("note_on", 70), ("note_on", 0), ("note_off", 50), ("note_on", 90)])
                track.append(mido.Message(name, note=note, velocity=velocity, channel=channel, time=time))
        file.tracks.append(track)
    out = io.BytesIO()
    file.save(file=out)
    return out.getvalue()


def played(data):
    """Return the notes as mido's own clock gives them."""
    now, programs, sounding, found = 0.0, [0] * 16, {}, []

    def end(key):
        start, velocity, program = sounding[key].pop(0)
        found.append((start, now - start, key[1], velocity, program, key[0]))

    for message in mido.MidiFile(file=io.BytesIO(data)):
        now += message.time
        if message.type == "program_change":
            programs[message.channel] = message.program
        elif message.type in ("note_on", "note_off"):
            key = message.channel, message.note
            if message.type == "note_on" and message.velocity:
                sounding.setdefault(key, []).append((now, message.velocity, programs[message.channel]))
            elif sounding.get(key):
                end(key)
    for key in sounding:
        while sounding[key]:
            end(key)
    return found


@pytest.mark.parametrize("seed", range(8))
def test_notes_are_those_that_mido_plays(seed):
    def ordered(notes):
        return sorted(notes, key=lambda note: (round(note[0], 3), note[5], note[2], round(note[1], 3), note[3]))

    found, expected = ordered(notes_in(read_midi(made(seed)))), ordered(played(made(seed)))
    assert len(found) == len(expected) > 20
    for one, other in zip(found, expected, strict=True):
        assert one[:2] == pytest.approx(other[:2], abs=2e-4)  # rounded to 0.1 ms
        assert tuple(one[2:]) == other[2:]


def test_too_many_notes_are_refused(monkeypatch):
    monkeypatch.setattr(midi_notes, "MAX_NOTES", 10)
    with pytest.raises(FormatError, match="more than 10 notes"):
        notes_in(read_midi(made(0)))
