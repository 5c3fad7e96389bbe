"""Trained probes as files: tensors and the facts needed to use them; nothing in a file is ever executed.

``.safetensors`` has the facts in its header; ``.pth`` is a dict with the released names (``model``, ``labels``,
``input_size``, ``epoch``, ``max_eval_acc``) and ours under ``clamp3``. Probes of the released script can be read too.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from clamp3.errors import ConfigError, DataError, WeightsError, printable
from clamp3.jobs.atomic import replacing, without_nan
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
        return _width(self.state)

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
    facts: dict[str, Any] = {"config": asdict(probe.config), "info": without_nan(probe.info)}
    facts |= {name: list(getattr(probe, name)) for name in ("classes", "weights", "offset", "scale")}
    if path.suffix == ".safetensors":
        from safetensors.numpy import save_file

        with replacing(path) as temporary:
            save_file(probe.state, str(temporary), {"kind": KIND, "facts": json.dumps(facts, ensure_ascii=False)})
        return
    import torch

    content = {
        "model": {name: torch.from_numpy(value) for name, value in probe.state.items()},
        "labels": {name: place for place, name in enumerate(probe.classes)},
        "input_size": probe.width,
        "epoch": probe.info.get("best_epoch", 0),
        "max_eval_acc": probe.info.get("scores", {}).get("accuracy", 0.0),
        "clamp3": json.dumps({"kind": KIND, **facts}, ensure_ascii=False),
    }
    with replacing(path) as temporary:
        torch.save(content, temporary)


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
        raise WeightsError(f"no probe at {printable(path)}; classification/train_cls.py makes one.")
    try:
        state, facts = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
        classes = tuple(map(str, facts["classes"]))
        config = ProbeConfig(**facts["config"])
        wanted = make_head(_width(state), len(classes), config).state()
        if {name: value.shape for name, value in wanted.items()} != {n: v.shape for n, v in state.items()}:
            raise KeyError("its tensors do not fit its settings")
        weights, offset, scale = (tuple(facts[name]) for name in ("weights", "offset", "scale"))
        return Probe(config, classes, state, weights, offset, scale, facts["info"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"{printable(path)} is no probe of these scripts ({error}).") from None


def _read_safetensors(path: Path) -> tuple[State, dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as source:
            facts = json.loads((source.metadata() or {})["facts"])
            return {name: source.get_tensor(name).astype(np.float32) for name in source.keys()}, facts  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{printable(path)} is damaged or no safetensors file: {error}.") from None


def _read_pickle(path: Path) -> tuple[State, dict[str, Any]]:
    import torch

    from clamp3.models.checkpoint import open_checkpoint

    checkpoint = open_checkpoint(path)  # refuses everything but tensors and plain values
    state = {name: checkpoint.tensor(name).detach().float().numpy() for name in checkpoint.shapes}
    content = torch.load(path, map_location="cpu", weights_only=True)
    if "clamp3" in content:
        return state, json.loads(content["clamp3"])
    labels = sorted(content["labels"].items(), key=lambda item: item[1])  # the released script's order is the set's
    facts: dict[str, Any] = {"classes": [name for name, _ in labels], "weights": [], "offset": [], "scale": []}
    info = {"best_epoch": content.get("epoch"), "scores": {"accuracy": content.get("max_eval_acc")}}
    return state, {**facts, "config": {"double_softmax": True}, "info": info}


def _width(state: State) -> int:
    return int(state["hidden.weight" if "hidden.weight" in state else "fc.weight"].shape[1])
