r"""The same piece as other people write it: MIDI arranged or performed, ABC with chord symbols or without signs.

What is drawn depends on a generator alone. Texts stay true: notes of the melody, key, metre and form do not change.

>>> import random
>>> tune = "L:1/8\nM:2/4\nK:C\nV:1 treble\n[V:1]CEGE|\n[V:1]!trill!c4|]"
>>> mtf = "ticks_per_beat 480\ntime_signature 2 4 24 8 0\n" + "\n".join(
...     f"note_on 0 0 {pitch} 90\nnote_off 240 0 {pitch} 0" for pitch in (60, 64, 67, 64, 72))
>>> harmony = chords(tune, mtf, "C", "major")
>>> harmony
[(0.0, 2.0, 'C'), (2.0, 2.0, 'C')]
>>> print(with_symbols(tune, harmony))
L:1/8
M:2/4
K:C
V:1 treble
[V:1]"C"CEGE|
[V:1]"C"!trill!c4|]
"""

from __future__ import annotations

import random
import re
from typing import NamedTuple

from clamp3.formats.abc.lengths import bar_lengths
from clamp3.formats.midi import CHANNEL_TYPES
from clamp3.formats.mtf import TIME_FIRST
from recipes.mini.scores import STEPS, TONICS

# Steps of the root above the tonic, quality, and how readily the chord is taken.
MAJOR = ((0, "", 0.30), (7, "", 0.15), (7, "7", 0.05), (5, "", 0.10), (2, "m", 0.0), (9, "m", 0.0))
MINOR = ((0, "m", 0.30), (7, "", 0.10), (7, "7", 0.05), (5, "m", 0.08), (10, "", 0.05), (3, "", 0.02), (8, "", 0.0))
TONES = {"": (0, 4, 7), "m": (0, 3, 7), "7": (0, 4, 7, 10)}
TICKS = (96, 120, 192, 240, 384, 480, 480, 480, 960, 1024)
PROGRAMS = (0, 0, 0, 1, 4, 6, 11, 16, 19, 21, 22, 24, 25, 40, 41, 42, 46, 48, 52, 56, 60, 65, 68, 71, 73, 75, 79, 80)
LONGEST_MTF, LONGEST_ABC = 20_000, 10_000  # characters; far more than the model's window
DEFAULT_TEMPO = 500_000  # microseconds per quarter, where a file sets none
PERFORMED = 0.45  # share of the variants that are played by somebody
_BAR_LINE = re.compile(r"^\[V:\d+\]", re.MULTILINE)


class Event(NamedTuple):
    """A message of a performance: when, in ticks; its type; its values without the time."""

    tick: int
    kind: str
    values: tuple[str, ...]


def read_events(mtf: str) -> tuple[int, list[Event]]:
    """Return ticks per beat and the messages of an MTF text, the end of the track left out."""
    lines = mtf.split("\n")
    resolution, now, events = int(lines[0].split()[1]), 0, []
    for line in lines[1:]:
        kind, *values = line.split(" ")
        delta = values.pop(0 if kind in TIME_FIRST else -1) if values else "0"
        now += int(delta)
        if kind != "end_of_track":
            events.append(Event(now, kind, tuple(values)))
    return resolution, events


def write_events(resolution: int, events: list[Event]) -> str:
    """Return MTF, messages in order of time; notes end before others start.

    Parameters
    ----------
    resolution : int
        Ticks per beat.
    events : list of Event
    """
    rank = {"note_off": 1, "note_on": 2}
    lines, last = [f"ticks_per_beat {resolution}"], 0
    for event in sorted(events, key=lambda event: (event.tick, rank.get(event.kind, 0))):
        delta, last = event.tick - last, event.tick
        parts = (str(delta), *event.values) if event.kind in TIME_FIRST else (*event.values, str(delta))
        lines.append(" ".join((event.kind, *parts)))
    return "\n".join([*lines, "end_of_track 0"])


def chords(abc: str, mtf: str, tonic: str, mode: str) -> list[tuple[float, float, str]]:
    """Return a chord for every bar of a tune: onset and length in quarters, and name.

    Parameters
    ----------
    abc, mtf : str
        Interleaved ABC of one voice, and the same notes.
    tonic, mode : str
        Such as "F#" and "minor".
    """
    home = STEPS[tonic[0]] + {"#": 1, "b": -1}.get(tonic[1:], 0)
    table = MINOR if mode in ("minor", "dorian", "phrygian") else MAJOR
    bars = [_BAR_LINE.sub("", line) for line in abc.split("\n") if _BAR_LINE.match(line)]
    resolution, events = read_events(mtf)
    onsets = [(event.tick / resolution, int(event.values[1])) for event in events if event.kind == "note_on"]
    found, start, at = [], 0.0, 0
    for length in bar_lengths(bars):
        end, sounding = start + length / 2, []
        while at < len(onsets) and onsets[at][0] < end - 1e-3:
            sounding.append(onsets[at])
            at += 1
        weights = [(pitch % 12, 1.5 if onset - start < 1e-3 else 1.0) for onset, pitch in sounding]
        total = sum(weight for _, weight in weights)
        if total and end > start:
            fits = []
            for steps, quality, liking in table:
                root = (home + steps) % 12
                tones = {(root + tone) % 12 for tone in TONES[quality]}
                fits.append((sum(w for pitch, w in weights if pitch in tones) / total + liking, root, quality))
            _, root, quality = max(fits, key=lambda fit: fit[0])
            found.append((start, end - start, TONICS[root] + quality))
        start = end
    return found


def with_symbols(abc: str, harmony: list[tuple[float, float, str]]) -> str:
    """Return ABC with a chord symbol at the start of every bar that has a chord.

    Parameters
    ----------
    abc : str
        Interleaved, of one voice.
    harmony : list of (onset, length, name)
    """
    names = {round(onset, 3): name for onset, _, name in harmony}
    lines, start = [], 0.0
    for line in abc.split("\n"):
        head = _BAR_LINE.match(line)
        if head:
            name = names.get(round(start, 3))
            if name:
                line = f'{head[0]}"{name}"{line[head.end() :]}'
            start += bar_lengths([line[head.end() :]])[0] / 2
        lines.append(line)
    return "\n".join(lines)


def rewritten_abc(abc: str, harmony: list[tuple[float, float, str]], rng: random.Random) -> str:
    """Return ABC as somebody else writes it: with chord symbols, or without slurs, signs, grace notes, names.

    Parameters
    ----------
    abc : str
        Interleaved.
    harmony : list of (onset, length, name)
        Empty where the piece has more than one voice.
    rng : random.Random
    """
    if rng.random() < 0.4:
        abc = re.sub(r"![^!\n]*!|(?<=[\]|\s])\.(?=[A-Ga-g^_=])", "", abc)
    if rng.random() < 0.3:
        abc = re.sub(r"\{[^{}\n]*\}", "", abc)
    if rng.random() < 0.4:
        abc = re.sub(r"\((?!\d)|(?<!\d)\)|(?<=\d)\)", "", abc)  # slurs; (3 is a triplet
    if rng.random() < 0.4:
        abc = re.sub(r' nm="[^"\n]*"| snm="[^"\n]*"', "", abc)
    if rng.random() < 0.3:
        abc = re.sub(r"^Q:.*\n", "", abc, flags=re.MULTILINE)
    if harmony and '"' not in abc and rng.random() < 0.7:
        abc = with_symbols(abc, harmony)
    return abc


def accompanied(
    resolution: int, events: list[Event], harmony: list[tuple[float, float, str]], rng: random.Random
) -> list[Event]:
    """Return the messages with chords below them, held or after a bass note, on another channel.

    Parameters
    ----------
    resolution : int
        Ticks per beat.
    events : list of Event
    harmony : list of (onset, length, name)
    rng : random.Random
    """
    channel, program, loudness = str(rng.randrange(1, 4)), rng.choice(PROGRAMS), rng.randint(40, 75)
    held, low = rng.random() < 0.5, rng.choice((36, 48, 48))
    made = [Event(0, "program_change", (channel, str(program)))]

    def note(onset: float, length: float, pitch: int) -> None:
        start, stop = round(onset * resolution), round((onset + length) * resolution)
        made.append(Event(start, "note_on", (channel, str(pitch), str(loudness))))
        made.append(Event(max(stop, start + 1), "note_off", (channel, str(pitch), "0")))

    for onset, length, name in harmony:
        quality = name.lstrip("ABCDEFG#b")
        root = low + TONICS.index(name.removesuffix(quality))
        tones = [root + tone for tone in TONES[quality]]
        if held or length <= 1:
            for tone in tones:
                note(onset, length * 0.95, tone)
            continue
        note(onset, 0.9, root - 12 if low > 36 else root)
        beat = onset + 1
        while beat < onset + length - 0.4:
            for tone in tones:
                note(beat, 0.45, tone + (12 if low == 36 else 0))
            beat += 1
    return [*events, *made]


def performed(resolution: int, events: list[Event], rng: random.Random) -> list[Event]:
    """Return the messages as a player times and touches them: a tempo that sways, uneven onsets, a pedal.

    The tempo is written into the times, as in a recording of a keyboard; it stays within a fifth of what it was.

    Parameters
    ----------
    resolution : int
        Ticks per beat.
    events : list of Event
    rng : random.Random
    """
    tempo = next((int(event.values[0]) for event in events if event.kind == "set_tempo"), DEFAULT_TEMPO)
    factor, sway = min(4, max(0.25, tempo / DEFAULT_TEMPO)) * rng.uniform(0.82, 1.2), rng.uniform(0, 0.12)
    unrest = rng.uniform(0, 0.03) * resolution
    base, spread = rng.randint(50, 95), rng.uniform(2, 14)
    last = max((event.tick for event in events), default=0)
    places, now, speed = [0.0], 0.0, 1.0
    step = 2 * resolution
    for _ in range(last // step + 2):
        speed = min(1.3, max(0.75, speed + rng.gauss(0, sway)))
        now += step * factor * speed
        places.append(now)

    def moved(tick: int) -> float:
        whole, rest = divmod(tick, step)
        return places[whole] + (places[whole + 1] - places[whole]) * rest / step

    found, shift = [], {}
    for event in events:
        if event.kind == "set_tempo":
            continue
        at, values = moved(event.tick), event.values
        if event.kind in ("note_on", "note_off"):
            key = values[:2]
            if event.kind == "note_on":
                shift[key] = rng.gauss(0, unrest)
                values = (*key, str(min(127, max(8, round(rng.gauss(base, spread))))))
            at += shift.get(key, 0.0)
        found.append(Event(max(0, round(at)), event.kind, values))
    if rng.random() < 0.5:
        for tick in range(0, last, 4 * resolution):
            found.append(Event(max(0, round(moved(tick)) + resolution // 12), "control_change", ("0", "64", "127")))
            found.append(Event(round(moved(tick + 4 * resolution - 1)), "control_change", ("0", "64", "0")))
    return found


def rewritten_mtf(mtf: str, harmony: list[tuple[float, float, str]], rng: random.Random) -> str:
    """Return the performance as another program or player makes it.

    Parameters
    ----------
    mtf : str
    harmony : list of (onset, length, name)
        Empty where the piece has more than one voice.
    rng : random.Random
    """
    resolution, events = read_events(mtf)
    if harmony and rng.random() < 0.6:
        events = accompanied(resolution, events, harmony, rng)
    if rng.random() < 0.6:
        sounds = {str(channel): str(rng.choice(PROGRAMS)) for channel in range(16)}
        events = [event._replace(values=(event.values[0], sounds[event.values[0]]))
                  if event.kind == "program_change" else event for event in events]  # fmt: skip
    if rng.random() < 0.3:  # one channel, as a piano's file has
        events = [event._replace(values=("0", *event.values[1:])) if event.kind in CHANNEL_TYPES else event
                  for event in events if event.kind != "program_change"]  # fmt: skip
    if rng.random() < PERFORMED:
        events = performed(resolution, events, rng)
    unsaid = [kind for kind in ("time_signature", "key_signature") if rng.random() < 0.4]
    events = [event for event in events if event.kind not in unsaid]
    if rng.random() < 0.7:
        other = rng.choice(TICKS)
        events = [event._replace(tick=round(event.tick * other / resolution)) for event in events]
        resolution = other
    return write_events(resolution, events)


def variant(abc: str, mtf: str, facts: dict[str, object], rng: random.Random) -> tuple[str, str]:
    """Return a piece's ABC (empty if it has none) and MTF as somebody else writes them.

    Parameters
    ----------
    abc, mtf : str
    facts : dict
        Of the piece's row: ``voices``, ``key``, ``mode``.
    rng : random.Random
    """
    alone = abc and facts["voices"] == 1 and '"' not in abc and "[" not in _BAR_LINE.sub("", abc)
    harmony = chords(abc, mtf, str(facts["key"]), str(facts["mode"])) if alone else []
    return rewritten_abc(abc, harmony, rng)[:LONGEST_ABC], cut(rewritten_mtf(mtf, harmony, rng))


def cut(mtf: str) -> str:
    """Return the first whole lines of an MTF text, up to `LONGEST_MTF` characters."""
    return mtf if len(mtf) <= LONGEST_MTF else mtf[: mtf.rindex("\n", 0, LONGEST_MTF)]
