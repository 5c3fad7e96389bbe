"""What a run says of itself: the first lines of its log, where it stands, how it ended, what to do without memory."""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from clamp3.errors import ConfigError
from clamp3.training.checkpoint import Progress
from clamp3.training.config import RunConfig
from clamp3.training.device import precision
from clamp3.training.schedule import warnings_of

logger = logging.getLogger(__name__)

SAID_EVERY_SEC = 60.0  # where stderr is no terminal


@dataclass(frozen=True)
class Outcome:
    """How a run ended: ``reason`` is "done", "time", "steps", "patience" or "stopped" (SIGTERM)."""

    progress: Progress
    reason: str
    main: bool = True

    def summary(self, out: Path) -> str:
        """Return the end of the run in one line, for the user."""
        why = {"done": "finished", "time": "stopped at the time limit", "steps": "stopped at the step limit",
               "patience": f"stopped after {self.progress.evaluations} evaluations without a better one",
               "stopped": "stopped on request; the same command goes on, or --resume auto"}[self.reason]  # fmt: skip
        progress = self.progress
        mrr = f", MRR {progress.best_mrr:.4f}" if progress.best_mrr else ""
        best = (
            f"; best evaluation loss {progress.best_loss:.4f}{mrr} (epoch {progress.best_epoch})"
            if progress.best_loss < float("inf")
            else ""
        )
        return f"{why} after {progress.step} steps, {progress.minutes:.1f} minutes{best}; see {out}"


def say_first(
    config: RunConfig, module: nn.Module, device: torch.device, world_size: int, n_batches: int, total_steps: int
) -> None:
    """Log what is trained, on what, in steps of which size; and warn of what is likely a mistake.

    Parameters
    ----------
    config : RunConfig
    module : Module
        Its parameters that need no gradient count as frozen.
    device : device
    world_size, n_batches : int
        Processes, and the batches of an epoch on each.
    total_steps : int
        Of the whole run.
    """
    counts = {True: 0, False: 0}
    for parameter in module.parameters():
        counts[parameter.requires_grad] += parameter.numel()
    kind = precision(config)
    arithmetic = "float32" if kind == "no" else kind
    logger.info(
        "%d %s on %s in %s; %s parameters train, %s are frozen",
        world_size, "process" if world_size == 1 else "processes", device.type, arithmetic,
        f"{counts[True]:,}", f"{counts[False]:,}",
    )  # fmt: skip
    batch = config.batch_size * world_size * config.accumulate
    logger.info(
        "a step takes %d items (%d x %d x %d accumulated), an epoch %d steps, the run %d; rate %g after %d, then %s",
        batch, config.batch_size, world_size, config.accumulate, -(-n_batches // config.accumulate), total_steps,
        config.learning_rate, config.warmup_steps, config.schedule,
    )  # fmt: skip
    for sentence in warnings_of(config, total_steps):
        logger.warning("%s", sentence)
    if world_size == 1 and (wanted := _launched()) > 1:
        logger.warning(
            "accelerate launch was asked for %d processes, but has started one: add --multi_gpu (without --cpu, also "
            "where there is no GPU), or use torchrun --nproc_per_node=%d",
            wanted, wanted,
        )  # fmt: skip


def _launched() -> int:
    """Return how many processes the `accelerate launch` that started this one was asked for; 1 if none did."""
    try:
        words = Path(f"/proc/{os.getppid()}/cmdline").read_text(errors="replace").split("\0")
    except OSError:  # no Linux
        return 1
    found = re.search(r"\0--num[_-]processes[=\0](\d+)\0", "\0".join([*words, ""]))
    return int(found[1]) if found and any("accelerate" in word for word in words[:4]) else 1


class Pace:
    """Where a run stands, a line a minute, for logs that no progress bar reaches.

    Parameters
    ----------
    main : bool
        Whether this is the first rank; the others say nothing.
    total_steps : int
        Of the whole run.
    """

    def __init__(self, main: bool, total_steps: int) -> None:
        self.speaks = main and not sys.stderr.isatty()
        self.total_steps, self.said = total_steps, time.monotonic()
        self.begin: tuple[float, int] | None = None

    def after(self, progress: Progress, loss: float | None) -> None:
        """Say where the run stands if the last time was a minute ago.

        Parameters
        ----------
        progress : Progress
        loss : float or None
            The last one that was logged.
        """
        now = time.monotonic()
        if self.begin is None:
            self.begin = now, progress.step
        if not self.speaks or now - self.said < SAID_EVERY_SEC or progress.step == self.begin[1]:
            return
        self.said = now
        pace = (now - self.begin[0]) / (progress.step - self.begin[1])
        shown = "" if loss is None else f", loss {loss:.4f}"
        logger.info(
            "epoch %d, step %d of %d%s, %.2f s a step, about %.0f min to go",
            progress.epoch + 1, progress.step, self.total_steps, shown, pace,
            (self.total_steps - progress.step) * pace / 60,
        )  # fmt: skip


@contextmanager
def memory_in_words(config: RunConfig, progress: Progress) -> Iterator[None]:
    """Turn running out of memory into one sentence with what to change.

    Parameters
    ----------
    config : RunConfig
    progress : Progress
        Where the run stands.

    Raises
    ------
    ConfigError
        In place of torch's errors.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
        short = ("out of memory", "can't allocate memory", "not enough memory")
        if not isinstance(error, MemoryError) and not any(words in str(error) for words in short):
            raise
        chunk = getattr(config, "grad_cache_chunk", None)
        keeps = "" if chunk is None else (
            f"--grad_cache_chunk {max(1, (chunk or config.batch_size) // 4)} keeps the batch and its gradient in less "
            "memory, and the same command goes on with it; else "
        )  # fmt: skip
        shorter = " or --patch_length" if hasattr(config, "patch_length") else ""
        raise ConfigError(
            f"out of memory at step {progress.step} with {config.batch_size} items per process: {keeps}lower "
            f"--batch_size{shorter} (a new run, with another --out)."
        ) from None
