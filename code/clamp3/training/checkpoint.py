"""Everything a run needs to go on as if it had not stopped, in one file written atomically."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from clamp3.errors import ConfigError, DataError
from clamp3.jobs.atomic import replacing

logger = logging.getLogger(__name__)

LAST, BEST, METRICS = "last.pt", "best.safetensors", "metrics.jsonl"


@dataclass
class Progress:
    """Where a run stands. Counts are of the whole run, over all its resumes.

    Attributes
    ----------
    epoch : int
        Current epoch, from 0.
    batch : int
        Batches of it that are done.
    step : int
        Optimizer steps done.
    minutes : float
        Training time spent.
    best_loss, best_epoch
        Lowest evaluation loss and the epoch (counted from 1) it came from.
    loss_sum, loss_count
        Running mean of the current epoch's training loss.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    minutes: float = 0.0
    best_loss: float = float("inf")
    best_epoch: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0


def git_revision() -> str | None:
    """Return the commit of the code that runs, with ``+changes`` if files differ; None outside a repository."""
    git = shutil.which("git")
    if git is None:
        return None
    folder = str(Path(__file__).parent)

    def ask(*command: str) -> str | None:
        done = subprocess.run([git, "-C", folder, *command], capture_output=True, text=True, timeout=20, check=False)  # noqa: S603
        return done.stdout.strip() if done.returncode == 0 else None

    commit = ask("rev-parse", "HEAD")
    if commit is None:
        return None
    return commit + ("+changes" if ask("status", "--porcelain", "--untracked-files=no") else "")


def rng_state() -> dict[str, Any]:
    """Return the state of torch's generators on this rank (dropout is all that draws from them)."""
    state: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_rng_state(state: dict[str, Any]) -> None:
    """Restore what ``rng_state`` returned."""
    torch.set_rng_state(state["cpu"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())


def save(
    path: Path,
    *,
    model: dict[str, Any],
    optimizer: dict[str, Any],
    scaler: dict[str, Any] | None,
    rng: list[dict[str, Any]],
    progress: Progress,
    config: dict[str, Any],
    revision: str | None,
) -> None:
    """Write a checkpoint. ``rng`` has one entry per rank; the learning rate follows from ``progress.step``."""
    state = {
        "format": "clamp3 training 1",
        "model": model,
        "optimizer": optimizer,
        "scheduler": {"step": progress.step},
        "scaler": scaler,
        "rng": rng,
        "progress": asdict(progress),
        "config": config,
        "git": revision,
    }
    with replacing(path) as temporary:
        torch.save(state, temporary)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint (tensors and plain values only).

    Raises
    ------
    ConfigError
        If it is absent, damaged, or no checkpoint of these scripts.
    """
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; --resume needs a last.pt of an earlier run.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen types for a damaged file
        raise ConfigError(f"{path} cannot be read as a checkpoint: {str(error).splitlines()[0]}") from error
    if not isinstance(state, dict) or state.get("format") != "clamp3 training 1":
        raise ConfigError(f"{path} is no training checkpoint; weights to start from are named by --init.")
    return state


def find_resume(resume: str, out: Path) -> Path | None:
    """Return the checkpoint to go on from, or None to start anew.

    Raises
    ------
    ConfigError
        If the run folder already holds a run and ``--resume`` was not given, or a named file is absent.
    """
    last = out / LAST
    if resume == "auto":
        return last if last.exists() else None
    if resume == "no":
        if last.exists():
            raise ConfigError(f"{out} already holds a run; add --resume auto to go on with it, or name another --out.")
        return None
    if not Path(resume).is_file():
        raise ConfigError(f"--resume {resume}: no such file.")
    return Path(resume)


# A resumed run may live elsewhere, last longer and save at other times; everything else must stay.
MAY_CHANGE = frozenset(
    {
        *("out", "pack", "resume", "workers", "wandb", "max_bad"),
        *("epochs", "max_steps", "max_minutes", "save_every", "save_minutes", "log_every"),
    }
)


def check_same_run(saved: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to resume under settings that would make it another run.

    Raises
    ------
    ConfigError
        Naming the settings that differ.
    """
    names = [name for name in now if name not in MAY_CHANGE and saved.get(name, now[name]) != now[name]]
    if names:
        differences = ", ".join(f"--{name} was {saved[name]}, is {now[name]}" for name in names)
        raise ConfigError(f"The checkpoint belongs to a run with other settings: {differences}.")


def truncate_metrics(path: Path, step: int) -> None:
    """Drop rows of steps that will be done again; a torn last line is dropped as well."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line).get("step", 0) <= step:
                kept.append(line)
        except (json.JSONDecodeError, AttributeError):
            logger.warning("%s: dropped a line that is no JSON", path)
    with replacing(path) as temporary:
        temporary.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


def require_finite(loss: float, step: int) -> None:
    """Stop a run whose loss is no number any more.

    Raises
    ------
    DataError
        If the loss is NaN or infinite.
    """
    if loss != loss or loss in (float("inf"), float("-inf")):
        raise DataError(
            f"The loss is {loss} at step {step}; lower --learning_rate or set --max_grad_norm 1, then resume."
        )
