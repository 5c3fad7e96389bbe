"""Turn a folder of recordings into log-mel chunks, the input of checkpoints with a mel front end such as mini.

    python preprocessing/audio/extract_mel.py --input_path my_audio/ --output_path features/

Reads .wav .mp3 .flac .ogg .opus .m4a .aac .wma .aiff .au, and the sound of .mp4 and .webm, with sub-folders, and writes
the same tree: one .npy per recording, float16, shape (1, T, 6656), T chunks of 4.992 s from the first two minutes.
ledger.jsonl in OUTPUT_PATH reports the result for every file. Run again, only what is missing or changed is done. Exit
code 1: some files failed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from clamp3.cli import parser_for, run
from clamp3.formats import Kind


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script's flags."""
    parser = parser_for(__doc__)
    parser.add_argument("--input_path", type=Path, required=True, help="folder to read, recursively, or a single file")
    parser.add_argument("--output_path", type=Path, required=True, help="folder to write the same tree to")
    parser.add_argument("--n_workers", type=int, help="processes (default: one per usable core)")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the script; return its exit code."""
    args = build_parser().parse_args(argv)
    from clamp3.embedding.audio_features import MelFeatures
    from clamp3.embedding.extract import run_shared

    return run_shared(MelFeatures(), args.input_path, args.output_path, args, arrays="mel", kinds=[Kind.AUDIO])


if __name__ == "__main__":
    raise SystemExit(run(main))
