"""Trained weights into models and back: only the towers that are asked for, strictly, without copying the file.

Finding and downloading is `clamp3.models.registry`, reading files `clamp3.models.checkpoint`; models are built without
memory on torch's meta device and take the mapped tensors over.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from clamp3.errors import ConfigError, WeightsError
from clamp3.models.checkpoint import Checkpoint, open_checkpoint
from clamp3.models.config import TOWERS, Clamp3Config, M3Config, TowerConfig
from clamp3.models.registry import PUBLISHED, hub_file, identity, resolve
from clamp3.models.sizes import clamp3_sizes, m3_sizes, text_tower_of
from clamp3.models.tokenizer import FILES as TOKENIZER_FILES
from clamp3.models.tokenizer import is_hub_name

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from clamp3.models.m3 import M3Model
    from clamp3.models.towers import Clamp3Model

__all__ = [
    "PUBLISHED",
    "RELEASED_TEXT_MODEL",
    "Described",
    "Loaded",
    "describe",
    "init_symbolic_tower",
    "init_text_tower",
    "load_m3",
    "load_model",
    "resolve",
    "save_safetensors",
]

RELEASED_TEXT_MODEL = "FacebookAI/xlm-roberta-base"
_TIED = "decoder.base.lm_head.weight"
_SHOWN = 3  # names listed in an error

_Model = TypeVar("_Model", bound="nn.Module")


@dataclass(frozen=True)
class _File:
    path: Path

    @property
    def identity(self) -> str:
        """Name and hash of the content, which is read for it the first time."""
        return identity(self.path)


@dataclass(frozen=True)
class Described(_File):
    """What a checkpoint says about itself before any tower is loaded.

    Attributes
    ----------
    config : Clamp3Config
        All towers in the file.
    tokenizer_dir : Path, str or None
        What `clamp3.models.tokenizer.load_tokenizer` takes; None where nothing is known.
    info : dict
        Facts about the training; empty for most released files.
    """

    config: Clamp3Config
    tokenizer_dir: Path | str | None
    info: dict[str, Any]


@dataclass(frozen=True)
class Loaded(_File, Generic[_Model]):
    """A model in eval mode with what belongs to it; see `Described`."""

    model: _Model
    config: Any
    tokenizer_dir: Path | str | None


def describe(name_or_path: str | os.PathLike[str], *, text_model: str | os.PathLike[str] | None = None) -> Described:
    """Read sizes and tokenizer of CLaMP weights without loading a tower.

    Raises
    ------
    WeightsError
        If the weights are absent, damaged or not those of a CLaMP model.
    """
    path = resolve(name_or_path)
    return _describe(open_checkpoint(path), text_model)


def load_model(
    name_or_path: str | os.PathLike[str],
    towers: Collection[str] = ("text", "symbolic"),
    dtype: torch.dtype | str = "float32",
    device: torch.device | str = "cpu",
    *,
    text_model: str | os.PathLike[str] | None = None,
    epoch: int | None = None,
) -> Loaded[Clamp3Model]:
    """Load towers of a CLaMP 2 or 3 checkpoint.

    Parameters
    ----------
    name_or_path : str or path
        As `clamp3.models.registry.resolve` takes it.
    towers : collection of {"text", "symbolic", "audio"}
        Towers to load, each with its projection; the others are neither built nor read.
    dtype : torch.dtype or str
        Type of the layers. In float32 on the CPU the tensors stay mapped from the file.
    device : torch.device or str
        Where the model goes.
    text_model : str or path, optional
        Folder or Hugging Face name of the text model, for its tokenizer and, if the checkpoint carries no sizes, its
        ``config.json``.
    epoch : int, optional
        Checkpoint of this epoch.

    Returns
    -------
    Loaded
        ``config`` has the loaded towers only.

    Raises
    ------
    WeightsError
        If the file is absent, damaged, unsafe, or its tensors are not exactly those of the towers.
    ConfigError
        If a tower is not in the checkpoint.
    """
    from clamp3.models.towers import Clamp3Model

    checkpoint = open_checkpoint(resolve(name_or_path, epoch=epoch))
    described = _describe(checkpoint, text_model)
    for name in towers:
        described.config.tower(name)  # an absent one is an error that lists those there are
    absent: dict[str, Any] = {name: None for name in TOWERS if name not in towers}
    config = replace(described.config, **absent)
    prefixes = tuple(f"{name}_{part}." for name in config.towers for part in ("model", "proj", "front"))
    model = _assemble(lambda: Clamp3Model(config), checkpoint, prefixes, dtype, device)
    return Loaded(checkpoint.path, model, config, described.tokenizer_dir)


def load_m3(
    name_or_path: str | os.PathLike[str] = "m3",
    dtype: torch.dtype | str = "float32",
    device: torch.device | str = "cpu",
    *,
    epoch: int | None = None,
) -> Loaded[M3Model]:
    """Load an M3 checkpoint, encoder and decoder; arguments and errors as in `load_model`."""
    from clamp3.models.m3 import M3Model

    checkpoint = open_checkpoint(resolve(name_or_path, epoch=epoch))
    if checkpoint.kind != "m3":
        raise WeightsError(
            f"{checkpoint.path} holds CLaMP weights, not M3; its symbolic tower is loaded by load_model."
        )
    config = M3Config.from_dict(checkpoint.config) if checkpoint.config else m3_sizes(checkpoint.shapes)
    model = _assemble(lambda: M3Model(config), checkpoint, ("encoder.", "decoder."), dtype, device)
    return Loaded(checkpoint.path, model, config, None)


def save_safetensors(
    model: nn.Module,
    config: Clamp3Config | M3Config,
    path: str | os.PathLike[str],
    *,
    dtype: torch.dtype | None = None,
    info: Mapping[str, Any] | None = None,
) -> None:
    """Write a model's weights, sizes and training facts as one safetensors file, atomically.

    Parameters
    ----------
    model : Module
        A `Clamp3Model` or `M3Model`; tied tensors are written once.
    dtype : torch.dtype, optional
        Type of the numbers in the file, for instance float16; None keeps the model's.
    info : mapping, optional
        Values JSON can hold; ``text_model`` names the tokenizer if it does not lie beside the file.
    """
    from safetensors.torch import save_file

    from clamp3.jobs.atomic import replacing

    tensors = {
        name: tensor.detach().to("cpu", dtype).contiguous()
        for name, tensor in model.state_dict().items()
        if name != _TIED
    }
    metadata = {
        "format": "pt",
        "kind": "m3" if isinstance(config, M3Config) else "clamp3",
        "config": json.dumps(config.to_dict(), sort_keys=True),
        "info": json.dumps(dict(info or {}), sort_keys=True),
    }
    with replacing(Path(path)) as temporary:
        mode = temporary.stat().st_mode
        save_file(tensors, str(temporary), metadata=metadata)
        temporary.chmod(mode)  # safetensors makes a file that only its owner can read


def init_text_tower(dir_or_name: str | os.PathLike[str]) -> tuple[TowerConfig, dict[str, Tensor]]:
    """Read an XLM-R (or BERT) of the transformers library to start a text tower from.

    Parameters
    ----------
    dir_or_name : str or path
        A folder with ``config.json`` and ``model.safetensors`` or ``pytorch_model.bin``, or a Hugging Face name.

    Returns
    -------
    config : TowerConfig
    state : dict of str to Tensor
        For ``Clamp3Model.text_model.load_state_dict(state)``; a language-model head is left out, an absent pooler
        (it is never computed) is zero.

    Raises
    ------
    WeightsError
        If there is no such folder, or tensors are missing or of another shape.
    """
    import torch

    from clamp3.models.bert import Bert

    folder, weights = _text_folder(dir_or_name)
    config = text_tower_of(folder)
    if config is None:
        raise WeightsError(f"{folder} has no config.json, so the sizes of the text model are unknown.")
    checkpoint = open_checkpoint(weights)
    with torch.device("meta"):
        expected = Bert(config).state_dict()
    prefix = next((p for p in ("roberta.", "bert.") if any(name.startswith(p) for name in checkpoint.shapes)), "")
    state: dict[str, Tensor] = {}
    for name, tensor in expected.items():
        if prefix + name in checkpoint.shapes:
            state[name] = checkpoint.tensor(prefix + name)
        elif name.startswith("pooler."):
            state[name] = torch.zeros(tensor.shape)
    _check({name: t.shape for name, t in state.items()}, {name: t.shape for name, t in expected.items()}, weights)
    return config, {name: tensor.float().clone() for name, tensor in state.items()}


def init_symbolic_tower(name_or_path: str | os.PathLike[str] = "m3") -> tuple[TowerConfig, dict[str, Tensor]]:
    """Read the encoder of an M3 (or the symbolic tower of a CLaMP) checkpoint to start a symbolic tower from.

    Returns
    -------
    config : TowerConfig
    state : dict of str to Tensor
        For ``Clamp3Model.symbolic_model.load_state_dict(state)``.
    """
    path = resolve(name_or_path)
    if open_checkpoint(path).kind == "m3":
        loaded = load_m3(path)
        return loaded.config.encoder, {name: t.clone() for name, t in loaded.model.encoder.state_dict().items()}
    tower = load_model(path, ("symbolic",))
    encoder = tower.model.get_submodule("symbolic_model")
    return tower.config.symbolic, {name: t.clone() for name, t in encoder.state_dict().items()}


def _describe(checkpoint: Checkpoint, text_model: str | os.PathLike[str] | None) -> Described:
    path = checkpoint.path
    if checkpoint.kind != "clamp3":
        raise WeightsError(f"{path} holds M3 weights, which have no joint space; use code/extract_m3.py with them.")
    named = Path(text_model).expanduser() if text_model is not None else None
    folder = named if named is not None and named.is_dir() else None
    if text_model is not None and folder is None and not is_hub_name(text_model):
        raise ConfigError(f"--text_model {text_model}: no such folder, and no Hugging Face name either.")
    if checkpoint.config is not None:
        config = Clamp3Config.from_dict(checkpoint.config)
    else:
        config = clamp3_sizes(checkpoint.shapes, folder)
    tokenizer_dir: Path | str | None = folder or (str(text_model) if text_model is not None else None)
    if tokenizer_dir is None:
        stated = checkpoint.info.get("text_model")
        if any((path.parent / file).is_file() for file in TOKENIZER_FILES):
            tokenizer_dir = path.parent
        elif isinstance(stated, str):
            tokenizer_dir = Path(stated) if Path(stated).is_dir() else stated
        elif checkpoint.config is None:
            tokenizer_dir = RELEASED_TEXT_MODEL
    return Described(path, config, tokenizer_dir, checkpoint.info)


def _assemble(
    build: Callable[[], _Model],
    checkpoint: Checkpoint,
    prefixes: tuple[str, ...],
    dtype: torch.dtype | str,
    device: torch.device | str,
) -> _Model:
    """Build on the meta device and take over the checkpoint's tensors below ``prefixes``, no more and no fewer."""
    import torch

    kind = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(kind, torch.dtype) or not kind.is_floating_point:
        raise ConfigError(f"dtype {dtype!r} is not one of float32, bfloat16, float16.")
    with torch.device("meta"):
        model = build()
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    found = {name: shape for name, shape in checkpoint.shapes.items() if name.startswith(prefixes)}
    tied = _TIED in expected and _TIED not in found
    if tied:
        del expected[_TIED]
    _check(found, expected, checkpoint.path)
    state = {}
    for name in expected:
        # Looked up a few rows at a time: converting the whole word table would take longer than using it.
        keep = name.endswith("word_embeddings.weight") and torch.device(device).type == "cpu"
        state[name] = checkpoint.tensor(name).to(device, torch.float32 if keep else kind)
    if tied:
        state[_TIED] = state["decoder.base.transformer.wte.weight"]
    model.load_state_dict(state, strict=True, assign=True)
    if _TIED in state:  # assigning has untied them; the output layer's values count, as in the released code
        model.get_submodule("decoder.base.transformer.wte").weight = model.get_submodule("decoder.base.lm_head").weight
    return model.eval()


def _check(found: Mapping[str, Any], expected: Mapping[str, Any], path: Path) -> None:
    """Raise a WeightsError that lists the first names that are missing, of another shape, or unknown."""
    problems = []
    for what, names in (
        ("missing", [name for name in expected if name not in found]),
        ("unknown", [name for name in found if name not in expected]),
    ):
        if names:
            problems.append(f"{len(names)} {what} ({_first(names)})")
    wrong = [
        f"{name} is {_size(found[name])} instead of {_size(expected[name])}"
        for name in expected
        if name in found and tuple(found[name]) != tuple(expected[name])
    ]
    if wrong:
        problems.append(f"{len(wrong)} of another shape ({_first(wrong)})")
    if problems:
        raise WeightsError(f"{path} does not fit the model: tensors {'; '.join(problems)}.")


def _first(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def _size(shape: Any) -> str:
    return " × ".join(str(n) for n in shape)


def _text_folder(dir_or_name: str | os.PathLike[str]) -> tuple[Path, Path]:
    files = ("model.safetensors", "pytorch_model.bin")
    folder = Path(dir_or_name).expanduser()
    if folder.is_dir():
        for file in files:
            if (folder / file).is_file():
                return folder, folder / file
        raise WeightsError(f"{folder} holds no {' and no '.join(files)}.")
    if not is_hub_name(dir_or_name):
        raise WeightsError(f"the text model {dir_or_name} is neither a folder nor a Hugging Face name.")
    try:
        return hub_file(str(dir_or_name), "config.json").parent, hub_file(str(dir_or_name), files[0])
    except WeightsError as error:
        url = f"https://huggingface.co/{dir_or_name}"
        raise WeightsError(
            f"the text model {dir_or_name} is absent: put the files of {url} into a folder ({error})."
        ) from error
