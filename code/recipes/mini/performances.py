"""MIDI files as scores: notes, metres, keys and tempo in quarters, so that facts can be read from them."""

from __future__ import annotations

from recipes.mini.scores import Note, Part, Score

DRUMS = 9
NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B")


def read_midi_score(data: bytes) -> Score:
    """Read a MIDI file as a score of one part per channel; drums are left out.

    Parameters
    ----------
    data : bytes
        A Standard MIDI File.

    Returns
    -------
    Score
        Note names are those most common, since MIDI has none; bars are counted by the first metre.

    Raises
    ------
    FormatError
        If it is no MIDI file or holds no note of a pitched instrument.
    """
    from clamp3.errors import FormatError
    from clamp3.formats.midi import KEYS, read_midi

    track = read_midi(data)
    if track.ticks_per_beat <= 0:
        raise FormatError("the MIDI file counts frames, not beats.")
    score = Score([], [], [], None, 0, False)
    parts: dict[int, Part] = {}
    held: dict[tuple[int, int], Note] = {}
    order = sorted(range(len(track.times)), key=lambda index: track.times[index])
    for index in order:
        name, *values = "".join(track.messages[index]).split()
        at = track.times[index] / track.ticks_per_beat
        if name == "set_tempo" and score.tempo is None:
            score.tempo = 60e6 / max(1, int(values[0]))
        elif name == "time_signature":
            score.metres.append((at, (int(values[0]), int(values[1]))))
        elif name == "key_signature" and values[0] in KEYS:
            score.fifths.append((at, KEYS[values[0]][0]))
        elif name == "program_change" and int(values[0]) != DRUMS:
            parts.setdefault(int(values[0]), Part()).program = int(values[1])
        elif name in ("note_on", "note_off") and int(values[0]) != DRUMS:
            channel, pitch, velocity = (int(value) for value in values[:3])
            last = held.pop((channel, pitch), None)
            if last is not None:
                last.length = max(1 / 64, at - last.onset)
            if name == "note_on" and velocity:
                note = Note(at, 1 / 64, pitch, NAMES[pitch % 12])
                held[channel, pitch] = note
                parts.setdefault(channel, Part()).notes.append(note)
    score.parts = [parts[channel] for channel in sorted(parts) if parts[channel].notes]
    if not score.parts:
        raise FormatError("the MIDI file holds no note of a pitched instrument.")
    for part in score.parts:
        part.notes.sort(key=lambda note: (note.onset, note.pitch))
    beats, unit = score.metres[0][1] if score.metres else (4, 4)
    end = max(note.onset + note.length for part in score.parts for note in part.notes)
    score.bars = max(1, round(end * unit / (4 * max(1, beats))))
    return score
