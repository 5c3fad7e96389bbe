"""``code/config.py``: its released names as the defaults of a run, and a sentence for those without effect here.

The file is plain Python with the names that CLaMP 3, CLaMP 2 and M3 published; one of the released repositories works
too. A text between angle brackets, such as ``<YOUR_EVALUATION_JSONL_FILE>``, is a place nobody filled in.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clamp3.errors import ConfigError, WeightsError
from clamp3.modalities.patches import PATCH_SIZE
from clamp3.models.registry import PUBLISHED, code_folder, resolve

logger = logging.getLogger(__name__)

BEST = "best.safetensors"
_KEY = "WANDB_API_KEY"


@dataclass(frozen=True)
class FileSettings:
    """What a script takes from the file besides plain values.

    Attributes
    ----------
    defaults : dict
        Of fields that no single name gives: ``out``, ``init``, ``resume``, ``wandb``.
    checkpoint : Path or None
        Existing released checkpoint that the run goes on from, or starts from if another kind of music was its last.
    notes : list of str
        Names in the file that have no effect, or another one.
    """

    defaults: dict[str, Any] = field(default_factory=dict)
    checkpoint: Path | None = None
    notes: list[str] = field(default_factory=list)


def value_of(file: Any, names: Sequence[str]) -> Any:
    """Return the value of the first of some names that the file has, without what was not filled in; None without any.

    Parameters
    ----------
    file : module or None
        ``code/config.py``.
    names : sequence of str
        The one that counts first.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> value_of(SimpleNamespace(EVAL_JSONL="<YOUR_FILE>", TRAIN_JSONL="a.jsonl"), ["CLAMP3_EVAL_JSONL", "EVAL_JSONL"])
    ''
    """
    found = next((name for name in names if hasattr(file, name)), None)
    value = None if found is None else getattr(file, found)
    if isinstance(value, (list, tuple)):
        return [part for part in value if not _is_unfilled(part)]
    return "" if _is_unfilled(value) else value


def _is_unfilled(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("<") and value.endswith(">")


def run_folder(weights: str, music: str = "") -> Path | None:
    """Return the folder of the run whose weights a ``…_WEIGHTS_PATH`` names; None for none, and for published weights.

    Parameters
    ----------
    weights : str
        A folder, or a file as the released configuration names it: its run is ``runs/<name of the file>``.
    music : str
        "symbolic" or "audio" where one name serves both trainings: it stands in the place of "weights".

    Examples
    --------
    >>> run_folder("weights_clamp3_mine.pth", "audio").as_posix(), run_folder("runs/mine").as_posix(), run_folder("c2")
    ('runs/audio_clamp3_mine', 'runs/mine', None)
    """
    if not weights or weights in PUBLISHED:
        return None
    path = Path(weights)
    if path.suffix != ".pth":
        return path
    return Path("runs") / (path.stem.replace("weights_", f"{music}_", 1) if music else path.stem)


def file_settings(file: Any, prefix: str, music: str = "") -> FileSettings:
    """Return what names of the file mean for a run whose own start with a prefix.

    Parameters
    ----------
    file : module or None
        ``code/config.py``.
    prefix : str
        "M3", "CLAMP2" or "CLAMP3".
    music : str
        "symbolic" or "audio" where the prefix serves both.

    Raises
    ------
    ConfigError
        If ``PATCH_SIZE`` is not the one there is.
    """
    if file is None:
        return FileSettings({"resume": "auto"})
    defaults: dict[str, Any] = {"resume": "no" if getattr(file, f"{prefix}_LOAD_CKPT", True) is False else "auto"}
    notes = []
    if getattr(file, "PATCH_SIZE", PATCH_SIZE) != PATCH_SIZE:
        raise ConfigError(f"PATCH_SIZE in config.py is {file.PATCH_SIZE}; patches hold {PATCH_SIZE} characters.")
    weights = value_of(file, [f"{prefix}_WEIGHTS_PATH"]) or ""
    folder = run_folder(weights, music)
    if folder is not None:
        defaults["out"] = folder
        if weights.endswith(".pth"):
            notes.append(f"{prefix}_WEIGHTS_PATH: weights are written to {folder}, not to {weights}")
    if getattr(file, f"{prefix}_LOAD_M3", False):
        if music == "audio":
            notes.append(f"{prefix}_LOAD_M3: there is no symbolic tower in this training")
        else:
            defaults["init"] = [_m3_of(value_of(file, ["M3_WEIGHTS_PATH"]) or "")]
    if getattr(file, f"{prefix}_WANDB_LOG", False):
        defaults["wandb"] = bool(os.environ.get(_KEY))
        if not defaults["wandb"]:
            notes.append(f"{prefix}_WANDB_LOG: nothing is logged there without a {_KEY} in the environment")
    if value_of(file, ["WANDB_KEY"]):
        notes.append(f"WANDB_KEY: a key is read from {_KEY} in the environment only; take it out of the file")
    if value_of(file, [f"{prefix}_LOGS_PATH"]):
        notes.append(f"{prefix}_LOGS_PATH: losses are written to metrics.jsonl in the folder of the run")
    if getattr(file, f"{prefix}_DETERMINISTIC", True) is False:
        notes.append(f"{prefix}_DETERMINISTIC: every run is seeded; --seed takes another seed")
    released = _existing(weights) if weights.endswith(".pth") and defaults["resume"] == "auto" else None
    return FileSettings(defaults, released, notes)


def _existing(file: str) -> Path | None:
    """Return the file of this name here or in ``code/``, where the released scripts run."""
    return next((path for path in (Path(file), code_folder() / file) if path.is_file()), None) if file else None


def _m3_of(weights: str) -> str:
    """Return the M3 that ``M3_WEIGHTS_PATH`` names: that file, or the run it was trained in; else the published one."""
    folder = run_folder(weights)
    best = None if folder is None else folder / BEST
    found = _existing(weights) or (best if best is not None and best.is_file() else None)
    return "m3" if found is None else str(found)


def own_or_published(prefix: str, published: str, epoch: int | None = None) -> Path:
    """Return the weights that an extraction script takes without ``--model``, and say which.

    Those that ``…_WEIGHTS_PATH`` in ``code/config.py`` names; else those of the newest training below ``runs/``; else
    the published ones.

    Parameters
    ----------
    prefix : str
        "M3", "CLAMP2" or "CLAMP3".
    published : str
        Name of the published weights.
    epoch : int, optional
        Checkpoint of this epoch.

    Raises
    ------
    WeightsError
        If what is named, or the checkpoint of this epoch, is nowhere.
    """
    named = value_of(importlib.import_module("config"), [f"{prefix}_WEIGHTS_PATH"]) or ""
    if named:
        found, why = _named(named, prefix, epoch), f"as {prefix}_WEIGHTS_PATH in config.py says"
    else:
        runs = [run for run in Path("runs").glob(f"*/{BEST}") if _is_of(run, prefix)]
        newest = max(runs, key=lambda run: run.stat().st_mtime_ns, default=None)
        if newest is None:
            if int(os.environ.get("RANK", "0")) == 0:
                logger.info("weights: %s, as released (searches take mini); --model takes others", published)
            return resolve(published, epoch=epoch)
        found, why = resolve(newest.parent, epoch=epoch), "the newest training here"
    if int(os.environ.get("RANK", "0")) == 0:
        logger.info("weights: %s, %s; --model takes others", found, why)
    return found


def _named(weights: str, prefix: str, epoch: int | None) -> Path:
    """Return the file of what ``…_WEIGHTS_PATH`` names: the newest run of that name, published weights, or itself."""
    folders = {run_folder(weights, music) for music in (("symbolic", "audio") if prefix == "CLAMP3" else ("",))}
    runs = [folder for folder in folders if folder is not None and (folder / BEST).is_file()]
    runs.sort(key=lambda folder: (folder / BEST).stat().st_mtime_ns, reverse=True)
    names = [name for name, one in PUBLISHED.items() if weights == name or Path(weights).name in one.files]
    if runs or names:
        return resolve(runs[0] if runs else names[0], epoch=epoch)
    for place in (Path(weights), code_folder() / weights):
        try:
            return resolve(place, epoch=epoch)
        except WeightsError:
            continue
    what = weights if epoch is None else f"epoch {epoch} of {weights}"
    raise WeightsError(f"{prefix}_WEIGHTS_PATH in config.py names {what}, which is neither there nor below runs/.")


def _is_of(run: Path, prefix: str) -> bool:
    """Return whether weights come from the training that a prefix stands for."""
    from clamp3.models.checkpoint import open_checkpoint

    try:
        checkpoint = open_checkpoint(run)
        if not checkpoint.family.joint:
            return prefix == "M3" and checkpoint.kind == "m3"
    except WeightsError:
        return False
    settings = checkpoint.info.get("training")
    texts = settings.get("texts") if isinstance(settings, dict) else None
    return prefix == ("CLAMP2" if texts == "clamp2" else "CLAMP3")
