"""What a run logs: metrics.jsonl always; TensorBoard, Weights & Biases and a plot where asked for."""

from __future__ import annotations

import logging
import secrets
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from clamp3.errors import ConfigError, FormatError
from clamp3.formats.fields import typed
from clamp3.formats.tables import json_text, lines_in, parse_json
from clamp3.jobs.atomic import replacing, write_bytes, write_text
from clamp3.training.config import RunConfig, to_plain

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

METRICS, PLOT, WANDB_ID = "metrics.jsonl", "loss.png", "wandb_id"
GET_LOGS = "pip install 'clamp3[logs]'"


class Metrics:
    """Rows to metrics.jsonl, and wherever else the configuration asks; silent on all ranks but the first.

    Parameters
    ----------
    config : RunConfig
    main : bool
        Whether this is the first rank.
    step : int
        Last step that is done.
    """

    def __init__(self, config: RunConfig, main: bool, *, step: int = 0) -> None:
        self.path = config.out / METRICS if main else None
        self.wandb: Any = None
        self.board: Any = None
        if main and config.wandb:
            try:
                import wandb
            except ImportError as error:
                raise ConfigError(f"--wandb needs the wandb package: {GET_LOGS}.") from error
            self.wandb = wandb.init(
                project=config.wandb_project,
                name=config.out.name,
                id=_wandb_id(config.out),
                resume="allow",
                config=to_plain(config),
            )
        if main and config.tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise ConfigError(f"--tensorboard needs the tensorboard package: {GET_LOGS}.") from error
            self.board = SummaryWriter(str(config.out / "tensorboard"), purge_step=step + 1)

    def write(self, **row: Any) -> None:
        """Add one row; ``kind`` and ``step`` are among its values."""
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json_text(row) + "\n")
        named = {f"{row['kind']}/{name}": value for name, value in row.items() if name not in ("kind", "step")}
        if self.wandb is not None:
            self.wandb.log(named, step=row["step"])
        if self.board is not None:
            for name, value in named.items():
                self.board.add_scalar(name, value, row["step"])

    def close(self, *, plot: bool = True) -> None:
        """Finish what is open, and draw the losses."""
        if self.wandb is not None:
            self.wandb.finish()
        if self.board is not None:
            self.board.close()
        if self.path is not None and plot:
            plot_losses(self.path, self.path.with_name(PLOT))


def _wandb_id(out: Path) -> str:
    """Return the id under which Weights & Biases knows the run, made once: a run that goes on adds to its curves."""
    path = out / WANDB_ID
    if not path.is_file():
        write_text(path, f"{secrets.token_hex(4)}\n")
    return path.read_text(encoding="utf-8").strip()


def truncate(path: Path, step: int, epoch: int) -> None:
    """Drop rows of steps, and of ends of epochs, that will be done again, and a torn last line.

    Parameters
    ----------
    path : Path
    step, epoch : int
        The last ones that are done.
    """
    if not path.exists():
        return
    kept = []
    for _, line in lines_in(path):
        try:
            row = parse_json(line)
            again = row.get("kind") == "epoch" and not row.get("partial") and row.get("epoch", 0) > epoch
            if row.get("step", 0) <= step and not again:
                kept.append(line.rstrip(b"\n") + b"\n")
        except (FormatError, AttributeError, TypeError):
            logger.warning("%s: dropped a line that is no JSON", path)
    write_bytes(path, b"".join(kept))


def plot_losses(metrics: Path, picture: Path) -> None:
    """Draw training and evaluation loss over steps; one line in the log where matplotlib is absent.

    A contrastive loss grows with the number of items that are compared. Where evaluation compares fewer or more than a
    step, its loss has an axis of its own.

    Parameters
    ----------
    metrics, picture : Path
        What is read, and written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        logger.info("no %s: the plot needs matplotlib (%s)", picture.name, GET_LOGS)
        return
    rows: list[dict[str, Any]] = []
    for _, line in lines_in(metrics) if metrics.exists() else ():
        with suppress(FormatError):
            rows.append(typed(dict[str, Any], parse_json(line)))
    curves = {
        name: [(row["step"], row[field]) for row in rows if row.get(field) is not None and row.get("kind") != other]
        for name, field, other in (("training", "loss", "epoch"), ("evaluation", "eval_loss", "train"))
    }
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="loss", title=metrics.parent.name)
    both = {name: max((row.get(field) or 0 for row in rows), default=0)
            for name, field in (("training", "compared"), ("evaluation", "eval_compared"))}  # fmt: skip
    apart = bool(both["training"] and both["evaluation"] and both["training"] != both["evaluation"])
    lines: list[Any] = []
    for (name, points), marker, colour in zip(curves.items(), ("", "o"), ("C0", "C1"), strict=True):
        if points:
            label = f"{name}, among {both[name]:.0f}" if apart else name
            on = axes.twinx() if apart and name == "evaluation" else axes
            on.set_ylabel(f"{name} loss" if apart else "loss")
            lines += on.plot(*zip(*points, strict=True), label=label, marker=marker, color=colour)
    if lines:
        axes.legend(handles=lines)
    with replacing(picture) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def memory_mb(device: torch.device) -> float:
    """Return the highest memory use so far in MB: of torch on a CUDA device, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


def count_tokens(batches: Iterable[Mapping[str, Tensor]]) -> int:
    """Return how many positions of batches are no padding, over all their masks."""
    return sum(int(value.sum()) for batch in batches for name, value in batch.items() if name.endswith("mask"))
