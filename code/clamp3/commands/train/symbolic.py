r"""Align text with symbolic music: CLaMP 3's contrastive training (arXiv 2502.10362).

One process, CPU or one GPU:
    python code/train_clamp3_symbolic.py --train_jsonl train.jsonl --init m3 --out runs/s
Eight GPUs of one node (8 x 128 pieces per step, as published):
    torchrun --standalone --nproc_per_node=8 code/train_clamp3_symbolic.py --train_jsonl train.jsonl --init m3 \
        --out runs/s
Last stage of SAAS, text frozen:
    python code/train_clamp3_symbolic.py --train_jsonl train.jsonl --init runs/saa/best.safetensors --freeze_text \
        --out runs/saas
A small model with a text tower of its own:
    python code/train_clamp3_symbolic.py --train_jsonl train.jsonl --eval_jsonl eval.jsonl --init m3.safetensors \
        --text_model mini_text/ --text_from_scratch --hidden_size 256 --mixed_precision bf16 --out runs/mini
Going on after a stop, to the same numbers as without it:
    (the same command)

Sizes of the symbolic tower come from --init where one is given. Writes OUT/last.pt (everything to resume),
best.safetensors (lowest evaluation loss), metrics.jsonl. SIGTERM saves and ends with exit code 0.
"""

from __future__ import annotations

import argparse
from types import ModuleType

from clamp3.training.config import Clamp3Training
from clamp3.training.flags import add_flags
from clamp3.training.launch import train


def add_arguments(parser: argparse.ArgumentParser, file: ModuleType | None = None) -> None:
    """Add one flag per field of ``Clamp3Training``; for ``file`` see `clamp3.training.flags.add_flags`."""
    add_flags(parser, Clamp3Training, file)


def main(args: argparse.Namespace) -> int:
    """Train; return the exit code."""
    return train(Clamp3Training, args)
