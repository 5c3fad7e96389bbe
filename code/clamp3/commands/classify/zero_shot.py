"""Classify files without training, by sentences about each class; or place them between two opposites.

    python classification/zero_shot_cls.py my_music/ --classes jig waltz hymn
    python classification/zero_shot_cls.py my_music/ --classes happy sad --templates "a {} song" "{} piano music"
    python classification/zero_shot_cls.py features/ --axis happy sad --axis fast slow --model saas --output places.json
    python classification/zero_shot_cls.py my_music/ --prompts classes.json --labels labels.csv
    python classification/zero_shot_cls.py my_music/ --prompts region --classes China Ireland Germany

Files are vectors of the model (.npy) or raw music; sentences, and raw files, are encoded with --model. Every class has
a prompt per template, or those of --prompts, a JSON object from classes to sentences, or region, genre, instrument or
mood: sentences in five languages that come with this package (--classes takes some of its classes). Scores are cosines
to the mean of a class's prompts; the place on an axis is the difference of two cosines. With --labels (a table, or
"names" for file names up to the first "_") accuracy and macro-F1 are printed. docs/zero_shot.md has an example.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from clamp3.cli import EXIT_OK, EXIT_SOME_FAILED, add_model_flags, open_model
from clamp3.formats.tables import json_text
from clamp3.jobs.walk import existing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("folder", type=existing, help="folder of vectors (.npy) or raw files")
    parser.add_argument("--classes", nargs="+", default=[], metavar="CLASS", help="names of classes")
    parser.add_argument("--templates", nargs="+", metavar="TEXT", help="sentences with {} for the class")
    parser.add_argument(
        "--prompts", metavar="FILE", help="sentences of every class (.json), or region, genre, instrument, mood"
    )
    parser.add_argument(
        "--languages", nargs="+", default=[], help="of --prompts region …: en de fr es zh (default: all)"
    )
    parser.add_argument("--axis", nargs=2, action="append", default=[], metavar=("THIS", "THAT"), help="two opposites")
    parser.add_argument("--labels", help='table of true classes, or "names"')
    parser.add_argument("--output", type=Path, help="write the answers to this JSON file")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_model_flags(parser)


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    from clamp3.index.prompts import TEMPLATES, prompts_for
    from clamp3.jobs.atomic import write_text
    from clamp3.probe.zero_shot import PRESETS, answer_folder, as_lines, preset_prompts, read_prompts
    from clamp3.retrieval.evaluation import print_remarks

    templates = args.templates or TEMPLATES
    if args.prompts in PRESETS and not Path(args.prompts).is_file():
        classes = preset_prompts(args.prompts, args.classes, args.languages)
    else:
        classes = read_prompts(Path(args.prompts)) if args.prompts else prompts_for(args.classes, templates)
    axes = [prompts_for(ends, templates) for ends in args.axis]
    result, problems = answer_folder(args.folder, open_model(args), classes, axes, labels=args.labels)
    text = json_text(result, indent=1)
    print(text if args.json else as_lines(result))
    if args.output:
        write_text(args.output, text + "\n")
    print_remarks([f"left out: {name}: {reason}" for name, reason in problems])
    return EXIT_SOME_FAILED if problems else EXIT_OK
