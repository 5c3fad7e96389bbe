"""Flags of the training script; nothing heavy is imported, so ``--help`` is quick."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from clamp3.jobs.walk import existing
from clamp3.probe.config import BALANCES, HEADS, ProbeConfig
from clamp3.probe.losses import TASKS

if TYPE_CHECKING:
    from clamp3.probe.train import Plan


def add_flags(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the flags of a training to a parser; defaults are the released script's where it has the flag."""
    data = parser.add_argument_group("data")
    data.add_argument("--train_folder", type=existing, required=True, help="vectors (.npy) or raw music to train on")
    data.add_argument(
        "--eval_folder", type=existing, help="what is tested on (default: a share of the training folder)"
    )
    data.add_argument(
        "--labels", type=existing, metavar="FILE", help=".csv, .tsv or .json (default: in the file names)"
    )
    data.add_argument("--eval_split", type=float, default=0.2, help="share tested on (default: %(default)s)")
    data.add_argument(
        "--valid_split", type=float, default=0.2, help="share of the rest that chooses the epoch (default: %(default)s)"
    )
    data.add_argument("--stratified", action="store_true", help="draw splits class by class")
    data.add_argument("--folds", type=int, default=0, help="cross-validation in so many folds (default: none)")
    data.add_argument("--seeds", type=int, default=1, help="train so many times, from --seed on (default: %(default)s)")
    training = parser.add_argument_group("training")
    training.add_argument("--task", choices=TASKS, default="multiclass", help="(default: %(default)s)")
    training.add_argument("--head", choices=HEADS, default="linear", help="mlp: 512 ReLUs (default: %(default)s)")
    for name, about in (
        ("num_epochs", "most passes over the data"),
        ("learning_rate", "of AdamW"),
        ("batch_size", "files per step"),
        ("weight_decay", "of AdamW; 0 makes it Adam"),
        ("hidden", "units of the mlp"),
        ("dropout", "of the mlp"),
        ("lr_patience", "halve the rate after so many epochs without a better score; 0 = never"),
        ("patience", "stop after so many epochs without a better score; 0 = never"),
        ("seed", "of weights, order, dropout and splits"),
    ):
        default = getattr(ProbeConfig, name)
        training.add_argument(f"--{name}", type=type(default), default=default, help=f"{about} (default: %(default)s)")
    training.add_argument(
        "--balanced_training",
        choices=BALANCES,
        nargs="?",
        default="",
        const="under",
        help="as many examples of every class in an epoch: as of the smallest (under: published, and meant without a "
        "value) or, by repetition, of the largest (over)",
    )
    training.add_argument("--double_softmax", action="store_true", help="softmax before a loss that has one: published")
    training.add_argument(
        "--selection", choices=("valid", "eval"), default="valid", help="what chooses the epoch; eval: as published"
    )
    training.add_argument(
        "--published", action="store_true", help="the published protocol: --double_softmax --selection eval"
    )
    training.add_argument("--wandb_log", action="store_true", help="also log to Weights & Biases, after the training")
    training.add_argument("--wandb_key", help="its key; better in WANDB_API_KEY, where nobody else sees it")
    return parser


def from_flags(args: argparse.Namespace) -> tuple[Plan, ProbeConfig]:
    """Return plan and configuration of parsed flags.

    Raises
    ------
    ConfigError
        If values do not fit together.
    """
    from clamp3.probe.train import Plan

    names = (
        *("task", "head", "num_epochs", "learning_rate", "batch_size", "weight_decay", "hidden", "dropout"),
        *("lr_patience", "patience", "seed", "balanced_training"),
    )
    config = ProbeConfig(
        **{name: getattr(args, name) for name in names}, double_softmax=args.double_softmax or args.published
    )
    plan = Plan(
        args.train_folder,
        args.eval_folder,
        args.labels,
        args.eval_split,
        args.valid_split,
        "eval" if args.published else args.selection,
        args.stratified,
        args.folds,
        args.seeds,
    )
    return plan, config
