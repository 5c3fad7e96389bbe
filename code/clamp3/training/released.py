"""Going on from a ``.pth`` of the released scripts: weights, what fits of the optimizer's state, and the epoch.

Such a file holds ``model``, ``optimizer``, ``lr_sched``, ``epoch``, ``best_epoch`` and ``min_eval_loss``
(sanderwood/clamp3 ``code/train_clamp3_symbolic.py`` lines 314-390). Its random state and its place in the epoch
were never saved, and its best loss came from another evaluation set on every rank: the best is found anew.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clamp3.errors import WeightsError
from clamp3.models.checkpoint import open_checkpoint, read_pickled
from clamp3.training.checkpoint import Progress

logger = logging.getLogger(__name__)


ADOPTED = "adopted"  # in a checkpoint's config: the released file its run went on from


def adopted_by(path: Path) -> str | None:
    """Return the released file that a run going on from ``path`` is built from; nothing in it is ever executed.

    It is ``path``, resolved, if that is a training checkpoint of the released scripts; else what our checkpoint says.
    """
    content = _content(path)
    if "format" not in content and isinstance(content.get("model"), Mapping) and "epoch" in content:
        return str(path.resolve())
    config = content.get("config")
    return config.get(ADOPTED) if isinstance(config, Mapping) else None


def music_of(path: Path) -> str:
    """Return the kind of music that a released CLaMP 3 checkpoint was trained with last; "" for others."""
    return str(_content(path).get("modality", ""))


def _content(path: Path) -> dict[str, Any]:
    try:
        content = read_pickled(path)
    except WeightsError:  # whoever reads it as a checkpoint says what is wrong with it
        return {}
    return content if isinstance(content, dict) else {}


def adopt(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Take over optimizer state and epoch; the weights are those that `module` was built with.

    Parameters
    ----------
    path : Path
        A checkpoint of the released scripts, as `adopted_by` recognises it.
    module : Module
        Built from it; the names of its parameters end as the file's do.
    optimizer : Optimizer
        Of ``module``'s trainable parameters; Adam's state goes in, by parameter.

    Returns
    -------
    Progress
        Behind the file's last epoch. Without any state that fits, the warm-up begins again.
    """
    content = _content(path)
    progress = Progress(epoch=int(content["epoch"]))
    ours = {name.removeprefix("model."): parameter for name, parameter in module.named_parameters()}
    # torch numbers an optimizer's parameters in the order of the model's, as the file lists them.
    names = [name for name in open_checkpoint(path).shapes if name in ours]
    states = _states(content.get("optimizer"))
    adopted = 0
    for name, state in zip(_trained(names, states, ours), states, strict=False):
        if ours[name].requires_grad and _fits(state, ours[name]):
            optimizer.state[ours[name]] = _like(state, ours[name])
            progress.step = max(progress.step, int(state["step"]))
            adopted += 1
    wanted = sum(parameter.requires_grad for parameter in ours.values())
    logger.info("optimizer state of %d of %d parameters taken from %s", adopted, wanted, path.name)
    return progress


def _states(optimizer: Any) -> list[Mapping[str, Any]]:
    """Return the state of every parameter of an optimizer in order; empty for one that never had a gradient."""
    try:
        order = [index for group in optimizer["param_groups"] for index in group["params"]]
        return [optimizer["state"].get(index, {}) for index in order]
    except (KeyError, TypeError, AttributeError):
        return []


def _trained(names: list[str], states: list[Mapping[str, Any]], parameters: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the parameters that ``states`` belong to, nothing if there is no telling.

    The released trainers give their optimizer the towers that train, and do not write down which these were: they are
    those, of all towers of the file, whose parameters are as many and of the same shapes.
    """
    towers = list(dict.fromkeys(map(_tower, names)))
    for n_trained in range(len(towers), 0, -1):
        for trained in itertools.combinations(towers, n_trained):
            kept = [name for name in names if _tower(name) in trained]
            if len(kept) == len(states) and all(
                not state or _fits(state, parameters[name]) for name, state in zip(kept, states, strict=True)
            ):
                return kept
    return []


def _tower(name: str) -> str:
    return name.split(".")[0].removesuffix("_model").removesuffix("_proj")


def _fits(state: Mapping[str, Any], parameter: Tensor) -> bool:
    moments: Iterable[Any] = (state.get("exp_avg"), state.get("exp_avg_sq"))
    return "step" in state and all(isinstance(m, Tensor) and m.shape == parameter.shape for m in moments)


def _like(state: Mapping[str, Any], parameter: Tensor) -> dict[str, Tensor]:
    """Return a copy of Adam's state with device and memory layout of the parameter."""
    moments = {name: torch.empty_like(parameter).copy_(state[name]) for name in ("exp_avg", "exp_avg_sq")}
    return {"step": torch.tensor(float(state["step"]), device=parameter.device), **moments}
