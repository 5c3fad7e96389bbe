"""What the processes of a run (ranks) tell each other beside the training, so that none waits for one that has ended.

All of it travels between the CPUs (gloo), so that no step waits for a GPU and a closed connection is noticed at once:
when a rank ends, in whatever way, the others end within seconds; when it hangs, after ``--wait_minutes``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import distributed

from clamp3.errors import Clamp3Error, ConfigError, describe

if TYPE_CHECKING:
    from accelerate import Accelerator

# While the first rank indexes and packs the data of a first run, the others wait.
INDEXING = timedelta(hours=6)
# How messages begin, or what they name, when a rank waits in vain; torch has no class of its own for them on gloo.
_LOST = ("gloo", "NCCL", "Connection closed", "Connection reset", "Timed out waiting", "Broken pipe",
         "recvValue failed", "sendBytes failed", "Socket Timeout", "Wait timeout")  # fmt: skip

Found = TypeVar("Found")


class LostError(Clamp3Error):
    """Another process of the run has ended, or keeps this one waiting."""


class Ranks:
    """The processes of a run; made on all of them at the same time.

    Parameters
    ----------
    accelerator : Accelerator
    patience : timedelta, optional
        How long one may keep the others waiting; `INDEXING` by default.
    """

    def __init__(self, accelerator: Accelerator, patience: timedelta = INDEXING) -> None:
        self.rank, self.world_size = accelerator.process_index, accelerator.num_processes
        self.main = accelerator.is_main_process
        self.group = distributed.new_group(backend="gloo", timeout=patience) if self.world_size > 1 else None

    def sums(self, values: Sequence[float]) -> list[float]:
        """Return each value's sum over the ranks."""
        if self.group is None:
            return list(values)
        found = torch.tensor(list(values), dtype=torch.float64)
        distributed.all_reduce(found, group=self.group)
        return found.tolist()

    def all(self, value: Found) -> list[Found]:
        """Return the value of every rank."""
        if self.group is None:
            return [value]
        found: list[Any] = [None] * self.world_size
        distributed.all_gather_object(found, value, group=self.group)
        return found

    @contextmanager
    def together(self) -> Iterator[None]:
        """Let a block end on all ranks alike: an error on one is an error on all. Nothing in it may wait for others.

        Raises
        ------
        LostError
            On the ranks that had no error themselves.
        """
        error: BaseException | None = None
        try:
            yield
        except Exception as found:
            error = found
        try:
            said = self.all(error and describe(error))
        finally:
            if error is not None:
                raise error
        for rank, sentence in enumerate(said):
            if sentence:
                raise LostError(f"process {rank} of the run stopped: {sentence}")

    def main_first(self, make: Callable[[], Found]) -> Found:
        """Return what ``make`` returns, called by the first rank before the others, who find what it wrote.

        An error of one is an error on all.
        """
        made: list[Found] = []
        for turn in (True, False):
            with self.together():
                if self.main == turn:
                    made.append(make())
        return made[0]

    def require_same(self, facts: Mapping[str, object]) -> None:
        """Refuse, on all ranks, to go on from states that differ.

        Parameters
        ----------
        facts : mapping of str to object
            What has to be the same everywhere, by its name.
        """
        found = self.all(dict(facts))
        for rank, other in enumerate(found):
            if differing := [
                f"{name} {found[0][name]} and {other[name]}" for name in facts if found[0][name] != other[name]
            ]:
                raise ConfigError(
                    f"processes 0 and {rank} would train different models: they have {', '.join(differing)}; "
                    "--out must be on a disk that all nodes share, with the same content everywhere."
                )


@contextmanager
def ending_together(wait_minutes: float) -> Iterator[None]:
    """Turn what a rank sees of another's end, or of its absence from the start, into one sentence.

    After an error the connections are closed here: threads of theirs that Python's end finds running abort the process.

    Raises
    ------
    LostError
        In place of torch's many lines.
    """
    try:
        yield
    except BaseException as error:
        if distributed.is_available() and distributed.is_initialized():
            with suppress(RuntimeError):  # of a connection whose other end is gone
                distributed.destroy_process_group()
        lost = isinstance(error, distributed.DistError) or any(sign in str(error) for sign in _LOST)
        if os.environ.get("WORLD_SIZE", "1") == "1" or not isinstance(error, RuntimeError) or not lost:
            raise
        rank = os.environ.get("RANK", "?")
        raise LostError(
            f"process {rank} of the run ends because another one has ended, which says why, or kept it waiting for "
            f"{wait_minutes:g} minutes; the same command goes on from the last checkpoint."
        ) from None


def main_first(accelerator: Accelerator, make: Callable[[], Found]) -> Found:
    """Return what ``make`` returns, after the first rank has indexed or packed the data; see `Ranks.main_first`.

    Parameters
    ----------
    accelerator : Accelerator
    make : callable
    """
    return Ranks(accelerator).main_first(make)
