"""Models loaded as a `clamp3.embedding.batching.Tower`: the only module between the embedding API and torch modules."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from clamp3.embedding.batching import Tower

if TYPE_CHECKING:
    import torch

    from clamp3.models.config import ModelConfig
    from clamp3.models.towers import TowerModel


def load_tower(
    path: Path,
    modality: str,
    *,
    text_model: str | os.PathLike[str] | None = None,
    dtype: str = "float32",
    device: str | None = None,
    family: str | None = None,
) -> Tower:
    """Load one tower of a model of any family.

    Parameters
    ----------
    path : Path
        A checkpoint.
    modality : str
        Which tower.
    text_model, family
        As `clamp3.models.weights.load_model` takes them, which also lists what is raised.
    dtype : {"float32", "bfloat16"}
        Type of the layers.
    device : str, optional
        As torch names it; None takes the GPU if there is one.
    """
    import torch

    from clamp3.models.bert import suit_cpu
    from clamp3.models.device import pick_device
    from clamp3.models.weights import load_model

    where, kind = pick_device(device), getattr(torch, dtype)
    loaded = load_model(path, (modality,), kind, where, text_model=text_model, family=family)
    model, config = loaded.model, loaded.config
    # Sums over hundreds of positions and the last projection stay in float32, whatever the layers compute in.
    if projection := config.projection(modality):
        model.get_submodule(projection).float()
    suit_cpu(model)

    return tower_of(model, config, modality, where, kind)


def tower_of(model: TowerModel, config: ModelConfig, modality: str, device: torch.device, dtype: torch.dtype) -> Tower:
    """Return one tower of a model in memory.

    Parameters
    ----------
    model : TowerModel
        In eval mode.
    config : ModelConfig
        Its sizes.
    modality : str
        Which tower.
    device, dtype
        Where the model is, and the type of its layers.
    """
    return Tower(
        encode=partial(model.encode, modality),
        features=lambda inputs, mask: model.pool(modality, model.encode(modality, inputs, mask).float(), mask),
        limit=config.length(modality),
        pad=config.pad_id(modality),
        device=device,
        dtype=dtype,
    )
