r"""Train CLaMP 2: text and symbolic music, with metadata and summaries as texts (arXiv 2410.13267).

One process, CPU or one GPU:
    python code/train_clamp2.py --train_jsonl train.jsonl --init m3 --out runs/clamp2
Eight GPUs of one node (8 x 128 pieces per step, as published):
    torchrun --standalone --nproc_per_node=8 code/train_clamp2.py --train_jsonl train.jsonl --init m3 --out runs/clamp2
CLaMP 3 from it (the variants called c2), or from the published weights by --init clamp2:
    python code/train_clamp3_symbolic.py --train_jsonl m4rag.jsonl --init runs/clamp2/best.safetensors --out runs/s_c2
Going on after a stop, to the same numbers as without it:
    (the same command)

Records have title, composer, genres, description, lyrics, tags, ensembles, instruments, filepaths, and the summaries
summary_en (a string or a list) and summary_nen (an object with language and summary, or a list); all may be missing.
Writes OUT/last.pt, best.safetensors, metrics.jsonl.
"""

from __future__ import annotations

import argparse
from types import ModuleType

from clamp3.training.config import Clamp2Training
from clamp3.training.flags import add_flags
from clamp3.training.launch import train


def add_arguments(parser: argparse.ArgumentParser, file: ModuleType | None = None) -> None:
    """Add one flag per field of ``Clamp2Training``; for ``file`` see `clamp3.training.flags.add_flags`."""
    add_flags(parser, Clamp2Training, file)


def main(args: argparse.Namespace) -> int:
    """Train; return the exit code."""
    return train(Clamp2Training, args)
