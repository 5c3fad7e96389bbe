"""Low-rank adapters on whole towers: little to train and to keep in memory, merged back into plain weights at export.

Hu et al., "LoRA: Low-rank adaptation of large language models", arXiv 2106.09685; by the peft library.
"""

from __future__ import annotations

import copy
from collections.abc import Collection

from torch import nn

from clamp3.errors import ConfigError
from clamp3.models.towers import TowerModel

# Every matrix of a layer, and the projection; not the patch embedding (it is no product) nor the unused pooler.
_LAYERS = r"{projections}|({parts})\..*layer\.\d+\..*(query|key|value|dense)"


def add_adapters(model: TowerModel, towers: Collection[str], *, rank: int, alpha: float) -> None:
    """Put adapters on the matrices of towers, in place. Nothing but they stays trainable in these towers.

    Parameters
    ----------
    model : TowerModel
        With the weights to start from; the adapters change nothing at first.
    towers : collection of str
    rank : int
        Of each adapter.
    alpha : float
        The adapters' product is scaled by ``alpha / rank``.

    Raises
    ------
    ConfigError
        If peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise ConfigError("--lora_towers needs peft: pip install 'clamp3[lora]'.") from None
    parts = [part for tower in towers for part in model.config.parts(tower)]
    elsewhere = [p for name, p in model.named_parameters() if p.requires_grad and name.split(".")[0] not in parts]
    projections = [name for tower in towers if (name := model.config.projection(tower))]
    names = _LAYERS.format(projections="|".join(projections), parts="|".join(parts))
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, target_modules=names), model)  # type: ignore[arg-type]
    for parameter in elsewhere:  # peft has frozen everything but its adapters
        parameter.requires_grad_(True)


def merged(model: TowerModel) -> TowerModel:
    """Return the model with adapters as part of plain weights: a copy if there are any, else itself."""
    if not any(map(_adapted, model.modules())):
        return model
    model = copy.deepcopy(model)
    for name, module in list(model.named_modules()):
        if _adapted(module):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.get_base_layer())
    return model


def _adapted(module: nn.Module) -> bool:
    return hasattr(module, "lora_A")  # without asking peft, which takes seconds to import
