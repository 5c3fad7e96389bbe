"""What the training scripts share: flags from a configuration, one run, one line at the end."""

from __future__ import annotations

import argparse
import json
from typing import Any

from clamp3.cli import parser_for
from clamp3.jobs.atomic import write_text
from clamp3.training.config import Clamp3Training, M3Training, RunConfig, add_flags, from_flags

OUTCOME = "outcome.json"  # in the run's folder: why it ended, "stopped" if it was asked to, and where


def training_parser(doc: str | None, config: type[RunConfig], released: Any) -> argparse.ArgumentParser:
    """Return a script's parser: one flag per field of ``config``, defaults from ``code/config.py``."""
    parser = parser_for(doc)
    add_flags(parser, config, released)
    return parser


def train(config: type[RunConfig], args: argparse.Namespace) -> int:
    """Run the training that parsed flags describe; return the exit code."""
    resolved = from_flags(config, args)
    from clamp3.training.loop import start_run

    if isinstance(resolved, M3Training):
        from clamp3.training.m3_task import make_m3_task

        outcome = start_run(resolved, make_m3_task)
    else:
        from clamp3.training.clamp3_task import make_clamp3_task

        assert isinstance(resolved, Clamp3Training)
        outcome = start_run(resolved, make_clamp3_task)
    if outcome.main:
        best = outcome.progress.best_loss
        facts = {
            "reason": outcome.reason,
            "step": outcome.progress.step,
            "minutes": round(outcome.progress.minutes, 3),
            "best_loss": best if best < float("inf") else None,
        }
        write_text(resolved.out / OUTCOME, json.dumps(facts) + "\n")
        print(outcome.summary(resolved.out))
    return 0
