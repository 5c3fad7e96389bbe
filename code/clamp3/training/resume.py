"""Going on with a run: which of its settings may change meanwhile, and what is then said."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from clamp3.errors import ConfigError
from clamp3.training import checkpoint, released
from clamp3.training.config import RunConfig
from clamp3.training.device import precision
from clamp3.training.flags import Config
from clamp3.training.presets import with_init_at_hand
from clamp3.training.task import Task

logger = logging.getLogger(__name__)

# A resumed run may live elsewhere, last longer and save at other times; nothing of it is said.
_FREE = frozenset(
    {
        *(
            "out",
            "pack",
            "resume",
            "workers",
            "wandb",
            "wandb_project",
            "tensorboard",
            "max_bad",
            "keep_last",
            "compile",
        ),
        *("tf32", "save_every", "save_minutes", "log_every", "eval_every", "patience", "wait_minutes", "preset"),
    }
)
_LENGTH = frozenset({"epochs", "max_steps", "max_minutes"})  # a cosine ends with the run
# May change too, and is said: a run that diverged or ran out of memory can go on.
_STEERING = frozenset({"learning_rate", "max_grad_norm", "grad_cache_chunk", "sub_batches", "recompute", "best_by"})
_DATA = frozenset({"train_jsonl", "more_jsonl", "eval_jsonl", "data", "eval_data", "shards", "songs", "eval_songs"})
DIGEST, PRECISION = "data_digest", "precision"  # beside the settings in a checkpoint: what they came to


def check_same_run(saved: Mapping[str, Any], now: Mapping[str, Any], n_before: int, n_now: int) -> list[str]:
    """Refuse to resume under settings that would make it another run.

    Parameters
    ----------
    saved, now : mapping
        Configurations as `clamp3.training.config.to_plain` returns them, with `DIGEST` and `PRECISION`.
    n_before, n_now : int
        Processes then and now.

    Returns
    -------
    list of str
        What has changed without making it another run, in words.

    Raises
    ------
    ConfigError
        Naming the settings that differ.
    """
    names = [name for name in now if name not in _FREE and saved.get(name, now[name]) != now[name]]
    names = [name for name in names if name != "eval_batch" or now[name]]  # 0: as at the beginning
    differences = {name: f"--{name} was {saved[name]}, is {now[name]}" for name in names}
    changed = [differences.pop(name) for name in names if name in _STEERING]
    lengths = [differences.pop(name) for name in names if name in _LENGTH]
    if lengths and now["schedule"] == "cosine":
        changed.append(f"{', '.join(lengths)}: the cosine now ends there, so rates differ from those of the first run")
    if "batch_size" in differences and saved["batch_size"] * n_before == now["batch_size"] * n_now:
        changed.append(f"{differences.pop('batch_size')}: the same batches on {n_now} processes in place of {n_before}")
    if saved.get(PRECISION) == now[PRECISION] and "mixed_precision" in differences:
        del differences["mixed_precision"]
    digest = differences.pop(DIGEST, "")
    moved = [name for name in differences if name in _DATA]
    if moved and not digest and saved.get(DIGEST):
        changed += [f"{differences.pop(name)}: the same pieces" for name in moved]
    elif digest and not moved:
        changed.append("the data have other pieces than before")
    differences.pop(PRECISION, None)  # it is that of --mixed_precision, or of another device
    if differences:
        raise ConfigError(
            f"The checkpoint belongs to a run with other settings: {', '.join(differences.values())}. "
            "Name another --out for a new run."
        )
    return changed


def facts_of(config: RunConfig, task: Task) -> dict[str, Any]:
    """Return what settings came to, for a checkpoint: the precision here, and a digest of the data.

    Parameters
    ----------
    config : RunConfig
    task : Task
        Its ``data_digest``, if it has one, says which pieces it trains on and is evaluated on.
    """
    # Asked of the class, so that an error in computing it is one.
    digest = getattr(task, "data_digest") if hasattr(type(task), "data_digest") else ""  # noqa: B009
    return {PRECISION: precision(config), **({DIGEST: digest} if digest else {})}


def continued(config: Config, resume: Path | None, world_size: int) -> Config:
    """Return the settings of a run as it goes on or begins: evaluated among as many items as at its beginning.

    Parameters
    ----------
    config : RunConfig
    resume : Path or None
        Checkpoint to go on from.
    world_size : int
        Number of processes.
    """
    size = config.batch_size * world_size
    if resume is not None and released.adopted_by(resume) != str(resume.resolve()):
        state = checkpoint.load(resume)
        before: dict[str, Any] = state["config"]
        size = before.get("eval_batch") or before.get("batch_size", config.batch_size) * max(1, len(state["rng"]))
    return replace(config, eval_batch=config.eval_batch or size)


def batches_done(before: Mapping[str, Any], n_before: int, config: RunConfig, n_now: int, done: int) -> int:
    """Return how many batches of an epoch are done, where they may have another size now: as much of the epoch.

    Parameters
    ----------
    before : mapping
        Settings of the checkpoint.
    n_before, n_now : int
        Processes then and now.
    config : RunConfig
    done : int
        Batches that were done.
    """
    return int(done * before.get("batch_size", config.batch_size) * n_before // (config.batch_size * n_now))


def build_settings(config: Config, resume: Path | None) -> tuple[Config, Config]:
    """Return the settings of a run, and those its model is built by, in which ``init`` is what there is.

    Parameters
    ----------
    config : RunConfig
    resume : Path or None
        Checkpoint to go on from.

    Raises
    ------
    ConfigError
        If a released checkpoint is to be gone on from in a folder that holds another run.
    """
    started = config
    if resume is not None and (adopted := released.adopted_by(resume)):
        last = config.out / checkpoint.LAST
        if last.exists() and adopted == str(resume.resolve()):
            if released.adopted_by(last) != adopted:
                raise ConfigError(f"{config.out} already holds another run; go on with it by --resume auto.")
            config = replace(config, resume="auto")  # the same command again
        started = replace(config, init=(adopted,))  # sizes and weights of every tower are in it, at every start
    return config, with_init_at_hand(started, resume)
