"""Classify every file of a folder with a trained probe; write labels and probabilities as JSON.

    python classification/inference_cls.py weights-features.pth features/ output.json
    python classification/inference_cls.py features/ output.json                # the only weights-*.pth in this folder
    python classification/inference_cls.py weights.pth my_music/ output.json --model saas
    python classification/inference_cls.py weights.pth features/ output.json --labels_only

The folder holds vectors of the model the probe was trained with, or raw files, which are encoded with --model. For
every file: its label and the probability of each class; several labels for tags; values for a regression.
--labels_only writes what the released script writes, an object from paths to labels; its probes are read too.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from clamp3.cli import EXIT_OK, EXIT_SOME_FAILED, add_model_flags, open_model
from clamp3.errors import ConfigError
from clamp3.formats.tables import json_text
from clamp3.jobs.walk import existing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("weights", type=Path, nargs="?", help="probe of train_cls.py, .pth or .safetensors")
    parser.add_argument("folder", type=existing, help="folder of vectors (.npy) or raw files")
    parser.add_argument("output", type=Path, help="JSON file to write")
    parser.add_argument("--labels_only", action="store_true", help="paths and labels only, as released")
    parser.add_argument("--threshold", type=float, default=0.5, help="least probability of a tag (default: .5)")
    add_model_flags(parser)


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    from clamp3.jobs.atomic import write_text
    from clamp3.probe.checkpoint import load_probe
    from clamp3.probe.predict import predict_folder
    from clamp3.retrieval.evaluation import print_remarks

    probe = load_probe(args.weights or _only_probe())
    answers, problems = predict_folder(probe, args.folder, partial(open_model, args), threshold=args.threshold)
    if args.labels_only:
        answers = {name: answer["label"] for name, answer in answers.items()}
    write_text(args.output, json_text(answers, indent=1) + "\n")
    print(f"{len(answers)} files: {args.output}")
    print_remarks([f"left out: {name}: {reason}" for name, reason in problems])
    return EXIT_SOME_FAILED if problems else EXIT_OK


def _only_probe() -> Path:
    """Return the one probe in this folder under the name that train_cls.py gives it."""
    found = sorted(Path().glob("weights-*.pth"))
    if len(found) != 1:
        there = ", ".join(map(str, found)) or "none"
        raise ConfigError(f"which probe? Name it before the folder; weights-*.pth in this folder: {there}.")
    return found[0]
