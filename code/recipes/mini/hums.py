"""Tunes as people hum them, and in another key: whether a model finds the tune among 300.

python code/recipes/mini/hums.py DATA_DIR HUMS_DIR                    (once; needs fluidsynth, see render.py)
python code/recipes/mini/outside.py OUTSIDE_DIR --hums HUMS_DIR --model mini

300 held-out tunes of one voice (build_data.py). A hum is the first 15 s of a tune, melody alone: in a key up to a fifth
above or below, at 0.75 to 1.3 times the tempo, uneven in time, one note in 20 a semitone off, one in 12 with a grace
note, all of them out of tune by some cents; sung or whistled by General MIDI programs that no training piece has. It is
kept as sound and as MIDI (without cents). Tunes in another key are whole, as ABC and as MIDI. A search without a model,
for runs of three intervals that hum and tune share, shows how well they can be found. Draws depend on the tune alone.
What exists is kept.
"""

from __future__ import annotations

import argparse
import io
import random
import re
import sys
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `recipes` and `clamp3`, without installation

from clamp3.cli import parser_for, run
from recipes.mini.pieces import draw
from recipes.mini.render import SOUNDFONT
from recipes.mini.scores import Note, Score, melody

TUNES, FEWEST_NOTES = 300, 24
LONGEST_SEC, DEFAULT_TEMPO = 15.0, 120.0
SOUNDS = (52, 53, 54, 78, 79)  # choir, voice, synthetic voice, whistle, ocarina; none of render.TRAINING_SOUNDS
RANGE = (48, 84)  # of the middle of a hum: what a voice or whistle reaches
WRONG, GRACED, UNEVEN = 0.05, 0.08, 0.03  # shares of notes; standard deviation in quarters
TUNED_CENTS, NOTE_CENTS = 40.0, 15.0  # the whole hum, and each note
BEND_CENTS = 200.0  # General MIDI's range of the pitch wheel
LINE_OF_FIFTHS = "FCGDAEB"
ALTERATIONS = {"": 0, "=": 0, "^": 1, "^^": 2, "_": -1, "__": -2}
_TOKEN = re.compile(r'"[^"\n]*"|![^!\n]*!|\[[A-Z]:[^\]\n]*\]|(\^\^?|__?|=)?([A-Ga-g])([,\']*)')
_KEY = re.compile(r"([A-G])(#|b|)(?=(maj|min|m|dor|mix|phr|lyd|loc)?\b)")


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = parser_for(__doc__)
    parser.add_argument("data_dir", type=Path, help="what build_data.py wrote")
    parser.add_argument("hums_dir", type=Path, help="folder to write to")
    parser.add_argument("--tunes", type=int, default=TUNES, help="how many (default: %(default)s)")
    parser.add_argument("--soundfont", type=Path, default=SOUNDFONT, help="General MIDI (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    return parser


def hummed(score: Score, rng: random.Random) -> tuple[list[Note], float]:
    """Return the notes of a hum, onsets in quarters, and its tempo in quarters a minute.

    Parameters
    ----------
    score : Score
        Its first part is hummed.
    rng : random.Random
    """
    tempo = min(200.0, max(60.0, score.tempo or DEFAULT_TEMPO)) * rng.uniform(0.75, 1.3)
    notes = [note for note in melody(score.parts[0]) if note.onset * 60 / tempo < LONGEST_SEC]
    shift = rng.choice([steps for steps in range(-7, 8) if steps])
    middle = sum(note.pitch for note in notes) / len(notes) + shift
    shift += 12 * ((middle < RANGE[0]) - (middle > RANGE[1]))
    found: list[Note] = []
    for note in notes:
        pitch = note.pitch + shift + (rng.choice((-1, 1)) if rng.random() < WRONG else 0)
        onset = max(0.0, note.onset + rng.gauss(0, UNEVEN), found[-1].onset + 0.05 if found else 0.0)
        length = max(0.1, note.length * rng.uniform(0.8, 1.0))
        if rng.random() < GRACED and note.length >= 0.5:
            found.append(Note(onset, 0.12, pitch + rng.choice((1, 2)), ""))
            onset, length = onset + 0.12, max(0.1, length - 0.12)
        found.append(Note(onset, length, pitch, ""))
    for note, following in pairwise(found):
        note.length = min(note.length, max(0.04, following.onset - note.onset))
    return found, tempo


def sung(notes: list[Note], tempo: float, rng: random.Random) -> bytes:
    """Return MIDI of a hum, for one of `SOUNDS`, each note off by some cents of the pitch wheel.

    Parameters
    ----------
    notes : list of Note
        One at a time.
    tempo : float
        Quarters a minute.
    rng : random.Random
    """
    import mido

    track, now, ticks = mido.MidiTrack(), 0, 480
    track.append(mido.Message("program_change", program=rng.choice(SOUNDS)))
    track.append(mido.MetaMessage("set_tempo", tempo=round(60e6 / tempo)))
    whole = rng.uniform(-TUNED_CENTS, TUNED_CENTS)
    for note in notes:
        start, stop = round(note.onset * ticks), round((note.onset + note.length) * ticks)
        bend = round(8192 * (whole + rng.gauss(0, NOTE_CENTS)) / BEND_CENTS)
        track.append(mido.Message("pitchwheel", pitch=min(8191, max(-8192, bend)), time=max(0, start - now)))
        track.append(mido.Message("note_on", note=note.pitch, velocity=rng.randint(70, 105)))
        track.append(mido.Message("note_off", note=note.pitch, time=max(1, stop - start)))
        now = max(now, start) + max(1, stop - start)
    out = io.BytesIO()
    mido.MidiFile(ticks_per_beat=ticks, tracks=[track]).save(file=out)
    return out.getvalue()


def other_fifths(name: str, fifths: int) -> int:
    """Return by how many fifths to move a piece, at most five, so that its signature has at most five signs.

    Parameters
    ----------
    name : str
        What the draw depends on.
    fifths : int
        Of the signature, sharps positive.
    """
    choices = [n for n in range(-5, 6) if n and abs(fifths + n) <= 5]
    return choices[draw(f"{name}/key", len(choices))]


def nearest(steps: int, octave: int) -> int:
    """Return steps up or down, whichever is nearer, that lead to the same note name.

    Examples
    --------
    >>> nearest(7, 12), nearest(4, 7)  # a fifth up is a fourth down
    (-5, -3)
    """
    down = (octave - 1) // 2
    return (steps + down) % octave - down


def transposed_abc(abc: str, fifths: int) -> str:
    r"""Return ABC some fifths higher on the line of fifths, in the octave where that is least far.

    Written accidentals stay written, so that bars and signature mean what they meant.

    Parameters
    ----------
    abc : str
        Interleaved.
    fifths : int
        At most five up or down.

    Examples
    --------
    >>> print(transposed_abc("M:2/4\nK:D\nV:1 treble\n[V:1]FA ^G=c|", 1))
    M:2/4
    K:A
    V:1 treble
    [V:1]CE ^D=G|
    """
    up = nearest(4 * fifths, 7)

    def moved(match: re.Match[str]) -> str:
        if match[2] is None:
            return f"[K:{moved_key(match[0][3:], fifths)}" if match[0].startswith("[K:") else match[0]
        place = LINE_OF_FIFTHS.index(match[2].upper()) + fifths
        letter, sharper = LINE_OF_FIFTHS[place % 7], place // 7
        height = "CDEFGAB".index(match[2].upper()) + 7 * (
            match[2].islower() + match[3].count("'") - match[3].count(",")
        )
        octave = (height + up) // 7
        # `sharper` is what the signature adds; a written accidental adds to the plain letter.
        sign = match[1] or ""
        if sign:
            sign = {value: key for key, value in ALTERATIONS.items() if key}[ALTERATIONS[sign] + sharper]
        name = letter.lower() + "'" * (octave - 1) if octave > 0 else letter + "," * -octave
        return sign + name

    lines = []
    for line in abc.split("\n"):
        if line.startswith("K:"):
            line = f"K:{moved_key(line[2:], fifths)}"
        elif not re.match(r"[A-Za-z]:|%", line):
            line = _TOKEN.sub(moved, line)
        lines.append(line)
    return "\n".join(lines)


def moved_key(key: str, fifths: int) -> str:
    """Return a key some fifths higher, its mode kept; what names no key is returned as it is.

    Parameters
    ----------
    key : str
        Such as ``Amin``.
    fifths : int

    Examples
    --------
    >>> moved_key("Amin", 2), moved_key("F", -1), moved_key("treble", 1)
    ('Bmin', 'Bb', 'treble')
    """
    found = _KEY.match(key)
    if found is None:
        return key
    place = LINE_OF_FIFTHS.index(found[1]) + 7 * {"#": 1, "b": -1, "": 0}[found[2]] + fifths
    sign = "#" * (place // 7) if place >= 0 else "b" * -(place // 7)
    return LINE_OF_FIFTHS[place % 7] + sign + key[found.end() :]


def transposed_mtf(mtf: str, fifths: int) -> str:
    r"""Return MTF some fifths higher, in the octave where that is least far.

    Parameters
    ----------
    mtf : str
    fifths : int
        At most five up or down.

    Examples
    --------
    >>> transposed_mtf("key_signature D 0\nnote_on 0 0 62 90\nnote_off 480 0 62 0", 1).split("\n")
    ['key_signature A 0', 'note_on 0 0 57 90', 'note_off 480 0 57 0']
    """
    up, lines = nearest(7 * fifths, 12), []
    for line in mtf.split("\n"):
        kind, *values = line.split(" ")
        if kind in ("note_on", "note_off"):
            values[2] = str(min(127, max(0, int(values[2]) + up)))
        elif kind == "key_signature":
            values[0] = moved_key(values[0], fifths)
        lines.append(" ".join((kind, *values)))
    return "\n".join(lines)


def write_tune(job: tuple[str, str, str], *, data_dir: str, out: str, soundfont: str) -> str:
    """Write the files of one tune: (id, its ABC, its MTF); returns the id."""
    from clamp3.formats.mel import log_mel
    from clamp3.formats.midi import KEYS
    from clamp3.formats.mtf import midi_to_mtf, mtf_to_midi
    from clamp3.jobs.atomic import write_bytes
    from recipes.mini.performances import read_midi_score
    from recipes.mini.render import play, write_frames
    from recipes.mini.scores import Part, to_midi

    name, *paths = job
    abc, mtf = (Path(data_dir, path).read_text(encoding="utf-8") for path in paths)
    rng = random.Random(f"{name}/hum")
    notes, tempo = hummed(read_midi_score(mtf_to_midi(mtf)), rng)
    key = re.search(r"^key_signature (\S+)", mtf, re.MULTILINE)
    fifths = other_fifths(name, KEYS[key[1]][0] if key else 0)
    plain = Score([Part(program=SOUNDS[0], notes=notes)], [], [], tempo, 0, False)
    texts = {
        "tune.abc": abc, "tune.mtf": mtf, "hum.mtf": midi_to_mtf(to_midi(plain)).text,
        "key.abc": transposed_abc(abc, fifths), "key.mtf": transposed_mtf(mtf, fifths),
    }  # fmt: skip
    for suffix, text in texts.items():
        write_bytes(Path(out, f"{name}.{suffix}"), text.encode(), durable=False)
    sound = Path(out, f"{name}.hum.npy")
    if not sound.exists():
        write_frames(sound, log_mel(play(sung(notes, tempo, rng), Path(soundfont))))
    return name


def choose(records: list[dict[str, Any]], n: int) -> list[tuple[str, str, str]]:
    """Return (id, ABC, MTF) of ``n`` tunes of one voice, no two with the same opening, sorted by id.

    Parameters
    ----------
    records : list of dict
        As `recipes.mini.evaluate.held_out` gives them.
    n : int
    """
    fit = [one for one in records
           if one["row"]["facts"]["voices"] == 1 and one["row"]["facts"]["notes"] >= FEWEST_NOTES]  # fmt: skip
    fit.sort(key=lambda one: draw(f"{one['id']}/tune", 1 << 60))
    distinct = {one["row"]["incipit"]: one for one in reversed(fit)}
    chosen = sorted(distinct.values(), key=lambda one: draw(f"{one['id']}/tune", 1 << 60))[:n]
    chosen.sort(key=lambda one: one["id"])
    return [(one["id"], *(next(p for p in one["filepaths"] if p.endswith(end)) for end in (".abc", ".mtf")))
            for one in chosen]  # fmt: skip


def interval_runs(texts: list[str]) -> Any:
    """Return unit vectors of the melodies of MTF texts: how often each run of three intervals comes, rare ones more.

    Parameters
    ----------
    texts : list of str
        Each of one voice.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    from clamp3.formats.mtf import mtf_to_midi
    from recipes.mini.performances import read_midi_score

    lines = []
    for text in texts:
        notes = melody(read_midi_score(mtf_to_midi(text)).parts[0])
        lines.append(" ".join(str(b.pitch - a.pitch) for a, b in pairwise(notes)))
    runs = TfidfVectorizer(ngram_range=(3, 3), tokenizer=str.split, token_pattern=None, sublinear_tf=True)
    return runs.fit_transform(lines).toarray()


def measure(encode: Any, folder: Path) -> dict[str, Any]:
    """Return the ranks of tunes among all in the folder, from hums and from other keys.

    Parameters
    ----------
    encode : recipes.mini.evaluate.Vectors
    folder : Path
        What this script wrote.
    """
    from clamp3.errors import DataError
    from recipes.mini.build_data import read_rows
    from recipes.mini.evaluate import retrieval

    names = [row["id"] for row in read_rows(folder / "hums.jsonl")]
    if not names:
        raise DataError(f"{folder / 'hums.jsonl'} is absent or empty; run hums.py first.")

    def vectors(suffix: str) -> Any:
        return encode([folder / f"{name}.{suffix}" for name in names])

    tunes = {"ABC": vectors("tune.abc"), "MIDI": vectors("tune.mtf")}
    found = {f"other key, {kind}": retrieval(vectors(f"key.{suffix}"), tunes[kind])
             for kind, suffix in (("ABC", "abc"), ("MIDI", "mtf"))}  # fmt: skip
    hums = {"MIDI": vectors("hum.mtf")}
    if encode.model.lacks("audio") is None:
        hums["sound"] = vectors("hum.npy")
    for kind, hum in hums.items():
        found |= {f"hum as {kind} to {other}": retrieval(hum, music) for other, music in tunes.items()}
    texts = [
        (folder / f"{name}.{end}").read_text(encoding="utf-8") for end in ("hum.mtf", "tune.mtf") for name in names
    ]
    runs = interval_runs(texts)
    found["hum to tune, no model"] = retrieval(runs[: len(names)], runs[len(names) :])
    return found


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    from clamp3.errors import DataError
    from clamp3.jobs.parallel import process_map
    from recipes.mini.build_data import write_rows
    from recipes.mini.evaluate import held_out

    args = build_parser().parse_args(argv)
    jobs = choose(held_out(args.data_dir), args.tunes)
    args.hums_dir.mkdir(parents=True, exist_ok=True)
    job = partial(write_tune, data_dir=str(args.data_dir), out=str(args.hums_dir), soundfont=str(args.soundfont))
    for outcome in process_map(job, jobs, n_workers=args.workers, timeout_sec=120, desc="humming"):
        if outcome.value is None:
            raise DataError(f"{jobs[outcome.index][0]}: {outcome.error}")
    write_rows(args.hums_dir / "hums.jsonl", [{"id": name} for name, *_ in jobs])
    print(f"{len(jobs)} tunes")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
