"""Render a few held-out pieces as the short clips that `make demo` searches: examples/clips/*.ogg.

    python code/recipes/mini/clips.py examples/clips          (needs fluidsynth, see render.py)

The pieces are old tunes and songs out of copyright, the sound comes from FluidR3 (MIT licence), so the clips may be
used freely. Names are the ids of the pieces; presets and tempi are those of held-out works.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `recipes` and `clamp3`, without installation

from clamp3.cli import EXIT_OK, parser_for, run
from recipes.mini.heldout import corpus_root, heldout_examples
from recipes.mini.pieces import midi_of, musicxml_of
from recipes.mini.render import RATE_HZ, SOUNDFONT, arrange, play
from recipes.mini.scores import read_musicxml

CLIP_SEC, SHORTEST_SEC, FADE_SEC = 25.0, 12.0, 1.0


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = parser_for(__doc__)
    parser.add_argument("out_dir", type=Path, help="folder of the clips")
    parser.add_argument("--n_clips", type=int, default=12, help="how many (default: %(default)s)")
    parser.add_argument("--soundfont", type=Path, default=SOUNDFONT, help="General MIDI .sf2 (default: %(default)s)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    import numpy as np
    import soundfile

    args = build_parser().parse_args(argv)
    args.out_dir.mkdir(parents=True, exist_ok=True)
    made = 0
    for work in heldout_examples(4 * args.n_clips):
        midi = midi_of(work, read_musicxml(musicxml_of(work, corpus_root())))
        sound = play(arrange(midi, work.id, held_out=True, longest_sec=CLIP_SEC), args.soundfont)
        if len(sound) < SHORTEST_SEC * RATE_HZ:
            continue
        sound = 0.5 * sound[: int(CLIP_SEC * RATE_HZ)] / np.abs(sound).max()
        fade = int(FADE_SEC * RATE_HZ)
        sound[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
        soundfile.write(args.out_dir / f"{work.id}.ogg", sound, RATE_HZ, format="OGG", subtype="OPUS")
        print(f"{work.id}.ogg\t{len(sound) / RATE_HZ:.1f} s\t{work.title}")
        made += 1
        if made == args.n_clips:
            break
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
