r"""Train HTCL: music vectors that also know what listeners like (arXiv 2505.23298).

Mel frames of the recordings first:
    python preprocessing/audio/extract_mel.py --form htcl --input_path audio/ --output_path mels/
Stage 1, audio with text; songs.jsonl has a song a row: {"id": "s1", "text": "…", "mel": "mels/s1.npy"}:
    python code/train_htcl.py --stage 1 --songs songs.jsonl --out runs/htcl1
Stage 2, also songs that listeners chose after others; pairs.jsonl has {"trigger": "s1", "song": "s7"} a row
(preprocessing/preferences.py makes it from logs):
    python code/train_htcl.py --stage 2 --songs songs.jsonl --pairs pairs.jsonl --init runs/htcl1/best.safetensors \
        --out runs/htcl2
Eight GPUs of one node:
    torchrun --standalone --nproc_per_node=8 code/train_htcl.py --stage 1 --songs songs.jsonl --out runs/htcl1
A small model on a CPU, its text encoder from a folder with tokenizer.json and config.json:
    python code/train_htcl.py --stage 1 --songs songs.jsonl --out runs/small --text_model text/ --text_from_scratch \
        --audio_width 128 --audio_layers 2 --audio_heads 4 --audio_channels 96 --dropout 0
Going on after a stop, to the same numbers as without it:
    (the same command)

Tables may be Parquet (pip install 'clamp3[preferences]'), also with the columns of HTCL's own. Writes OUT/last.pt
(everything to resume), best.safetensors (lowest evaluation loss), metrics.jsonl. SIGTERM saves and ends with exit
code 0. The result encodes recordings and words: Clamp3.from_pretrained("runs/htcl2").
"""

from __future__ import annotations

import argparse
from types import ModuleType

from clamp3.training.flags import add_flags
from clamp3.training.htcl_config import HtclTraining
from clamp3.training.launch import train


def add_arguments(parser: argparse.ArgumentParser, file: ModuleType | None = None) -> None:
    """Add one flag per field of ``HtclTraining``; for ``file`` see `clamp3.training.flags.add_flags`."""
    add_flags(parser, HtclTraining, file)


def main(args: argparse.Namespace) -> int:
    """Train; return the exit code."""
    return train(HtclTraining, args)
