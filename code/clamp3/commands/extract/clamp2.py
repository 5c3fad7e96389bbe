"""Encode a folder of music and texts with CLaMP 2 into a folder of .npy files.

    python code/extract_clamp2.py my_scores/ features/ --normalize
    python code/extract_clamp2.py my_texts/ features_text/ --normalize --model runs/clamp2/best.safetensors
    torchrun --nproc_per_node 4 code/extract_clamp2.py my_scores/ features/ --normalize

--normalize is the released name of --get_global: one vector of the joint space per file, of whatever length; without
it, hidden states. Reads .txt, .abc (plain or interleaved), .mtf, and also .xml .musicxml .mxl .krn .mei .mid .midi,
with sub-folders. Running the command again does only what is missing; failures are listed in OUTPUT_DIR/ledger.jsonl,
and the exit code is then 1.
"""

from __future__ import annotations

import argparse

from clamp3.cli import add_extract_flags


def add_arguments(parser: argparse.ArgumentParser, model: str | None = "clamp2") -> None:
    """Add the flags; for ``model`` see `clamp3.cli.add_extract_flags`."""
    add_extract_flags(parser, model, published="clamp2", choices="clamp2 or a checkpoint")
    parser.add_argument("--normalize", dest="get_global", action="store_true", help="the released name of --get_global")
    parser.add_argument("--text_model", help="folder or name of the text tower's tokenizer, if not the model's own")


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    from clamp3.embedding.clamp3 import Clamp3
    from clamp3.embedding.extract import run_extract
    from clamp3.models.registry import resolve
    from clamp3.training.config_file import own_or_published

    weights = resolve(args.model, epoch=args.epoch) if args.model else own_or_published("CLAMP2", "clamp2", args.epoch)
    encoder = Clamp3.from_pretrained(
        weights,
        text_model=args.text_model,
        dtype=args.dtype,
        device=args.device,
        as_is=args.as_is,
        correct=args.correct,
    )
    return run_extract(encoder, args)
