"""What the training scripts share: one run from parsed flags, one line at the end."""

from __future__ import annotations

import argparse
import json
import pkgutil

from clamp3.jobs.atomic import write_text
from clamp3.training.config import RunConfig, from_flags

OUTCOME = "outcome.json"  # in the run's folder: why it ended, "stopped" if it was asked to, and where


def train(config: type[RunConfig], args: argparse.Namespace) -> int:
    """Run the training that parsed flags describe.

    Parameters
    ----------
    config : type
        A subclass of `RunConfig`, whose ``task`` names what makes the task.
    args : argparse.Namespace
        With the flags of `clamp3.training.config.add_flags`.

    Returns
    -------
    int
        Exit code.
    """
    resolved = from_flags(config, args)
    from clamp3.training.loop import start_run

    outcome = start_run(resolved, pkgutil.resolve_name(resolved.task))
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
