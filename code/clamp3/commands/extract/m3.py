"""Encode a folder of scores and performances with M3's encoder into a folder of .npy files.

    python code/extract_m3.py my_scores/ features/                 # hidden states of all patches, (1, L, 768)
    python code/extract_m3.py my_scores/ features/ --get_global    # their plain mean, (1, 768)
    torchrun --nproc_per_node 4 code/extract_m3.py my_scores/ features/ --model runs/m3/best.safetensors

Reads .abc (plain or interleaved) and .mtf, and also .xml .musicxml .mxl .krn .mei .mid .midi, with sub-folders. M3 has
no joint space with text: compare these vectors with each other only. Running the command again does only what is
missing; failures are listed in OUTPUT_DIR/ledger.jsonl, and the exit code is then 1.
"""

from __future__ import annotations

import argparse

from clamp3.cli import add_extract_flags


def add_arguments(parser: argparse.ArgumentParser, model: str | None = "m3") -> None:
    """Add the flags; for ``model`` see `clamp3.cli.add_extract_flags`."""
    add_extract_flags(parser, model, published="m3", choices="m3 or a checkpoint")


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    from clamp3.embedding.clamp3 import M3
    from clamp3.embedding.extract import run_extract
    from clamp3.models.registry import resolve
    from clamp3.training.config_file import own_or_published

    weights = resolve(args.model, epoch=args.epoch) if args.model else own_or_published("M3", "m3", args.epoch)
    encoder = M3.from_pretrained(weights, dtype=args.dtype, device=args.device, as_is=args.as_is, correct=args.correct)
    return run_extract(encoder, args)
