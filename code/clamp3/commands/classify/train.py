"""Train a probe on global vectors or raw music and test it; the label is the file name up to the first "_".

    python classification/train_cls.py --train_folder features/ --eval_folder features_test/    # weights-features.pth
    python classification/inference_cls.py weights-features.pth new_features/ output.json
    python classification/train_cls.py --train_folder my_music/ --labels labels.csv --model saas --seeds 5
    python classification/train_cls.py --train_folder features/ --published
    python classification/train_cls.py --train_folder f/ --task multilabel --labels tags.csv --head mlp --batch_size 64

The data are split in three: a training set, a validation set that chooses the best epoch, and a test set. The published
numbers were made with two (the test set chooses the epoch) and with a softmax before a loss that has its own:
--published does so. Vectors come from `extract_clamp3.py --get_global`; raw files are encoded with --model. With
several seeds or folds the first run's probe is written.
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path

from clamp3.cli import EXIT_OK, EXIT_SOME_FAILED, add_model_flags, open_model
from clamp3.errors import ConfigError
from clamp3.formats.tables import json_text
from clamp3.probe.flags import add_flags, from_flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_model_flags(add_flags(parser))
    parser.add_argument("--output", type=Path, help="the probe (default: a new weights-<train_folder>.pth)")
    parser.add_argument("--report", type=Path, metavar="DIR", help="write report.json and plots (.png) there")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    from clamp3.jobs.atomic import write_text
    from clamp3.probe.checkpoint import check_replaceable, save_probe
    from clamp3.probe.metrics import need_eval
    from clamp3.probe.report import as_plain, as_text, draw, log_to_wandb
    from clamp3.probe.train import train
    from clamp3.retrieval.evaluation import print_remarks

    need_eval("sklearn", "scores of a probe")
    output = args.output or Path(f"weights-{args.train_folder.resolve().name}.pth")
    if args.output is None and output.exists():
        raise ConfigError(f"{output} exists; move it away, or name the probe by --output.")
    check_replaceable(output)
    runs, data = train(*from_flags(args), partial(open_model, args))
    save_probe(runs[0].probe, output)
    result = {**as_plain(runs), "output": str(output), "left_out": dict(data.problems)}
    if args.report:
        draw(runs, args.report)
        write_text(args.report / "report.json", json_text(result, indent=1) + "\n")
    print(json_text(result, indent=2) if args.json else as_text(runs))
    if args.wandb_log:
        if args.wandb_key and not args.wandb_key.startswith("<"):  # as the released default is
            os.environ["WANDB_API_KEY"] = args.wandb_key
        log_to_wandb(runs, output.stem)
    print_remarks([f"probe written to {output}", *(f"left out: {name}: {reason}" for name, reason in data.problems)])
    return EXIT_SOME_FAILED if data.problems else EXIT_OK
