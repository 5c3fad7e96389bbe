"""Turn a folder of recordings into log-mel chunks, the input of checkpoints with a mel front end such as mini.

    python preprocessing/audio/extract_mel.py --input_path my_audio/ --output_path features/

Writes one .npy per recording, float16, shape (T, 6656): T chunks of 4.992 s from the first two minutes. The output
folder mirrors the input folder; ledger.jsonl in it says what became of every file. Run again, only what is missing or
changed is done. Exit code 1: some files failed.
"""

from __future__ import annotations

import argparse
import io
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


def convert(data: bytes, name: str) -> bytes:
    """Return the .npy of one recording; runs in a worker."""
    import numpy as np
    import soundfile

    from clamp3.errors import FormatError
    from clamp3.formats.mel import RATE_HZ, log_mel

    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    if rate != RATE_HZ:
        raise FormatError(f"{name} has {rate} samples per second; {RATE_HZ} are needed until resampling is there.")
    stream = io.BytesIO()
    np.save(stream, log_mel(samples.mean(axis=1)).astype(np.float16))
    return stream.getvalue()


def main(argv: list[str] | None = None) -> int:
    """Convert the folder, print the summary, return the exit code."""
    args = build_parser().parse_args(argv)
    from clamp3.jobs.batch import convert_folder, report

    summary = convert_folder(
        convert, args.input_path, args.output_path, kinds=[Kind.AUDIO], suffix=".npy", task="mel 1",
        n_workers=args.n_workers,
    )  # fmt: skip
    return report(summary, as_json=args.json)


if __name__ == "__main__":
    raise SystemExit(run(main))
