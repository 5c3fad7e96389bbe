"""Render pieces of the mini data as audio and keep their log-mel features, which the audio tower is trained on.

    apt-get install fluidsynth fluid-soundfont-gm        (Debian; for this step only)
    python code/recipes/mini/render.py DATA_DIR
    python code/recipes/mini/render.py DATA_DIR --train 500      a trial

Needs what build_data.py wrote. The first minute of a piece is played by fluidsynth, through instruments and at a tempo
drawn from its id, and becomes DATA_DIR/audio/SPLIT/…/ID.npy, which is added to the piece's record; SPLIT.sound.jsonl
has those records alone. Held-out pieces sound through presets and at tempi that no training piece has, and the first
sound font. Features that exist are kept.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `recipes` and `clamp3`, without installation

from clamp3.cli import EXIT_OK, EXIT_SOME_FAILED, parser_for, run
from recipes.mini.build_data import SPLITS, read_rows, write_rows
from recipes.mini.pieces import draw

SOUNDFONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
LONGEST_SEC = 60.0
RATE_HZ = 24_000
# General MIDI programs, from 0, and factors on the tempo; the two parts share none.
TRAINING_SOUNDS = (0, 4, 11, 19, 24, 26, 41, 46, 48, 56, 66, 68, 73, 75, 80, 22)
HELD_OUT_SOUNDS = (6, 16, 21, 25, 40, 42, 52, 60, 71, 74)
TRAINING_TEMPI = (0.84, 0.92, 1.0, 1.08, 1.16)
HELD_OUT_TEMPI = (0.88, 0.96, 1.04, 1.12)


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = parser_for(__doc__)
    parser.add_argument("data_dir", type=Path, help="what build_data.py wrote")
    fonts = f"General MIDI .sf2 or .sf3; of several, one is drawn for a training piece (default: {SOUNDFONT})"
    parser.add_argument("--soundfont", type=Path, nargs="+", default=[SOUNDFONT], metavar="FILE", help=fonts)
    parser.add_argument("--train", type=int, default=2500, help="how many training pieces (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes (default: all cores)")
    return parser


def arrange(midi: bytes, name: str, *, held_out: bool, longest_sec: float = LONGEST_SEC) -> bytes:
    """Return a MIDI file with the instruments and the tempo drawn for a piece, cut after ``longest_sec``.

    Parameters
    ----------
    midi : bytes
        A standard MIDI file.
    name : str
        What the draws depend on.
    held_out : bool
        Which of the two sets of presets and tempi.
    longest_sec : float
        At the new tempo.
    """
    import mido

    sounds = HELD_OUT_SOUNDS if held_out else TRAINING_SOUNDS
    tempi = HELD_OUT_TEMPI if held_out else TRAINING_TEMPI
    factor = tempi[draw(f"{name}/tempo", len(tempi))]
    given = mido.MidiFile(file=io.BytesIO(midi))
    track = mido.MidiTrack()
    for channel in range(16):
        program = sounds[draw(f"{name}/{channel}", len(sounds))]
        track.append(mido.Message("program_change", channel=channel, program=program))
    tempo = round(500_000 / factor)  # MIDI's default, should the file set none
    track.append(mido.MetaMessage("set_tempo", tempo=tempo))
    passed_sec, wait = 0.0, 0
    sounding: dict[tuple[int, int], None] = {}  # fluidsynth waits for ever for a note without end
    for message in mido.merge_tracks(given.tracks):
        passed_sec += mido.tick2second(message.time, given.ticks_per_beat, tempo)
        wait += message.time
        if passed_sec > longest_sec:
            break
        if message.type == "set_tempo":
            tempo = min(0xFFFFFF, round(message.tempo / factor))
            message = message.copy(tempo=tempo)
        elif message.type not in ("note_on", "note_off"):
            continue
        else:
            key = (message.channel, message.note)
            sounding.pop(key, None)
            if message.type == "note_on" and message.velocity:
                sounding[key] = None
        track.append(message.copy(time=wait))
        wait = 0
    for channel, note in sounding:
        track.append(mido.Message("note_off", channel=channel, note=note, time=0))
    out = io.BytesIO()
    mido.MidiFile(ticks_per_beat=given.ticks_per_beat, tracks=[track]).save(file=out)
    return out.getvalue()


def play(midi: bytes, soundfont: Path) -> Any:
    """Return the sound of a MIDI file: float32, mono, shape (N,), at `RATE_HZ`.

    Raises
    ------
    DataError
        If fluidsynth fails or gives no sound.
    """
    import soundfile

    from clamp3.errors import DataError

    with tempfile.TemporaryDirectory() as folder:
        score, sound = Path(folder, "a.mid"), Path(folder, "a.wav")
        score.write_bytes(midi)
        command = ["fluidsynth", "-ni", "-q", "-g", "0.6", "-r", str(RATE_HZ), "-R", "0", "-C", "0",
                   "-o", "synth.dynamic-sample-loading=1", "-F", str(sound), str(soundfont), str(score)]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
        if done.returncode or not sound.exists():
            raise DataError(f"fluidsynth failed: {done.stderr.strip()[-200:]}")
        samples, _ = soundfile.read(sound, dtype="float32", always_2d=True)
    if not samples.any():
        raise DataError("fluidsynth gave silence.")
    return samples.mean(axis=1)


def render(job: tuple[str, str, str], *, data_dir: str, soundfonts: list[str]) -> str:
    """Write the features of one piece: (id, its MTF, split) to the path of its ``.npy`` below ``data_dir``."""
    from clamp3.formats.mel import log_mel
    from clamp3.formats.mtf import mtf_to_midi

    name, mtf, split = job
    relative = feature_path(mtf, split)
    path = Path(data_dir, relative)
    if not path.exists():
        midi = mtf_to_midi(Path(data_dir, mtf).read_text(encoding="utf-8"))
        held_out = split == "heldout"
        font = soundfonts[0 if held_out else draw(f"{name}/font", len(soundfonts))]
        sound = play(arrange(midi, name, held_out=held_out), Path(font))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_frames(path, log_mel(sound))
    return relative


def write_frames(path: Path, frames: Any) -> None:
    """Write log-mel features in 16 bits, as training and evaluation read them.

    Parameters
    ----------
    path : Path
        In a folder that exists.
    frames : array
        As `clamp3.formats.mel.log_mel` returns it.
    """
    import numpy as np

    from clamp3.jobs.atomic import write_bytes

    stream = io.BytesIO()
    np.save(stream, frames.astype(np.float16))
    write_bytes(path, stream.getvalue(), durable=False)


def feature_path(mtf: str, split: str) -> str:
    """Return where a piece's features go: ``train/aird/x.mtf`` to ``audio/train/aird/x.npy``."""
    inside = Path(mtf).relative_to(split)
    return Path("audio", split, inside).with_suffix(".npy").as_posix()


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    from clamp3.errors import ConfigError
    from clamp3.jobs.parallel import process_map

    args = build_parser().parse_args(argv)
    if shutil.which("fluidsynth") is None or not all(font.is_file() for font in args.soundfont):
        raise ConfigError(
            "this step needs fluidsynth and a General MIDI soundfont: "
            "apt-get install fluidsynth fluid-soundfont-gm, or name one with --soundfont."
        )
    failed = 0
    for split in SPLITS:
        records = read_rows(args.data_dir / f"{split}.jsonl")
        if not records:
            raise ConfigError(f"{args.data_dir / f'{split}.jsonl'} is absent or empty; run build_data.py first.")
        chosen = sorted(records, key=lambda record: draw(f"{record['id']}/render", 1 << 60))
        chosen = chosen[: args.train] if split == "train" else chosen
        jobs = [(r["id"], next(p for p in r["filepaths"] if p.endswith(".mtf")), split) for r in chosen]
        job = partial(render, data_dir=str(args.data_dir), soundfonts=list(map(str, args.soundfont)))
        made: dict[str, str] = {}
        for outcome in process_map(job, jobs, n_workers=args.workers, timeout_sec=120, desc=f"rendering {split}"):
            name = jobs[outcome.index][0]
            if outcome.value is None:
                failed += 1
                print(f"{name}: {outcome.error}", file=sys.stderr)
            else:
                made[name] = outcome.value
        for record in records:
            paths = [path for path in record["filepaths"] if not path.endswith(".npy")]
            record["filepaths"] = paths + ([made[record["id"]]] if record["id"] in made else [])
        write_rows(args.data_dir / f"{split}.jsonl", records)
        write_rows(args.data_dir / f"{split}.sound.jsonl", [one for one in records if one["id"] in made])
        print(f"{split}: {len(made)} of {len(records)} pieces have sound")
    return EXIT_SOME_FAILED if failed else EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
