"""Encode a folder of music and texts with CLaMP 3 into a folder of .npy files.

    python code/extract_clamp3.py my_scores/ features/ --get_global --model saas
    python code/extract_clamp3.py my_texts/ features_text/ --get_global --model code/my_run/best.safetensors
    torchrun --nproc_per_node 4 code/extract_clamp3.py my_scores/ features/ --get_global
    accelerate launch --multi_gpu code/extract_clamp3.py my_scores/ features/ --get_global

Reads .txt, .abc (plain or interleaved), .mtf, .npy (audio features), and also .xml .musicxml .mxl .krn .mei .mid .midi
and recordings (.wav .mp3 .flac .ogg .opus .m4a .aac .wma .aiff …; released weights encode them with MERT), with
sub-folders, and writes the same tree: arrays of shape (1, D) with --get_global, else hidden states (1, T, width).
Several processes share the work so that none idles. Running the command again does only what is missing; failures are
listed in OUTPUT_DIR/ledger.jsonl, and the exit code is then 1. features.json there identifies the weights.
"""

from __future__ import annotations

import argparse

from clamp3.cli import add_extract_flags


def add_arguments(parser: argparse.ArgumentParser, model: str | None = "mini") -> None:
    """Add the flags; for ``model`` see `clamp3.cli.add_extract_flags`."""
    if model is None:
        parser.epilog = "Without --model searches take mini and this script, as released, saas: name the same for both."
    add_extract_flags(parser, model, published="saas", choices="saas, c2, mini or a checkpoint")
    parser.add_argument("--text_model", help="folder or name of the text tower's tokenizer, if not the model's own")
    parser.add_argument("--mert_model", help="folder or name of MERT for recordings (default: m-a-p/MERT-v1-95M)")


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    from clamp3.embedding.clamp3 import Clamp3
    from clamp3.embedding.extract import run_extract
    from clamp3.training.config_file import own_or_published

    encoder = Clamp3.from_pretrained(
        args.model or own_or_published("CLAMP3", "saas", args.epoch),
        epoch=args.epoch if args.model else None,
        text_model=args.text_model,
        mert_model=args.mert_model,
        dtype=args.dtype,
        device=args.device,
        as_is=args.as_is,
        correct=args.correct,
    )
    return run_extract(encoder, args)
