"""Evaluate generated music: does it follow its prompts, sound like real music, vary, and copy nothing?

    python retrieval/evaluate_generation.py generated/ --reference real/
    python retrieval/evaluate_generation.py generated/ --prompts prompts.csv --model saas
    python retrieval/evaluate_generation.py generated/ --prompts names --reference real/ --training train/ --json r.json

Folders hold MIDI, scores, recordings, or vectors (.npy from `extract_clamp3.py --get_global`). --prompts is a table
(.csv, .tsv, .jsonl, .json) with a file's name and its prompt, a folder of files with the names of the generated ones
(texts, or the scores that were rendered as sound), or "names": file names are the prompts. For captions the generated
folder holds texts and --prompts names the folder of music. docs/generation.md explains every figure.
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path
from typing import Any

from clamp3.cli import EXIT_OK, EXIT_SOME_FAILED, add_model_flags, open_model
from clamp3.formats.tables import json_text
from clamp3.jobs.walk import existing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("generated", type=existing, help="folder of generated files")
    parser.add_argument("--prompts", metavar="TABLE", help='table or folder of what they should follow, or "names"')
    parser.add_argument("--reference", type=existing, metavar="DIR", help="real music they should be like")
    parser.add_argument("--training", type=existing, metavar="DIR", help="what was trained on: look for copies")
    parser.add_argument("--min_size", type=int, default=500, help="smallest sample of the extrapolation (%(default)s)")
    parser.add_argument(
        "--songs", type=Path, metavar="FILE", help="write every file's distance to the reference (JSONL)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of samples (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures")
    add_model_flags(parser)


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    from clamp3.jobs.atomic import write_text
    from clamp3.retrieval.evaluation import print_remarks, write_rows
    from clamp3.retrieval.generation import as_lines, evaluate_folder, songs

    once = functools.cache(lambda: open_model(args))
    folders: dict[str, Any] = {"reference": args.reference, "training": args.training}
    result, loaded = evaluate_folder(
        args.generated, args.prompts, folders, once, min_size=args.min_size, seed=args.seed
    )
    if args.songs and "reference" in loaded:
        music = loaded["generated"]
        write_rows(args.songs, songs(music.vectors, loaded["reference"].vectors, music.names))
    print("\n".join(as_lines(result)))
    if args.json:
        write_text(args.json, json_text(result, indent=1) + "\n")
    print_remarks([f"left out: {name}: {reason}" for name, reason in result["failures"]])
    return EXIT_SOME_FAILED if result["failures"] else EXIT_OK
