"""The folder of a run: one run at a time, without what killed ones left unfinished."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from clamp3.errors import ConfigError
from clamp3.jobs.atomic import sweep
from clamp3.jobs.locks import FolderLock

if TYPE_CHECKING:
    from accelerate import Accelerator


@contextmanager
def only_run(out: Path, accelerator: Accelerator) -> Iterator[None]:
    """Hold the folder of a run, on the first rank; a second run into it is refused on every rank.

    Parameters
    ----------
    out : Path
        Made if absent.
    accelerator : Accelerator

    Raises
    ------
    ConfigError
        If another process trains into it.
    """
    lock, refused = None, ""
    if accelerator.is_main_process:
        out.mkdir(parents=True, exist_ok=True)
        try:
            lock = FolderLock.only(out, "trains into")
        except ConfigError as error:
            refused = str(error)
        else:
            sweep([out])  # checkpoints that killed runs left unfinished
    said = [refused]
    if accelerator.num_processes > 1:
        torch.distributed.broadcast_object_list(said, src=0, device=accelerator.device)
    if said[0]:
        raise ConfigError(said[0])
    try:
        yield
    finally:
        if lock is not None:
            lock.release()
