"""Turn a folder of recordings into log-mel frames, the input of checkpoints with a mel front end such as mini.

    python preprocessing/audio/extract_mel.py --input_path my_audio/ --output_path features/
    python preprocessing/audio/extract_mel.py --form htcl --input_path my_audio/ --output_path htcl_mels/

Reads .wav .mp3 .flac .ogg .opus .m4a .aac .wma .aiff .au, and the sound of .mp4 and .webm, with sub-folders, and writes
the same tree: one .npy per recording, float16, shape (1, T, 6656), T chunks of 4.992 s from the first two minutes;
or, for HTCL, (1, 1251, 128): 1,251 frames, as many as two minutes have, the missing ones 80 dB below the loudest. What
HTCL's authors leave open are the flags --rate_hz (16 kHz by default, where their window of 128 ms is a power of two)
and --low_hz, --high_hz (0 and half the rate, as librosa has it); a model has to be used with the values it was trained
with, which our training writes into its file.
ledger.jsonl in OUTPUT_PATH reports the result for every file. Run again, only what is missing or changed is done. Exit
code 1: some files failed.
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
    parser.add_argument("--form", choices=["clamp3", "htcl"], default="clamp3", help="whose frames (default: clamp3)")
    for name, default, about in (
        ("rate_hz", 16_000, "samples per second that frames are made of"),
        ("low_hz", 0.0, "lower end of the mel bands"),
        ("high_hz", 0.0, "upper end of the mel bands; 0 = half the rate"),
    ):
        kind = type(default)
        parser.add_argument(f"--{name}", type=kind, help=f"with --form htcl: {about} (default: {default:g})")
    parser.add_argument("--n_workers", type=int, help="processes (default: one per usable core)")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    given = {name: getattr(args, name) for name in ("rate_hz", "low_hz", "high_hz") if getattr(args, name) is not None}
    if given and args.form != "htcl":
        raise ConfigError(f"--{next(iter(given))} needs --form htcl; the frames of clamp3 are fixed.")
    from clamp3.embedding.audio_features import MelFeatures
    from clamp3.embedding.extract import run_shared
    from clamp3.embedding.htcl_frames import HtclFrames
    from clamp3.formats.htcl_mel import HtclMel

    features = MelFeatures(HtclFrames(HtclMel(**given)) if args.form == "htcl" else None)
    return run_shared(features, args.input_path, args.output_path, args, arrays="mel", kinds=[Kind.AUDIO])
