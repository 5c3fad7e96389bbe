r"""Align text with audio: CLaMP 3's contrastive training on features of recordings (arXiv 2502.10362).

The .npy files among a record's filepaths are its features: of preprocessing/audio/extract_mert.py, or, with
--front_end mel, of preprocessing/audio/extract_mel.py. The symbolic tower of --init is exported unchanged, bit for bit.

Stage 2 of SAAS, text frozen, a new audio tower:
    python code/train_clamp3_audio.py --train_jsonl train.jsonl --init runs/s/best.safetensors --freeze_text \
        --out runs/sa
Stage 3, text trained, on eight GPUs (8 x 256 pieces per step, as published):
    torchrun --standalone --nproc_per_node=8 code/train_clamp3_audio.py --train_jsonl train.jsonl \
        --init runs/sa/best.safetensors --out runs/saa
A small model that needs no MERT:
    python code/train_clamp3_audio.py --train_jsonl train.jsonl --init small.safetensors --text_model text/ \
        --front_end mel --audio_width 256 --audio_layers 4 --audio_heads 4 --freeze_text --out runs/audio
All available pairs in one run, also of music with music:
    python code/train_clamp3_audio.py --train_jsonl train.jsonl --init runs/saas/best.safetensors \
        --pairs text-symbolic text-audio abc-mtf symbolic-audio --out runs/pairs
Going on after a stop, to the same numbers as without it:
    (the same command)

Sizes of towers come from --init where it has them. Writes OUT/last.pt (everything to resume), best.safetensors (lowest
evaluation loss), metrics.jsonl. SIGTERM saves and ends with exit code 0.
"""

from __future__ import annotations

import argparse
from types import ModuleType

from clamp3.training.config import AudioTraining
from clamp3.training.flags import add_flags
from clamp3.training.launch import train


def add_arguments(parser: argparse.ArgumentParser, file: ModuleType | None = None) -> None:
    """Add one flag per field of ``AudioTraining``; for ``file`` see `clamp3.training.flags.add_flags`."""
    add_flags(parser, AudioTraining, file)


def main(args: argparse.Namespace) -> int:
    """Train; return the exit code."""
    return train(AudioTraining, args)
