r"""Fine-tune a CLaMP 3 model so that "more like this" follows what listeners like: HTCL's second stage on its towers.

Pairs of songs from a log first (preprocessing/preferences.py), then scores and performances:
    python code/train_preference.py --init saas --train_jsonl songs.jsonl --song_pairs pairs/pairs.parquet \
        --out runs/preference
The small model of the package, whose windows are shorter:
    python code/train_preference.py --init mini --max_patches 128 --text_length 96 --train_jsonl songs.jsonl \
        --song_pairs pairs/pairs.parquet --out runs/preference_mini
Recordings:
    python code/train_preference.py --init saas --train_jsonl songs.jsonl --song_pairs pairs/pairs.parquet \
        --pairs text-audio --out runs/preference_audio
Closer to the vectors of the starting weights:
    python code/train_preference.py --init saas --train_jsonl songs.jsonl --song_pairs pairs.jsonl --distill 1
Going on after a stop, to the same numbers as without it:
    (the same command)

songs.jsonl holds records as for train_clamp3_symbolic.py, with the ids that the pairs name. The loss has three terms:
music with its text, which keeps the meaning of the space; the songs of a pair; a song with music and text of the other.
The text tower stays as it is, unless --no-freeze_text, so that towers that are not trained stay aligned. Songs of a
batch that are linked, or of the same artist, are no negatives. The result is a model as before: best.safetensors.
"""

from __future__ import annotations

import argparse
from types import ModuleType

from clamp3.training.flags import add_flags
from clamp3.training.launch import train
from clamp3.training.preference_config import PreferenceTraining


def add_arguments(parser: argparse.ArgumentParser, file: ModuleType | None = None) -> None:
    """Add one flag per field of ``PreferenceTraining``; for ``file`` see `clamp3.training.flags.add_flags`."""
    add_flags(parser, PreferenceTraining, file)


def main(args: argparse.Namespace) -> int:
    """Train; return the exit code."""
    return train(PreferenceTraining, args)
