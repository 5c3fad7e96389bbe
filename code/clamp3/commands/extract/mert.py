"""Turn a folder of recordings into MERT features, the input of the released audio tower.

    python preprocessing/audio/extract_mert.py --input_path my_audio/ --output_path features/ --mean_features
    python preprocessing/audio/extract_mert.py --input_path … --output_path … --model_path m-a-p/MERT-v1-95M
    accelerate launch --multi_gpu preprocessing/audio/extract_mert.py --input_path … --output_path … --mean_features

Reads .wav .mp3 .flac .ogg .opus .m4a .aac .wma .aiff .au, and the sound of .mp4 and .webm, with sub-folders, and writes
the same tree: with --mean_features arrays (1, T, 768), else (13, T, 768), one vector per 5 s. MODEL_PATH is a folder
with config.json and pytorch_model.bin, or a Hugging Face name; its weights are under CC BY-NC 4.0. Several processes
share the work. Run again, only what is missing is done; failures are listed in OUTPUT_PATH/ledger.jsonl, and the exit
code is then 1. A recording under one second fails.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from clamp3.errors import ConfigError
from clamp3.formats import Kind
from clamp3.jobs.walk import existing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "--input_path", type=existing, required=True, help="folder to read, recursively, or a single file"
    )
    parser.add_argument("--output_path", type=Path, required=True, help="folder to write the same tree to")
    parser.add_argument(
        "--model_path", default="m-a-p/MERT-v1-95M", help="folder or Hugging Face name (default: %(default)s)"
    )
    parser.add_argument("--mean_features", action="store_true", help="the mean of all layers, as CLaMP 3 takes it")
    parser.add_argument("--batch_size", type=int, help="chunks of 5 s that run together (default: by the device)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="default: %(default)s")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps … (default: a GPU if there is one)")
    parser.add_argument("--compile", action="store_true", help="translate the network with torch.compile (GPU)")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    from clamp3.embedding.audio_features import MertFeatures
    from clamp3.embedding.extract import run_shared
    from clamp3.models.mert import Mert

    if not args.input_path.exists():  # before a download starts
        raise ConfigError(f"{args.input_path} does not exist.")
    mert = Mert(args.model_path, dtype=args.dtype, device=args.device, compile=args.compile)
    features, arrays = MertFeatures(mert, mean=args.mean_features), "mert mean" if args.mean_features else "mert layers"
    return run_shared(features, args.input_path, args.output_path, args, arrays=arrays, kinds=[Kind.AUDIO])
