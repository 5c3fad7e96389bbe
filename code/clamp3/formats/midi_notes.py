"""The notes of a performance in seconds, for those who play or draw it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from clamp3.errors import FormatError
from clamp3.formats.midi import MergedTrack

MAX_NOTES = 200_000
_TEMPO = 500_000  # microseconds per beat, until a file sets another


class Sounded(NamedTuple):
    """A note: start and duration in seconds, MIDI pitch, velocity, program (0 to 127) and channel (0 to 15)."""

    start_sec: float
    duration_sec: float
    pitch: int
    velocity: int
    program: int
    channel: int


def seconds_at(track: MergedTrack, ticks: np.ndarray) -> np.ndarray:
    """Return the seconds of ticks, by all changes of tempo.

    Parameters
    ----------
    track : MergedTrack
    ticks : int array, shape (N,)
    """
    division = track.ticks_per_beat
    if division < 0:  # film frames per second, and ticks per frame
        return ticks / ((256 - (division >> 8 & 0xFF)) * max(1, division & 0xFF))
    tempi = {0: _TEMPO}
    for tick, (words, _) in sorted(zip(track.times, track.messages, strict=True), key=lambda entry: entry[0]):
        if words.startswith("set_tempo "):
            tempi[tick] = int(words.split()[1]) or _TEMPO
    changes = np.array(list(tempi), np.float64)
    per_tick = np.array(list(tempi.values())) / 1e6 / (division or 480)
    begun = np.concatenate([[0.0], np.cumsum(np.diff(changes) * per_tick[:-1])])
    place = np.searchsorted(changes, ticks, side="right") - 1
    return begun[place] + (ticks - changes[place]) * per_tick[place]


def notes_in(track: MergedTrack) -> list[Sounded]:
    r"""Return the notes of a MIDI file by their start; notes without an end last until the file's.

    Parameters
    ----------
    track : MergedTrack
        From `clamp3.formats.midi.read_midi`.

    Raises
    ------
    FormatError
        If there are more than `MAX_NOTES`.

    Examples
    --------
    >>> from clamp3.formats.midi import read_midi, write_midi
    >>> data = write_midi(480, [(0, b"\xc0\x28"), (0, b"\x90\x3c\x40"), (480, b"\x80\x3c\x00")])
    >>> notes_in(read_midi(data))
    [Sounded(start_sec=0.0, duration_sec=0.5, pitch=60, velocity=64, program=40, channel=0)]
    """
    programs = [0] * 16
    sounding: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
    found: list[tuple[int, int, int, int, int, int]] = []

    def end(key: tuple[int, int], tick: int) -> None:
        start, velocity, program = sounding[key].pop(0)
        found.append((start, tick, key[1], velocity, program, key[0]))

    every = sorted(zip(track.times, track.messages, strict=True), key=lambda entry: entry[0])  # stable: as in the file
    for tick, (name, values) in every:
        if name == "program_change ":
            channel, program = map(int, values.split())
            programs[channel] = program
        elif name in ("note_on ", "note_off "):
            channel, pitch, velocity = map(int, values.split())
            if name == "note_on " and velocity:
                sounding.setdefault((channel, pitch), []).append((tick, velocity, programs[channel]))
                if len(found) + len(sounding) > MAX_NOTES:
                    raise FormatError(f"there are more than {MAX_NOTES} notes.")
            elif sounding.get((channel, pitch)):
                end((channel, pitch), tick)
    for key in sounding:
        while sounding[key]:
            end(key, max(track.end, sounding[key][0][0]))
    found.sort()
    ticks = np.array([note[:2] for note in found], np.int64).reshape(-1, 2)
    starts, ends = np.round(seconds_at(track, ticks.reshape(-1)), 4).reshape(-1, 2).T
    return [
        Sounded(float(start), round(float(stop - start), 4), *note[2:])
        for start, stop, note in zip(starts, ends, found, strict=True)
    ]
