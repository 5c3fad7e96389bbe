"""What the training scripts share: one run from parsed flags, one line at the end."""

from __future__ import annotations

import argparse
import json
import logging
import os
import pkgutil
from dataclasses import replace

from clamp3.jobs.atomic import write_text
from clamp3.training.config import RunConfig
from clamp3.training.config_file import FileSettings
from clamp3.training.flags import Config, from_flags

logger = logging.getLogger(__name__)

OUTCOME = "outcome.json"  # in the run's folder: why it ended, "stopped" if it was asked to, and where


def train(config: type[RunConfig], args: argparse.Namespace) -> int:
    """Run the training that parsed flags describe.

    Parameters
    ----------
    config : type
        A subclass of `RunConfig`, whose ``task`` names what makes the task.
    args : argparse.Namespace
        With the flags of `clamp3.training.flags.add_flags`.

    Returns
    -------
    int
        Exit code.
    """
    asked = _started(from_flags(config, args), args.file_settings)
    from clamp3.training import checkpoint, presets
    from clamp3.training.loop import start_run

    resume = checkpoint.find_resume(asked.resume, asked.out)
    at_hand = presets.with_init_at_hand(asked, resume)
    resolved = replace(presets.settled(at_hand, args.given), init=asked.init)
    if _first() and (brought := presets.in_words(asked, resolved)):
        logger.info("from %s: %s", " and ".join(_sources(asked)), brought)
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


def _started(config: Config, file: FileSettings) -> Config:
    """Say what of ``code/config.py`` has no effect; let the run go on, or start, from the checkpoint the file names.

    The released scripts go on from it, or start from its weights if another kind of music was trained last.
    """
    if _first():
        for note in file.notes:
            logger.info("config.py: %s", note)
    asked = config.resume == "auto" and [*config.init] == file.defaults.get("init", [])
    if file.checkpoint is None or not asked:
        return config
    from clamp3.training import checkpoint, released

    if released.music_of(file.checkpoint) not in ("", config.modality):
        return replace(config, init=(str(file.checkpoint),))
    return config if (config.out / checkpoint.LAST).exists() else replace(config, resume=str(file.checkpoint))


def _first() -> bool:
    return int(os.environ.get("RANK", "0")) == 0


def _sources(config: RunConfig) -> list[str]:
    preset = getattr(config, "preset", "none")
    return ([f"--preset {preset}"] if preset != "none" else []) + [f"--init {name}" for name in config.init]
