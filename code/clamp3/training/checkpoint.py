"""Everything a run needs to go on as if it had not stopped, in one file written atomically."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import zlib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from clamp3.errors import ConfigError, DataError, WeightsError
from clamp3.jobs.atomic import replacing
from clamp3.models.checkpoint import read_pickled, write_pickled

logger = logging.getLogger(__name__)

_PARTS = {"model": dict, "optimizer": dict, "rng": list, "config": dict}
LAST, BEST = "last.pt", "best.safetensors"


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
    best_loss, best_mrr, best_epoch
        Evaluation loss and MRR of the best weights so far, and the epoch (counted from 1) they came from.
    evaluations : int
        Those in a row that were not better.
    loss_sum, loss_count
        Running mean of the current epoch's training loss.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    minutes: float = 0.0
    best_loss: float = float("inf")
    best_epoch: int = 0
    best_mrr: float = 0.0
    evaluations: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0


def git_revision() -> str | None:
    """Return the commit of the code that runs, with ``+changes`` if files differ; None outside a repository.

    Where git does not say in time whether they do, as on a slow network disk, it is ``+changes?``.
    """
    git = shutil.which("git")
    if git is None:
        return None
    folder = str(Path(__file__).parent)

    def ask(*command: str) -> str | None:
        line = [git, "-C", folder, *command]
        try:
            done = subprocess.run(line, capture_output=True, text=True, timeout=20, check=False)  # noqa: S603
        except subprocess.TimeoutExpired:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = ask("rev-parse", "HEAD")
    if commit is None:
        return None
    changes = ask("status", "--porcelain", "--untracked-files=no")
    return commit + ("+changes?" if changes is None else "+changes" if changes else "")


def digest(module: nn.Module) -> int:
    """Return a checksum of all weights, to compare between processes."""
    found = 0
    for tensor in module.state_dict().values():
        found = zlib.crc32(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy(), found)
    return found


def rng_state() -> dict[str, Any]:
    """Return the state of torch's generators on this rank (dropout is all that draws from them)."""
    state: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_rng_state(state: dict[str, Any]) -> None:
    """Restore what ``rng_state`` returned."""
    torch.set_rng_state(state["cpu"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"].cpu())


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
    averages: dict[str, Any] | None = None,
    keep_last: int = 1,
) -> None:
    """Write a checkpoint, whole or not at all.

    Parameters
    ----------
    path : Path
        Always the newest.
    rng : list
        One entry per rank; the learning rate follows from ``progress.step``.
    averages : dict, optional
        Of the weights; see `clamp3.training.averages`.
    keep_last : int
        From 2 on, the newest so many also stay under names of their own, ``step_000000100.pt``, beside ``path``.
    """
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
        **({} if averages is None else {"averages": averages}),
    }
    if keep_last == 1:
        write_pickled(path, state)
        return
    # The name that stays comes first: a run killed before ``path`` has it too writes this checkpoint again.
    name = path.with_name(f"step_{progress.step:09d}.pt")
    write_pickled(name, state)
    with replacing(path) as temporary:
        temporary.unlink()
        try:
            os.link(name, temporary)
        except OSError:
            shutil.copyfile(name, temporary)
    others = [old for old in _written(path.parent) if old != name]
    for old in others[: 1 - keep_last]:
        old.unlink()


def _written(folder: Path) -> list[Path]:
    """Return the kept checkpoints, the newest last; going on from an older one may have left later steps behind."""
    return sorted(folder.glob("step_*.pt"), key=lambda path: (path.stat().st_mtime_ns, path.name))


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint (tensors and plain values only).

    Raises
    ------
    ConfigError
        If it is absent, damaged, or no checkpoint of these scripts.
    """
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; --resume needs a last.pt of an earlier run.")
    kept = _written(path.parent)
    advice = f" Try --resume {kept[-1]}." if kept else ""
    try:
        state = read_pickled(path)
    except WeightsError as error:
        raise ConfigError(f"{path} cannot be read as a checkpoint: {error}{advice}") from error
    if not isinstance(state, dict) or state.get("format") != "clamp3 training 1":
        raise ConfigError(f"{path} is no training checkpoint; weights to start from are named by --init.")
    known = {field.name: type(field.default) for field in fields(Progress)}
    progress = state.get("progress")
    if any(not isinstance(state.get(name), kind) for name, kind in _PARTS.items()) or not isinstance(progress, dict):
        raise ConfigError(f"{path} is damaged: a part of it is missing.{advice}")
    if not all(isinstance(value, (known.get(name, str), int)) for name, value in progress.items()):
        raise ConfigError(f"{path} is damaged: it does not say where the run stands.{advice}")
    return state


def find_resume(resume: str, out: Path) -> Path | None:
    """Return the checkpoint to go on from, or None to start anew.

    Parameters
    ----------
    resume : str
        ``--resume``: "no", "auto" or a file.
    out : Path
        Folder of the run.

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


def not_finite(what: str, step: int) -> DataError:
    """Return the error of a run that has no numbers any more.

    Parameters
    ----------
    what : str
        Beginning of its sentence.
    step : int
    """
    return DataError(
        f"{what} at step {step}; lower --learning_rate or set --max_grad_norm 1, and go on with --resume auto."
    )
