"""The learning rate, a pure function of the step, and what is said about it before the run starts."""

from __future__ import annotations

import math

from clamp3.training.config import RunConfig


def learning_rate_at(step: int, config: RunConfig, *, total_steps: int, time_share: float = 0.0) -> float:
    """Return the rate of optimizer step ``step`` (from 0).

    Parameters
    ----------
    step : int
    config : RunConfig
        ``learning_rate``, ``warmup_steps`` and ``schedule`` are used.
    total_steps : int
        Steps of the whole run.
    time_share : float
        Share of ``--max_minutes`` that is spent; the cosine ends at whichever limit comes first.

    Returns
    -------
    float
        Linear warm-up from 0 (step 0 has rate 0, as transformers' schedule), then constant or a half cosine to 0.
    """
    if step < config.warmup_steps:
        return config.learning_rate * step / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    done = (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps)
    share = min(1.0, max(done, time_share))
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def warnings_of(config: RunConfig, total_steps: int) -> list[str]:
    """Return what is likely wrong with the rate of a run, a sentence each.

    Parameters
    ----------
    config : RunConfig
    total_steps : int
    """
    if config.warmup_steps < total_steps / 2:
        return []
    what = "never ends" if config.warmup_steps >= total_steps else "is more than half of the run"
    return [
        f"the warm-up of {config.warmup_steps} steps {what}: all steps are {total_steps}; "
        f"--warmup_steps {max(1, total_steps // 10)} would be a tenth of them"
    ]
