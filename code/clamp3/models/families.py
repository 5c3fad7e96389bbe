"""Model families: what the ``kind`` in a checkpoint's header means, in one table.

Loading, saving, encoding and training look families up here, so that a new one is one registration::

    register(Family("htcl", "HTCL", HtclConfig, HtclModel))

Its configuration derives from `clamp3.models.config.ModelConfig`, its model from `clamp3.models.towers.TowerModel`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clamp3.errors import ConfigError, WeightsError
from clamp3.models.config import Clamp3Config, M3Config, ModelConfig
from clamp3.models.htcl_config import HTCL_AUDIO_PARTS, HTCL_TEXT_MODEL, HtclConfig, htcl_sizes
from clamp3.models.sizes import Shapes, clamp3_sizes, m3_sizes

if TYPE_CHECKING:
    from torch import nn

RELEASED_TEXT_MODEL = "FacebookAI/xlm-roberta-base"


@dataclass(frozen=True)
class Family:
    """What distinguishes the models of one family from those of another.

    Attributes
    ----------
    kind : str
        As in the header of its checkpoints.
    name : str
        How messages call it.
    config : type of ModelConfig
        Sizes of its models.
    build : callable
        From sizes to a model with random weights.
    joint : bool
        Whether its towers share one space, in which their vectors compare.
    instead : str
        What messages recommend where a joint space is needed and there is none.
    without : tuple of str
        Types of MIDI messages that its models never learned (`clamp3.modalities.symbolic.Reading`).
    marks : tuple of str
        Starts of tensor names by which a file that does not state its kind is known: the family with most of them.
    renamed : mapping of str to str
        Starts of tensor names in older files, and what they are now.
    sizes : callable, optional
        From the shapes of all tensors, and the folder of a text model or None, to the sizes, for files that do not
        state them.
    text_model : str
        Hugging Face name of the tokenizer of such files.
    """

    kind: str
    name: str
    config: type[ModelConfig]
    build: Callable[[Any], nn.Module]
    joint: bool = True
    instead: str = ""
    without: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    sizes: Callable[[Shapes, Path | None], ModelConfig] | None = None
    text_model: str = RELEASED_TEXT_MODEL

    def require_joint(self, path: Path) -> None:
        """Raise a WeightsError that names the file at ``path`` if its towers share no space."""
        if not self.joint:
            raise WeightsError(f"{path} holds {self.name} weights, which have no joint space; {self.instead}.")


def _clamp3_model(config: Clamp3Config) -> nn.Module:
    from clamp3.models.clamp3 import Clamp3Model

    return Clamp3Model(config)


def _m3_model(config: M3Config) -> nn.Module:
    from clamp3.models.m3 import M3Model

    return M3Model(config)


def _htcl_model(config: HtclConfig) -> nn.Module:
    from clamp3.models.htcl import HtclModel

    return HtclModel(config)


_LISTS = ("sysex", "sequencer_specific")  # messages that hold lists, which CLaMP 2's converter of MIDI leaves out

FAMILIES: dict[str, Family] = {
    "clamp3": Family(
        "clamp3",
        "CLaMP",
        Clamp3Config,
        _clamp3_model,
        marks=("text_proj.", "symbolic_proj.", "audio_proj."),
        sizes=clamp3_sizes,
    ),
    "clamp2": Family(  # released files only: our own are CLaMP 3 without an audio tower
        "clamp2",
        "CLaMP 2",
        Clamp3Config,
        _clamp3_model,
        without=_LISTS,
        marks=("music_model.", "music_proj."),
        renamed={"music_model.": "symbolic_model.", "music_proj.": "symbolic_proj."},
        sizes=clamp3_sizes,
    ),
    "m3": Family(
        "m3",
        "M3",
        M3Config,
        _m3_model,
        joint=False,
        instead="use clamp3 extract m3 (code/extract_m3.py) with them",
        without=_LISTS,
        marks=("encoder.patch_embedding.", "encoder.base."),
        sizes=lambda shapes, _: m3_sizes(shapes),
    ),
    "htcl": Family(
        "htcl",
        "HTCL",
        HtclConfig,
        _htcl_model,
        marks=("audio_mlp.", "audio_model.feature_extractor.layers.", "feature_extractor.layers."),
        # Its encoders were also saved alone, without the name of the part in front.
        renamed={name: f"audio_model.{name}" for name in HTCL_AUDIO_PARTS},
        sizes=htcl_sizes,
        text_model=HTCL_TEXT_MODEL,
    ),
}
"""Every family by its kind."""


def register(family: Family) -> None:
    """Add a family to the table; a kind that is taken is a ConfigError."""
    if family.kind in FAMILIES:
        raise ConfigError(f"the model family {family.kind!r} is registered already.")
    FAMILIES[family.kind] = family


def recognised(names: Collection[str]) -> str:
    """Return the kind of a file that does not state it by the names of its tensors, "" if no family has such."""

    def found(family: Family) -> int:
        return sum(any(name.startswith(mark) for name in names) for mark in family.marks)

    best = max(FAMILIES.values(), key=found)
    return best.kind if found(best) else ""


def family_of(kind: str, path: Path) -> Family:
    """Return the family of a checkpoint.

    Parameters
    ----------
    kind : str
        As the file states it or `recognised` returns it.
    path : Path
        The file, for messages.

    Raises
    ------
    WeightsError
        If no such family is registered.
    """
    if kind in FAMILIES:
        return FAMILIES[kind]
    if kind:
        raise WeightsError(f"{path} holds weights of the unknown kind {kind!r}; known are {', '.join(FAMILIES)}.")
    names = " or ".join(family.name for family in FAMILIES.values())
    raise WeightsError(f"{path} does not say what model it is of, and has no tower of {names}.")


def family_with(config: ModelConfig) -> Family:
    """Return the first family whose sizes these are; those of none are a ConfigError."""
    for family in FAMILIES.values():
        if isinstance(config, family.config):
            return family
    raise ConfigError(f"{type(config).__name__} holds the sizes of no registered model family.")
