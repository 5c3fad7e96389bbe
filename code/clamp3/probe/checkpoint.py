"""Trained probes as files: tensors and the facts needed to use them; nothing in a file is ever executed.

``.safetensors`` has the facts in its header; ``.pth`` is a dict with the released names (``model``, ``labels``,
``input_size``, ``epoch``, ``max_eval_acc``) and ours under ``clamp3``. Probes of the released script can be read too.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from clamp3.errors import ConfigError, DataError, FormatError, WeightsError, printable, sentence_of
from clamp3.formats.fields import typed
from clamp3.formats.tables import json_text, parse_json
from clamp3.jobs.atomic import write_bytes
from clamp3.probe.config import ProbeConfig
from clamp3.probe.heads import State, make_head
from clamp3.probe.losses import sigmoid, softmax

KIND = "clamp3 probe 1"
SUFFIXES = (".safetensors", ".pth", ".pt")


@dataclass(frozen=True)
class Probe:
    """A trained head and its facts.

    Attributes
    ----------
    classes : tuple of str
        Of its outputs, sorted.
    weights : tuple of str
        Which weights its training features come from; empty if unknown.
    offset, scale : tuple of float
        Of regression: value = offset + scale * output.
    info : dict
        Scores and epoch of the training.
    """

    config: ProbeConfig
    classes: tuple[str, ...]
    state: State
    weights: tuple[str, ...] = ()
    offset: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """D, width of the features."""
        return int(self.state["hidden.weight" if "hidden.weight" in self.state else "fc.weight"].shape[1])

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return probabilities of classes or tags, or values, shape (N, C), of features (N, D).

        Raises
        ------
        DataError
            If the features have another width.
        """
        if features.shape[1] != self.width:
            raise DataError(
                f"the probe takes features of width {self.width}, these have {features.shape[1]}; "
                "use the model it was trained with."
            )
        head = make_head(self.width, len(self.classes), self.config)
        head.load(self.state)
        with np.errstate(over="ignore", invalid="ignore"):  # `predict_folder` names files whose values overflow
            outputs = head.outputs(head.prepare(features))
            if self.config.task == "regression":
                return outputs * np.asarray(self.scale or 1, np.float32) + np.asarray(self.offset or 0, np.float32)
            return softmax(outputs) if self.config.task == "multiclass" else sigmoid(outputs)


def save_probe(probe: Probe, path: Path) -> None:
    """Write a probe.

    Parameters
    ----------
    probe : Probe
    path : Path
        Its suffix decides the format.

    Raises
    ------
    ConfigError
        If the suffix is not one of `SUFFIXES`, or another kind of file is there.
    """
    check_replaceable(path)
    facts = {
        "config": asdict(probe.config),
        "classes": list(probe.classes),
        "weights": list(probe.weights),
        "offset": list(probe.offset),
        "scale": list(probe.scale),
        "info": probe.info,
    }
    if path.suffix == ".safetensors":
        from safetensors.numpy import save

        write_bytes(path, save(probe.state, {"kind": KIND, "facts": json_text(facts)}))
        return
    import torch

    from clamp3.models.checkpoint import write_pickled

    content = {
        "model": {name: torch.from_numpy(value) for name, value in probe.state.items()},
        "labels": {name: place for place, name in enumerate(probe.classes)},
        "input_size": probe.width,
        "epoch": probe.info.get("best_epoch", 0),
        "max_eval_acc": probe.info.get("scores", {}).get("accuracy", 0.0),
        "clamp3": json_text({"kind": KIND, **facts}),
    }
    write_pickled(path, content)


def check_replaceable(path: Path) -> None:
    """Refuse to overwrite anything but a probe, and a suffix that names no format.

    Raises
    ------
    ConfigError
        If it may not be written there.
    """
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"{printable(path)}: a probe's file ends in {', '.join(SUFFIXES)}.")
    if path.exists():
        try:
            load_probe(path)
        except WeightsError:
            raise ConfigError(f"{printable(path)} is there already and is no probe; give another --output.") from None
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"{printable(path)} cannot be written: no permission; give another --output.")


def load_probe(path: Path) -> Probe:
    """Read a probe.

    Raises
    ------
    WeightsError
        If it is absent, damaged, no probe, or would execute code.
    """
    if not path.is_file():
        raise WeightsError(f"no probe at {printable(path)}; clamp3 classify train makes one.")
    try:
        state, facts = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
        if isinstance(balanced := facts["config"].get("balanced_training"), bool):  # earlier versions only repeated
            facts["config"]["balanced_training"] = "over" if balanced else ""
        known = typed(_Facts, facts, "what it says of itself")
        unknown = facts["config"].keys() - known.config.to_plain().keys()
        if unknown:
            raise KeyError(f"unknown settings {', '.join(sorted(unknown))}")
        _check_state(state, known)
        return Probe(known.config, known.classes, state, known.weights, known.offset, known.scale, known.info)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ConfigError, FormatError) as error:
        raise WeightsError(f"{printable(path)} is no probe of these scripts ({sentence_of(error)}).") from None


@dataclass(frozen=True)
class _Facts:
    """What the file of a probe states."""

    config: ProbeConfig
    classes: tuple[str, ...]
    weights: tuple[str, ...] = ()
    offset: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    info: dict[str, Any] = field(default_factory=dict)


def _check_state(state: State, facts: _Facts) -> None:
    """Compare tensors with settings, before memory is taken for a head of that size."""
    n, width, hidden = len(facts.classes), _width(state), facts.config.hidden
    wanted: dict[str, tuple[int, ...]] = {"fc.weight": (n, width), "fc.bias": (n,)}
    if facts.config.head == "mlp":
        wanted |= {"hidden.weight": (hidden, width), "hidden.bias": (hidden,), "fc.weight": (n, hidden)}
    if wanted != {name: value.shape for name, value in state.items()} or len(set(facts.classes)) != n:
        raise KeyError("its tensors do not fit its settings")
    if not all(np.isfinite(value).all() for value in state.values()):
        raise ValueError("its tensors hold NaN or infinity")
    if any(len(values) not in (0, n) for values in (facts.offset, facts.scale)):
        raise ValueError("its offsets do not fit its values")


def _read_safetensors(path: Path) -> tuple[State, dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as source:
            facts = parse_json((source.metadata() or {})["facts"].encode("utf-8", "surrogatepass"))
            return {name: source.get_tensor(name).astype(np.float32) for name in source.keys()}, facts  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{printable(path)} is damaged or no safetensors file: {error}.") from None


def _read_pickle(path: Path) -> tuple[State, dict[str, Any]]:
    from clamp3.models.checkpoint import open_checkpoint, read_pickled

    checkpoint = open_checkpoint(path)  # refuses everything but tensors and plain values
    state = {name: checkpoint.tensor(name).detach().float().numpy() for name in checkpoint.shapes}
    content = read_pickled(path)
    if not isinstance(content, dict):
        raise TypeError("it holds no names")
    if "clamp3" in content:
        return state, parse_json(str(content["clamp3"]).encode("utf-8", "replace"))
    labels = sorted(content["labels"].items(), key=lambda item: item[1])  # the released script's order is the set's
    facts: dict[str, Any] = {"classes": [name for name, _ in labels], "weights": [], "offset": [], "scale": []}
    info = {"best_epoch": content.get("epoch"), "scores": {"accuracy": content.get("max_eval_acc")}}
    return state, {**facts, "config": {"double_softmax": True}, "info": info}


def _width(state: State) -> int:
    return int(state["hidden.weight" if "hidden.weight" in state else "fc.weight"].shape[1])
