"""Loaded models as `clamp3.embedding.batching.Tower`: the only module between the embedding API and torch modules."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from clamp3.embedding.batching import Tower
from clamp3.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def pick_device(name: str | None) -> torch.device:
    """Return the device of a name, or the GPU of this process if there is one, else the CPU.

    Raises
    ------
    ConfigError
        If torch cannot use the device that is named.
    """
    import torch

    if name is None:
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {name!r} cannot be used ({str(error).splitlines()[0]}).") from None
    return device


def keep_heap() -> None:
    """Let this process keep the memory of freed tensors for the next layer instead of returning it to the system.

    With glibc's defaults every large tensor is mapped anew and its pages cleared, which costs up to a third of the time
    of a network with wide layers on a CPU. Elsewhere nothing happens.
    """
    import ctypes

    try:
        set_option = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    for option, value in ((-3, 1 << 30), (-1, 1 << 30), (-2, 1 << 26)):  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD
        set_option(option, value)


def clamp3_tower(
    path: Path, modality: str, *, text_model: str | os.PathLike[str] | None, dtype: str, device: str | None
) -> Tower:
    """Load one tower of CLaMP 3 with its projection; raises as `clamp3.models.weights.load_model`."""
    import torch

    from clamp3.models.bert import suit_cpu
    from clamp3.models.weights import load_model

    where, kind = pick_device(device), getattr(torch, dtype)
    loaded = load_model(path, towers=(modality,), text_model=text_model, dtype=kind, device=where)
    model, config = loaded.model, loaded.config
    # Sums over hundreds of positions and the last projection stay in float32, whatever the layers compute in.
    model.get_submodule(f"{modality}_proj").float()
    suit_cpu(model)

    def encode(inputs: Tensor, mask: Tensor) -> Tensor:
        return model.encode(modality, inputs, mask)

    def pool(hidden: Tensor, mask: Tensor) -> Tensor:
        return model.pool(hidden.float(), mask, modality)

    pad = config.tower(modality).pad_id if modality == "text" else 0
    return Tower(encode, pool, config.length(modality), pad or 0, where, kind)


def m3_tower(path: Path, *, dtype: str, device: str | None) -> Tower:
    """Load M3's encoder; its global vector is the plain mean over patches. Raises as `clamp3_tower`."""
    import torch

    from clamp3.models.bert import suit_cpu
    from clamp3.models.towers import masked_mean
    from clamp3.models.weights import load_m3

    where, kind = pick_device(device), getattr(torch, dtype)
    loaded = load_m3(path, dtype=kind, device=where)
    encoder = loaded.model.encoder
    suit_cpu(encoder)

    def pool(hidden: Tensor, mask: Tensor) -> Tensor:
        return masked_mean(hidden.float(), mask)

    return Tower(encoder, pool, loaded.config.patch_length, 0, where, kind)
