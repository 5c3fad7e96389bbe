"""Describe images in words, one text file per image, so that pictures can search music.

    python preprocessing/text/caption_images.py photos/ captions/
    python preprocessing/text/caption_images.py photos/ captions/ --model models/blip --batch_size 32 --device cuda
    python code/extract_clamp3.py captions/ features/ --get_global

Uses BLIP from the Hugging Face hub, or from a folder. The output folder mirrors the input folder; ledger.jsonl in it
reports the result for every image. Run again, only what is missing or changed is done. Exit code 1: some images failed.
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path

from clamp3.jobs.walk import existing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("input_dir", type=existing, help="folder of images, recursively, or a single one")
    parser.add_argument("output_dir", type=Path, help="folder to write the same tree of .txt files to")
    parser.add_argument("--model", help="folder or hub name (default: Salesforce/blip-image-captioning-base)")
    parser.add_argument("--prompt", default="", help='what every caption begins with, such as "a photo of"')
    parser.add_argument("--batch_size", type=int, default=16, help="images captioned together (default: %(default)s)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps … (default: a GPU if there is one)")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def main(args: argparse.Namespace) -> int:
    """Caption the folder, print the summary, return the exit code."""
    from clamp3.jobs.summary import report
    from clamp3.metadata.captions import DEFAULT_MODEL, BlipOptions, caption_folder, load_blip

    options = BlipOptions(args.model or DEFAULT_MODEL, args.prompt)
    load = functools.partial(load_blip, options, args.device)
    summary = caption_folder(
        load, args.input_dir, args.output_dir, task=options.task, batch_size=max(1, args.batch_size)
    )
    return report(summary, as_json=args.json)
