"""Encode a folder of scores and performances with M3's encoder into a folder of .npy files.

    python code/extract_m3.py my_scores/ features/                 # hidden states of all patches, (1, L, 768)
    python code/extract_m3.py my_scores/ features/ --get_global    # their plain mean, (1, 768)
    torchrun --nproc_per_node 4 code/extract_m3.py my_scores/ features/ --model runs/m3/best.safetensors

Reads .abc (plain or interleaved) and .mtf, and also .xml .musicxml .mxl .krn .mei .mid .midi, with sub-folders. M3 has
no joint space with text: compare these vectors with each other only. Running the command again does only what is
missing; what failed is named in OUTPUT_DIR/ledger.jsonl, and the exit code is then 1.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from clamp3.cli import EXIT_OK, EXIT_SOME_FAILED, parser_for, run


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("input_dir", type=Path, help="folder to read, recursively, or a single file")
    parser.add_argument("output_dir", type=Path, help="folder to write the same tree to")
    parser.add_argument("--get_global", action="store_true", help="the mean over patches in place of hidden states")
    parser.add_argument("--model", default="m3", help="m3 or a checkpoint (default: %(default)s)")
    parser.add_argument("--epoch", type=int, help="checkpoint of this epoch in place of the best one")
    parser.add_argument("--batch_size", type=int, help="most windows encoded together (default: by their length)")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto", help="auto is float32")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps … (default: a GPU if there is one)")
    parser.add_argument("--n_workers", type=int, help="processes for conversions (default: one per usable core)")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the script; return its exit code."""
    args = build_parser().parse_args(argv)
    from clamp3.embed import M3
    from clamp3.extract import extract_folder
    from clamp3.jobs.batch import report
    from clamp3.jobs.crew import crew_from_environment

    crew = crew_from_environment()
    summary = extract_folder(
        M3.from_pretrained(args.model, epoch=args.epoch, dtype=args.dtype, device=args.device),
        args.input_dir,
        args.output_dir,
        temporal=not args.get_global,
        batch_size=args.batch_size,
        n_workers=args.n_workers,
        crew=crew,
    )
    if crew.rank == 0:
        return report(summary, as_json=args.json)
    return EXIT_SOME_FAILED if summary.failed else EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
