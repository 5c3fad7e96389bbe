"""Settings of a probe; no torch, no scikit-learn."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from clamp3.datasets.labelled import TaskType
from clamp3.errors import ConfigError
from clamp3.probe.losses import TASKS

HEADS = ("linear", "mlp")
BALANCES = ("under", "over")
# What the best epoch is chosen by.
SELECTED_BY: dict[str, str] = {"multiclass": "accuracy", "multilabel": "roc_auc", "regression": "r2"}


@dataclass(frozen=True)
class ProbeConfig:
    """How a probe is trained.

    Attributes
    ----------
    task : {"multiclass", "multilabel", "regression"}
    head : {"linear", "mlp"}
        One linear layer, or a hidden layer of ``hidden`` ReLUs with ``dropout`` before it.
    num_epochs : int
        Most passes over the training data; the weights of the best epoch by validation score are kept.
    learning_rate, weight_decay : float
        Of AdamW; a decay of 0 makes it Adam.
    batch_size : int
    double_softmax : bool
        Cross-entropy of a softmax of a softmax, as published; multiclass only.
    balanced_training : {"", "under", "over"}
        An epoch shows equally many examples of each class: as many as the smallest has, drawn anew (published), or as
        many as the largest has, by repetition. Multiclass only.
    lr_patience : int
        Halve the rate after so many epochs without a better score; 0 = never.
    patience : int
        Stop after so many epochs without a better score; 0 = never.
    seed : int
        Of the initial weights, the order of examples and dropout.
    selected_by : str
        The score; empty = `SELECTED_BY` of the task.
    """

    task: TaskType = "multiclass"
    head: Literal["linear", "mlp"] = "linear"
    num_epochs: int = 1000
    learning_rate: float = 1e-5
    batch_size: int = 1
    weight_decay: float = 0.01
    double_softmax: bool = False
    balanced_training: Literal["", "under", "over"] = ""
    hidden: int = 512
    dropout: float = 0.2
    lr_patience: int = 0
    patience: int = 0
    seed: int = 42
    selected_by: str = ""

    def __post_init__(self) -> None:
        for name, allowed in (("task", TASKS), ("head", HEADS), ("balanced_training", ("", *BALANCES))):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; choose {', '.join(allowed)}.")
        for name in ("num_epochs", "batch_size", "hidden"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if not self.learning_rate > 0:
            raise ConfigError(f"learning_rate is {self.learning_rate}; it must be above 0.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout is {self.dropout}; it must be at least 0 and below 1.")
        for name in ("lr_patience", "patience", "weight_decay", "seed"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must not be negative.")
        for name in ("double_softmax", "balanced_training"):
            if getattr(self, name) and self.task != "multiclass":
                raise ConfigError(f"{name} is for multiclass only; this task is {self.task}.")

    @property
    def score(self) -> str:
        """Name of the score that the best epoch is chosen by."""
        return self.selected_by or SELECTED_BY[self.task]

    def to_plain(self) -> dict[str, Any]:
        """Return the settings as JSON-ready values."""
        return asdict(self)
