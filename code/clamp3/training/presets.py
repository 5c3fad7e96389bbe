"""What a run takes over where no flag says otherwise: from the files of ``--init``, and from ``--preset``."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

from clamp3.errors import WeightsError
from clamp3.models.registry import folder_or_hub, resolve
from clamp3.models.weights import RELEASED_TEXT_MODEL, Described, describe
from clamp3.training.config import LOSSES, Clamp3Training, RunConfig, SymbolicTraining
from clamp3.training.config_file import BEST
from clamp3.training.flags import Config

logger = logging.getLogger(__name__)

# Measured with mini (benchmarks/finetune.py). What is compared, and by which loss, the weights bring.
_FINETUNE = {
    "learning_rate": 3e-5,
    "warmup_steps": 10,
    "schedule": "cosine",
    "epochs": 40,
    "batch_size": 16,
    "max_grad_norm": 1.0,
    "eval_split": 0.1,
    "best_by": "mrr",
    "patience": 5,
    "save_every": 0,
}
# Its file names the recipe in place of settings: vectors standardised over the batch, then cosines times 14.
_RECIPES = {"code/recipes/mini": {"standardise": True, "logit_scale": 14.0}}
_COMPARISON = ("loss", "logit_scale", "standardise")  # they belong together: one given, none is brought


@dataclass(frozen=True)
class Comparison:
    """How weights were trained to be compared.

    Attributes
    ----------
    loss : str
        One of `clamp3.training.config.LOSSES`.
    scale : float
        Factor on the products: constant with ``infonce``, else where learning starts.
    bias : float or None
        Of ``sigmoid``, where learning starts.
    """

    loss: str = "infonce"
    scale: float = 1.0
    bias: float | None = None


def comparison_of(info: Mapping[str, Any]) -> Comparison | None:
    """Return how the weights of a file are compared, by what its training wrote; None where it wrote nothing.

    Vectors that were standardised over the batch are compared by cosine from there on.

    Examples
    --------
    >>> comparison_of({"recipe": "code/recipes/mini"})
    Comparison(loss='cosine', scale=14.0, bias=None)
    >>> comparison_of({"training": {"loss": "cosine"}, "objective": {"scale": 20.5}})
    Comparison(loss='cosine', scale=20.5, bias=None)
    """
    settings = info.get("training") or _RECIPES.get(str(info.get("recipe")))
    if not isinstance(settings, Mapping):
        return None
    constant = _number(settings.get("logit_scale")) or 1.0
    loss = settings.get("loss", "infonce")
    if settings.get("standardise") and loss == "infonce":
        return Comparison("cosine", constant)
    if loss not in LOSSES:
        return None
    learned = info.get("objective")
    learned = learned if isinstance(learned, Mapping) else {}
    start = constant if loss == "infonce" else _number(learned.get("scale")) or 0.0
    return Comparison(loss, start, _number(learned.get("bias")))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def start_of_loss(config: Clamp3Training) -> Comparison | None:
    """Return where what the loss learns starts: at what ``--init`` has learned of this loss; None elsewhere."""
    joint = [start for start in starts_of(config) if start.family.joint]
    found = comparison_of(joint[-1].info) if joint else None
    return found if found and found.loss == config.loss != "infonce" and found.scale > 0 else None


def starts_of(config: SymbolicTraining) -> list[Described]:
    """Return what the files of ``--init`` say about themselves."""
    return [describe(name, text_model=text_model_of(config)) for name in config.init]


def text_model_of(config: RunConfig) -> str | None:
    """Return ``--text_model``, whose config.json has the heads of files that do not state them; None as released."""
    name = getattr(config, "text_model", RELEASED_TEXT_MODEL)
    return None if name == RELEASED_TEXT_MODEL or folder_or_hub(name) is None else name


def with_init_at_hand(config: Config, resume: Path | None) -> Config:
    """Return settings whose ``init`` is there: of a run that goes on, what it exported serves where a file is gone.

    The weights come from the checkpoint; the file only says the sizes.

    Parameters
    ----------
    config : RunConfig
    resume : Path or None
        Checkpoint to go on from.

    Raises
    ------
    WeightsError
        If a file is gone, and the run has not exported any yet, or learns from what it started from.
    """
    try:
        for name in config.init:
            resolve(name)
    except WeightsError as error:
        exported = [*config.out.glob(BEST), *sorted(config.out.glob("epoch_*.safetensors"))] if resume else []
        if not exported or (getattr(config, "distill", False) and not getattr(config, "teacher", "")):  # they teach
            raise
        logger.warning("%s Its sizes are those of %s, the weights come from %s.", error, exported[0], resume)
        return replace(config, init=(str(exported[0]),))
    return config


def settled(config: Config, given: Collection[str] = ()) -> Config:
    """Return settings in which fields that were not set are those of the preset and of the weights to start from.

    Parameters
    ----------
    config : RunConfig
    given : collection of str
        Fields that the command line sets. Those that differ from their default are set too.
    """
    if not isinstance(config, SymbolicTraining):
        return config
    set_here = {*given, *(item.name for item in fields(config) if getattr(config, item.name) != _default(item))}
    found: dict[str, Any] = {}
    if isinstance(config, Clamp3Training) and config.preset == "finetune":
        found |= _FINETUNE
    as_given: Any = config  # a type variable is not narrowed
    for start in starts_of(as_given):
        found |= _brought(start, as_given, set_here)
    changed = {name: value for name, value in found.items() if name not in set_here}
    return replace(config, **changed)


def _default(item: Any) -> Any:
    return item.default if item.default is not MISSING else item.default_factory()


def _brought(start: Described, config: SymbolicTraining, set_here: Collection[str]) -> dict[str, Any]:
    """Return the settings that a file of ``--init`` brings: lengths, and how its vectors are compared."""
    found: dict[str, Any] = {}
    towers = start.config.towers
    if "symbolic" in towers:
        found["max_patches"] = start.config.length("symbolic")
    if not (isinstance(config, Clamp3Training) and start.family.joint):
        return found
    found["hidden_size"] = start.config.hidden_size
    found |= {f"{tower}_length": start.config.length(tower) for tower in ("text", "audio") if tower in towers}
    compared = comparison_of(start.info)
    if compared and config.loss_of_weights and not set(_COMPARISON) & set(set_here):
        found["loss"] = compared.loss
        if compared.loss == "infonce":
            found["logit_scale"] = compared.scale
    return found


def in_words(before: RunConfig, after: RunConfig) -> str:
    """Return which settings differ, as a list of flags; "" if none does.

    Parameters
    ----------
    before, after : RunConfig
    """
    changed = [item.name for item in fields(after) if getattr(before, item.name) != getattr(after, item.name)]
    return " ".join(f"--{name} {getattr(after, name)}" for name in changed)
