"""Towers of a checkpoint as one safetensors file of tensors alone: no optimizer state, nothing that could be run."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clamp3.errors import WeightsError
from clamp3.jobs.whole_folder import whole_folder
from clamp3.models.checkpoint import Checkpoint, open_checkpoint
from clamp3.models.registry import digest, resolve
from clamp3.models.tokenizer import copy_tokenizer
from clamp3.models.weights import describe, load_model

if TYPE_CHECKING:
    from torch import Tensor

NAME = "model.safetensors"


@dataclass(frozen=True)
class Slim:
    """What became of a checkpoint.

    Attributes
    ----------
    weights : str
        Identity of the checkpoint.
    towers : tuple of str
    tensors : int
        How many were written, and found equal when read again.
    bytes_before, bytes_after : int
        Sizes of the files.
    digest : str
        `clamp3.models.registry.digest` of the new one.
    """

    weights: str
    towers: tuple[str, ...]
    tensors: int
    bytes_before: int
    bytes_after: int
    digest: str


def write_slim(
    name_or_path: str | os.PathLike[str],
    out_dir: Path,
    *,
    towers: Collection[str] = (),
    text_model: str | os.PathLike[str] | None = None,
    epoch: int | None = None,
    overwrite: bool = False,
) -> Slim:
    """Write ``out_dir/model.safetensors`` and the tokenizer; numbers are copied bit by bit and compared afterwards.

    Tensors are mapped from the one file and written to the other, so that little of them is in memory at a time.

    Parameters
    ----------
    name_or_path, text_model, epoch
        As `clamp3.models.weights.load_model` takes them.
    out_dir : Path
        Absent or empty, unless ``overwrite`` is set.
    towers : collection of str
        Which; none named means all.
    overwrite : bool
        Replace an earlier export; other files stay.

    Raises
    ------
    ConfigError
        If the folder is in use or a tower absent.
    WeightsError
        If the weights are absent or damaged.
    """
    import torch
    from safetensors.torch import save_file

    path = resolve(name_or_path, epoch=epoch)
    described = describe(path, text_model=text_model)
    config = described.config.restrict(towers or described.config.towers)
    checkpoint = open_checkpoint(path)
    prefixes = tuple(f"{part}." for tower in config.towers for part in config.parts(tower))
    names = [name for name in checkpoint.stored if name.startswith(prefixes)]
    with whole_folder(out_dir, last=NAME, overwrite=overwrite) as work:
        tokenizer = copy_tokenizer(described.tokenizer_dir, work) if "text" in config.towers else ""
        info = {**checkpoint.info, "from": described.identity, **({"text_model": tokenizer} if tokenizer else {})}
        metadata = {"format": "pt", "kind": described.family.kind, "config": json.dumps(config.to_dict())}
        tensors, seen = {}, set()
        for name in names:
            tensor = checkpoint.tensor(name)
            place = tensor.data_ptr()
            plain = place not in seen and tensor.is_contiguous()
            tensors[name] = tensor if plain else tensor.clone(memory_format=torch.contiguous_format)
            seen.add(place)
        (work / NAME).touch()
        mode = (work / NAME).stat().st_mode  # safetensors writes files that only their owner may read
        save_file(tensors, work / NAME, metadata={**metadata, "info": json.dumps(info, sort_keys=True)})
        (work / NAME).chmod(mode)
        del tensors
        _check(open_checkpoint(work / NAME), checkpoint, names)
        load_model(work / NAME, config.towers)  # neither more nor fewer than the model has
        size, content = (work / NAME).stat().st_size, digest(work / NAME)
    return Slim(described.identity, config.towers, len(names), path.stat().st_size, size, content)


def _check(written: Checkpoint, source: Checkpoint, names: list[str]) -> None:
    """Compare tensor for tensor, bit for bit; a difference is a WeightsError."""
    import torch

    if sorted(written.stored) != sorted(names):
        raise WeightsError(f"{source.path}: not all of its tensors arrived; run the command again.")
    for name in names:
        new, old = written.tensor(name), source.tensor(name)
        if new.dtype != old.dtype or not torch.equal(_bits(new), _bits(old)):
            raise WeightsError(f"{source.path}: the tensor {name} did not arrive; run the command again.")


def _bits(tensor: Tensor) -> Tensor:
    import torch

    return tensor.contiguous().reshape(-1).view(torch.uint8)
