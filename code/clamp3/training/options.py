"""Settings beyond the published recipe, all off by default; what carries them out is a module each.

No torch here, so ``--help`` is quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clamp3.errors import ConfigError

NO_MASK = ("none",)
CURRENT = "current"  # of --near


def setting(default: Any, text: str, *, name: str = "", choices: tuple[str, ...] | None = None) -> Any:
    """Declare a field: its default, its help line, its released names in ``code/config.py``, the first counts.

    Parameters
    ----------
    default : Any
    text : str
        Help line.
    name : str
        Released names, separated by spaces.
    choices : tuple of str, optional
    """
    metadata = {"help": text, "names": name.split(), "choices": choices}
    if isinstance(default, list):
        return field(default_factory=lambda: tuple(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def by_tower(values: Sequence[str], name: str) -> dict[str, float]:
    """Return the number that each tower is given.

    Parameters
    ----------
    values : sequence of str
        TOWER=NUMBER each.
    name : str
        Of the flag, for errors.

    Raises
    ------
    ConfigError
        If one is no such thing.

    Examples
    --------
    >>> by_tower(["text=1e-5", "symbolic=2"], "tower_rates")
    {'text': 1e-05, 'symbolic': 2.0}
    """
    found: dict[str, float] = {}
    for value in values:
        tower, _, number = value.partition("=")
        try:
            found[tower] = float(number)
        except ValueError:
            raise ConfigError(f"--{name} takes TOWER=NUMBER, such as text=2, got {value}.") from None
    return found


@dataclass(frozen=True)
class Checked:
    """Settings that are checked once they are there."""

    def __post_init__(self) -> None:
        """Check nothing; the settings that derive from this do."""

    def _need(self, fine: bool, name: str, rule: str) -> None:
        if not fine:
            raise ConfigError(f"--{name} must be {rule}, got {getattr(self, name)}.")


@dataclass(frozen=True)
class RunOptions(Checked):
    """What any run may have beyond the published recipe."""

    ema: float = setting(
        0.0,
        "evaluate and export a moving average of the weights that keeps this share of itself at every step, such as "
        "0.999 (less of it in the first steps); 0 = the weights themselves",
    )
    recompute: bool = setting(
        False, "keep no activations inside the layers, compute them again in the backward pass: less memory, more time"
    )
    decay_norms: bool = setting(True, "decay biases and normalisations too (released); no = only matrices")

    def __post_init__(self) -> None:
        """Check the fields of any run."""
        super().__post_init__()
        self._need(0 <= self.ema < 1, "ema", "in [0, 1)")


@dataclass(frozen=True)
class AlignmentOptions(Checked):
    """What an alignment may have beyond the published recipe."""

    more_jsonl: tuple[Path, ...] = setting([], "further training files, used like --train_jsonl; see --mix")
    mix: tuple[float, ...] = setting(
        [],
        "weights of --train_jsonl and of each --more_jsonl: the shares of an epoch's pieces that come from them; "
        "without, every piece comes once an epoch",
    )
    mask: tuple[str, ...] = setting(
        [*NO_MASK],
        "pieces of a batch that are no negatives of each other: those with the same text or music as it was drawn "
        "(text, music), or that share a value of a field of their records (id, title, …); none = as published",
    )
    near: str = setting(
        "",
        "hard negatives: batches of groups of near pieces, by a field of the records (composer, …), by a folder of "
        f"vectors as the extraction scripts write them, or by the model as an epoch finds it ({CURRENT}); empty = at "
        "random",
    )
    near_group: int = setting(8, "pieces of such a group")
    distill: float = setting(0.0, "weight of 1 - cosine to the vectors that a teacher, which is frozen, gives a piece")
    teacher: str = setting("", "name or file of the teacher of --distill; empty = the weights the run starts from")
    tower_rates: tuple[str, ...] = setting(
        [], "rates of towers in place of --learning_rate, such as text=1e-5; the schedule is the same"
    )
    train_layers: tuple[str, ...] = setting(
        [], "of these towers only the last layers and the projection train, such as text=2; the rest has no dropout"
    )

    def __post_init__(self) -> None:
        """Check the fields of an alignment."""
        super().__post_init__()
        n_files = 1 + len(self.more_jsonl)
        if self.mix and len(self.mix) != n_files:
            raise ConfigError(f"--mix needs a weight for each of the {n_files} JSONL files, got {len(self.mix)}.")
        self._need(all(weight > 0 for weight in self.mix), "mix", "above 0")
        self._need(self.mask == NO_MASK or not {*NO_MASK} & {*self.mask}, "mask", "none, or names")
        self._need(self.near_group >= 2, "near_group", "2 or more")
        self._need(self.distill >= 0, "distill", "0 or more")
        self._need(not self.teacher or self.distill > 0, "distill", "above 0 for a --teacher")
        self._need(all(rate > 0 for rate in self.rates.values()), "tower_rates", "above 0")
        whole = all(number >= 0 and number == int(number) for number in self.last_layers.values())
        self._need(whole, "train_layers", "whole numbers")

    @property
    def label_kinds(self) -> tuple[str, ...]:
        """What pieces of a batch have in common that are no negatives; see `clamp3.training.negatives`."""
        return () if self.mask == NO_MASK else self.mask

    @property
    def rates(self) -> dict[str, float]:
        """Rates by tower."""
        return by_tower(self.tower_rates, "tower_rates")

    @property
    def last_layers(self) -> dict[str, float]:
        """Last layers that train, by tower."""
        return by_tower(self.train_layers, "train_layers")
