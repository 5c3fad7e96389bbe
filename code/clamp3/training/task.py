"""What the loop asks of a model and its data: `Task`.

`ChunkedTask` is one whose batches may be embedded in chunks, `RatedTask` one whose parts learn at rates of their own,
`PreparedTask` one that looks at the model before every epoch, `SteadyTask` one whose steps all train the same parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor, nn
from torch.utils.data import Dataset

if TYPE_CHECKING:
    from accelerate import Accelerator

    from clamp3.training.gradcache import Vectors


class Stopped(Exception):
    """Raised on every rank at once where a run is asked to end while it evaluates."""


class Task(Protocol):
    """What the loop needs to know about a model and its data.

    Attributes
    ----------
    module : Module
        The model, with everything that is saved and trained.
    train_data : Dataset
        Items by (epoch, index).
    collate : callable
        What makes one batch of items of ``train_data``; it pickles without the model, for other processes.
    """

    @property
    def module(self) -> nn.Module: ...  # noqa: D102
    @property
    def train_data(self) -> Dataset[Any]: ...  # noqa: D102
    @property
    def collate(self) -> Callable[[Sequence[Any]], dict[str, Tensor]]: ...  # noqa: D102

    def batches(self, epoch: int, rank: int, world_size: int) -> Sequence[np.ndarray]:
        """Return this rank's batches of an epoch, as item indices; equally many on every rank.

        Parameters
        ----------
        epoch : int
            From 0.
        rank, world_size : int
            Number of this process, and of all.
        """

    def loss(self, wrapped: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss to differentiate, and measures to log.

        Averaged over ranks, loss and gradients must be those of the global batch in one process.

        Parameters
        ----------
        wrapped : Module
            ``module``, as DistributedDataParallel wraps it where there are several ranks.
        batch : dict of str to Tensor
            As ``collate`` made it, on the device.
        """

    def train(self) -> None:
        """Put the module in training mode; frozen parts stay in evaluation mode."""

    def evaluate(self, accelerator: Accelerator, poll: Callable[[], None]) -> dict[str, float]:
        """Return measures of the evaluation set, ``loss`` among them; equal on every rank, empty without data.

        Parameters
        ----------
        accelerator : Accelerator
        poll : callable
            To be called every second or so, equally often on every rank; it raises `Stopped`.
        """

    def export(self, path: Path, info: dict[str, Any]) -> None:
        """Write the weights of the module as a model that can be loaded by name or path.

        Parameters
        ----------
        path : Path
        info : dict
            Facts about the training, for the file.
        """


@runtime_checkable
class ChunkedTask(Task, Protocol):
    """A task whose loss couples the pieces of a batch by their vectors only, so that they can be embedded in chunks.

    Attributes
    ----------
    chunk : int
        How many pieces are embedded at a time with gradient caching; 0 embeds a batch at once.
    """

    @property
    def chunk(self) -> int: ...  # noqa: D102

    def compare(self, vectors: Vectors, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what ``loss`` does from the vectors of a batch.

        Parameters
        ----------
        vectors : dict of str to Tensor
            As ``module`` returns them.
        batch : mapping of str to Tensor
        """


@runtime_checkable
class PreparedTask(Task, Protocol):
    """A task that looks at the model before every epoch."""

    def prepare(self, epoch: int, accelerator: Accelerator, poll: Callable[[], None]) -> None:
        """Get ready for an epoch, or for the rest of one after a stop; on every rank, before its batches are asked for.

        Parameters
        ----------
        epoch : int
            From 0.
        accelerator : Accelerator
        poll : callable
            As of `Task.evaluate`.
        """


@runtime_checkable
class SteadyTask(Task, Protocol):
    """A task that may know which parameters every step gives a gradient."""

    def idle_parameters(self) -> list[nn.Parameter] | None:
        """Return those trainable ones that never get a gradient, if all others get one in every step; else None."""


@runtime_checkable
class RatedTask(Task, Protocol):
    """A task whose parameters do not all learn at the rate of the run."""

    def rate_factor(self, name: str) -> float:
        """Return the rate of a parameter of ``module`` as a multiple of the run's; its name is as in the module."""
