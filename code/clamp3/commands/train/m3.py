r"""Pre-train M3: mask 45 % of a piece's patches and predict their characters (arXiv 2410.13267).

One process, CPU or one GPU:
    python code/train_m3.py --data abc/ mtf/ --out runs/m3
Eight GPUs of one node:
    torchrun --standalone --nproc_per_node=8 code/train_m3.py --data abc/ mtf/ --out runs/m3
A small model on two CPU cores, 15 minutes:
    python code/train_m3.py --data abc/ mtf/ --out runs/m3 --width 256 --n_layers 5 --n_heads 4 --decoder_layers 2 \
        --patch_length 256 --batch_size 32 --learning_rate 5e-4 --max_minutes 15 --mixed_precision bf16
Going on after a stop, to the same numbers as without it:
    (the same command)

Writes OUT/last.pt (everything to resume), best.safetensors (lowest evaluation loss), metrics.jsonl. SIGTERM saves and
ends with exit code 0.
"""

from __future__ import annotations

import argparse
from types import ModuleType

from clamp3.training.config import M3Training
from clamp3.training.flags import add_flags
from clamp3.training.launch import train


def add_arguments(parser: argparse.ArgumentParser, file: ModuleType | None = None) -> None:
    """Add one flag per field of ``M3Training``; for ``file`` see `clamp3.training.flags.add_flags`."""
    add_flags(parser, M3Training, file)


def main(args: argparse.Namespace) -> int:
    """Train; return the exit code."""
    return train(M3Training, args)
