"""From item indices to batches, in this process or in others."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from clamp3.training.task import Task

if TYPE_CHECKING:
    from accelerate import Accelerator


class _Keys:
    """Batch sampler that yields (epoch, item) keys; a batch's keys exist only while it is asked for."""

    def __init__(self, batches: Sequence[np.ndarray], epoch: int) -> None:
        self.batches, self.epoch = batches, epoch

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return ([(self.epoch, int(index)) for index in batch] for batch in self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def _start_worker(_number: int) -> None:
    """Leave Ctrl-C, which a terminal sends to every process, to the main one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def make_loader(task: Task, batches: Sequence[np.ndarray], epoch: int, *, workers: int, pin: bool) -> DataLoader[Any]:
    """Return the batches of a task, collated, in this order.

    Parameters
    ----------
    task : Task
    batches : sequence of int array
        Indices of items.
    epoch : int
        What random draws of the items depend on besides their index.
    workers : int
        Processes that prepare batches; 0 prepares them in this one.
    pin : bool
        Put them into pinned memory, for a GPU.
    """
    return DataLoader(
        task.train_data,
        batch_sampler=_Keys(batches, epoch),
        collate_fn=task.collate,
        num_workers=workers,
        worker_init_fn=_start_worker,
        pin_memory=pin,
        generator=torch.Generator(),  # so that the loader draws nothing from the generator of dropout
    )


def shares(parts: Sequence[Any], accelerator: Accelerator, poll: Callable[[], None]) -> Iterator[Any]:
    """Yield every W-th of some parts, those of this rank of W; ``poll`` is called equally often on every rank.

    Parameters
    ----------
    parts : sequence
    accelerator : Accelerator
        Knows the rank and W.
    poll : callable
    """
    for at in range(0, len(parts), accelerator.num_processes):
        poll()
        yield from parts[at : at + accelerator.num_processes][accelerator.process_index :][:1]


def on_device(batch: Mapping[str, Tensor], device: torch.device | str) -> dict[str, Any]:
    """Return a batch on a device, and by ``VIEW_lengths`` a list of the length of every row, counted before.

    So that nothing has to come back from the device to be known.

    Parameters
    ----------
    batch : mapping of str to Tensor
        As it was collated, on the CPU.
    device : device
    """
    found: dict[str, Any] = {}
    for name, value in batch.items():
        found[name] = value.to(device, non_blocking=True)
        if name.endswith("_mask"):
            found[f"{name.removesuffix('_mask')}_lengths"] = value.sum(1).tolist()
    return found


def lengths_of(batch: Mapping[str, Any], view: str) -> list[int]:
    """Return the length of every row of a batch in a view; asks the device if it was moved by other means.

    Parameters
    ----------
    batch : mapping
        As `on_device` makes it.
    view : str
    """
    known = batch.get(f"{view}_lengths")
    return batch[f"{view}_mask"].sum(1).tolist() if known is None else known


def sent(values: Sequence[int], device: torch.device) -> Tensor:
    """Return whole numbers on a device, without waiting for it.

    Parameters
    ----------
    values : sequence of int
    device : device
    """
    found = torch.tensor(values, dtype=torch.int64)
    return found.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else found.to(device)


def groups(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield lists of ``size`` items; the last may be shorter.

    Parameters
    ----------
    items : iterable
    size : int
    """
    source = iter(items)
    while group := list(itertools.islice(source, size)):
        yield group
