"""Trained weights into models and back: only the requested towers, strictly checked, without copying the file.

Finding and downloading is `clamp3.models.registry`, reading files `clamp3.models.checkpoint`; models are built without
memory on torch's meta device and take the mapped tensors over.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clamp3.errors import ConfigError, WeightsError
from clamp3.models import int8_rows
from clamp3.models.checkpoint import Checkpoint, open_checkpoint
from clamp3.models.config import ModelConfig, TowerConfig
from clamp3.models.families import FAMILIES, RELEASED_TEXT_MODEL, Family, family_with
from clamp3.models.registry import PUBLISHED, folder_or_hub, hub_file, identity, model_files, resolve
from clamp3.models.sizes import check_layers, text_tower_of
from clamp3.models.tokenizer import FILES as TOKENIZER_FILES

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

__all__ = [
    "PUBLISHED",
    "RELEASED_TEXT_MODEL",
    "Described",
    "Loaded",
    "check_tensors",
    "describe",
    "init_symbolic_tower",
    "init_text_tower",
    "load_m3",
    "load_model",
    "resolve",
    "save_safetensors",
]

logger = logging.getLogger(__name__)

_SHOWN = 3  # names listed in an error


@dataclass(frozen=True)
class _File:
    path: Path

    @property
    def identity(self) -> str:
        """Name and hash of the content, which is read for it the first time."""
        return identity(self.path)


@dataclass(frozen=True)
class Described(_File):
    """What a checkpoint states about itself, read before any tower is loaded.

    Attributes
    ----------
    config : ModelConfig
        All towers in the file.
    family : Family
        Whose model it is.
    tokenizer_dir : Path, str or None
        What `clamp3.models.tokenizer.load_tokenizer` takes; None where nothing is known.
    info : dict
        Facts about the training; empty for most released files.
    """

    config: Any
    family: Family
    tokenizer_dir: Path | str | None
    info: dict[str, Any]


@dataclass(frozen=True)
class Loaded(_File):
    """A `clamp3.models.towers.TowerModel` in eval mode with what belongs to it; see `Described`."""

    model: Any
    config: Any
    family: Family
    tokenizer_dir: Path | str | None


def describe(name_or_path: str | os.PathLike[str], *, text_model: str | os.PathLike[str] | None = None) -> Described:
    """Read family, sizes and tokenizer of weights without loading a tower.

    Parameters
    ----------
    name_or_path : str or path
        As `clamp3.models.registry.resolve` takes it.
    text_model : str or path, optional
        As `load_model` takes it.

    Raises
    ------
    WeightsError
        If the weights are absent, damaged or of no registered family.
    ConfigError
        If ``text_model`` is neither a folder nor a Hugging Face name.
    """
    return _describe(open_checkpoint(resolve(name_or_path)), text_model)


def load_model(
    name_or_path: str | os.PathLike[str],
    towers: Collection[str] = ("text", "symbolic"),
    dtype: torch.dtype | str = "float32",
    device: torch.device | str = "cpu",
    *,
    text_model: str | os.PathLike[str] | None = None,
    epoch: int | None = None,
    family: str | None = None,
) -> Loaded:
    """Load towers of a checkpoint.

    Parameters
    ----------
    name_or_path : str or path
        As `clamp3.models.registry.resolve` takes it.
    towers : collection of str
        Towers to load, such as text, symbolic or audio, each with all its parts; the others are neither built nor read.
    dtype : torch.dtype or str
        Type of the layers. In float32 on the CPU the tensors stay mapped from the file.
    device : torch.device or str
        Where the model goes.
    text_model : str or path, optional
        Folder or Hugging Face name of the text model, for its tokenizer and, if the checkpoint carries no sizes, its
        ``config.json``.
    epoch : int, optional
        Checkpoint of this epoch.
    family : str, optional
        Kind that the weights have to be of; see `clamp3.models.families.FAMILIES`.

    Returns
    -------
    Loaded
        ``config`` has the loaded towers only.

    Raises
    ------
    WeightsError
        If the file is absent, damaged, unsafe, of another family, or its tensors are not exactly those of the towers.
    ConfigError
        If a tower is not in the checkpoint.
    """
    checkpoint = open_checkpoint(resolve(name_or_path, epoch=epoch))
    found = checkpoint.family
    if family not in (None, found.kind):
        raise WeightsError(f"{checkpoint.path} holds {found.name} weights, not {FAMILIES[family].name}.")
    described = _describe(checkpoint, text_model)
    if not set(towers) <= set(described.config.towers):
        found.require_joint(checkpoint.path)
    config = described.config.restrict(towers)
    model = _assemble(checkpoint, found, config, dtype, device)
    return Loaded(checkpoint.path, model, config, found, described.tokenizer_dir)


def load_m3(
    name_or_path: str | os.PathLike[str] = "m3",
    dtype: torch.dtype | str = "float32",
    device: torch.device | str = "cpu",
    *,
    epoch: int | None = None,
) -> Loaded:
    """Load an M3 checkpoint, encoder and decoder.

    Parameters
    ----------
    name_or_path, dtype, device, epoch
        As in `load_model`, which also lists what is raised.
    """
    return load_model(name_or_path, ("symbolic",), dtype, device, epoch=epoch, family="m3")


def save_safetensors(
    model: nn.Module,
    config: ModelConfig,
    path: str | os.PathLike[str],
    *,
    dtype: torch.dtype | None = None,
    info: Mapping[str, Any] | None = None,
    int8: Mapping[str, tuple[Tensor, Tensor | None]] | None = None,
) -> None:
    """Write a model's weights, sizes and training facts as one safetensors file, atomically.

    Parameters
    ----------
    model : Module
        Of a registered family; tied tensors are written once.
    config : ModelConfig
        Its sizes, whose class determines the family.
    path : str or path
        The file.
    dtype : torch.dtype, optional
        Type of the numbers in the file, for instance float16; None keeps the model's.
    info : mapping, optional
        Values JSON can hold; ``text_model`` names the tokenizer if it does not lie beside the file.
    int8 : mapping, optional
        Matrix and lift (or None) of tensors to store with 8 bits a number, see `clamp3.models.int8_rows`.
    """
    from safetensors.torch import save

    from clamp3.jobs.atomic import write_bytes

    tied = _tied(model)
    tensors = {
        name: tensor.detach().to("cpu", dtype).contiguous()
        for name, tensor in model.state_dict().items()
        if name not in tied and name not in (int8 or {})
    }
    for name, (matrix, lift) in (int8 or {}).items():
        tensors |= int8_rows.pack(name, matrix, lift)
    metadata = {
        "format": "pt",
        "kind": family_with(config).kind,
        "config": json.dumps(config.to_dict(), sort_keys=True),
        "info": json.dumps(dict(info or {}), sort_keys=True),
    }
    # Given a name, safetensors writes a hidden file of its own first, which stays for ever if the process is killed.
    write_bytes(Path(path), save(tensors, metadata=metadata))


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

    sizes, weights = model_files(dir_or_name, "the text model", published=RELEASED_TEXT_MODEL, flag="--text_model")
    config = text_tower_of(sizes.parent)
    if config is None:
        raise WeightsError(f"{sizes.parent} has no config.json, so the sizes of the text model are unknown.")
    checkpoint = open_checkpoint(weights)
    check_layers(config, len(checkpoint.shapes), weights)
    with torch.device("meta"):
        expected = Bert(config).state_dict()
    prefix = next((p for p in ("roberta.", "bert.") if any(name.startswith(p) for name in checkpoint.shapes)), "")
    state: dict[str, Tensor] = {}
    for name, tensor in expected.items():
        if prefix + name in checkpoint.shapes:
            state[name] = checkpoint.tensor(prefix + name)
        elif name.startswith("pooler."):
            state[name] = torch.zeros(tensor.shape)
    check_tensors(
        {name: t.shape for name, t in state.items()}, {name: t.shape for name, t in expected.items()}, weights
    )
    return config, {name: tensor.float().clone() for name, tensor in state.items()}


def init_symbolic_tower(name_or_path: str | os.PathLike[str] = "m3") -> tuple[TowerConfig, dict[str, Tensor]]:
    """Read the patch encoder of a checkpoint, such as an M3 or a CLaMP, to start a symbolic tower from.

    Returns
    -------
    config : TowerConfig
    state : dict of str to Tensor
        For ``Clamp3Model.symbolic_model.load_state_dict(state)``.

    Raises
    ------
    WeightsError
        If it has none.
    """
    from clamp3.models.towers import PatchEncoder

    loaded = load_model(name_or_path, ("symbolic",))
    for part in loaded.model.modules():
        if isinstance(part, PatchEncoder):
            return part.base.config, {name: tensor.clone() for name, tensor in part.state_dict().items()}
    raise WeightsError(f"{loaded.path} has no patch encoder that a symbolic tower could start from.")


def _describe(checkpoint: Checkpoint, text_model: str | os.PathLike[str] | None) -> Described:
    family = checkpoint.family
    named = None if text_model is None else folder_or_hub(text_model)
    if text_model is not None and named is None:
        raise ConfigError(f"--text_model {text_model}: no such folder, and no Hugging Face name either.")
    if checkpoint.config is not None:
        config = family.config.from_dict(checkpoint.config)
    elif family.sizes is not None:
        config = family.sizes(checkpoint.shapes, _sizes_folder(named))
    else:
        raise WeightsError(f"{checkpoint.path} does not state the sizes of its model.")
    check_layers(config, len(checkpoint.shapes), checkpoint.path)
    tokenizer = named or _tokenizer_of(checkpoint)
    return Described(checkpoint.path, config, family, tokenizer if family.joint else None, checkpoint.info)


def _sizes_folder(text_model: Path | str | None) -> Path | None:
    """Return the folder that may hold the config.json of a text model, of a Hugging Face name too."""
    if text_model is None or text_model == RELEASED_TEXT_MODEL:
        return None
    if isinstance(text_model, Path):
        return text_model
    try:
        return hub_file(text_model, "config.json").parent
    except WeightsError as error:
        logger.warning("heads of the text tower are taken to be 64 wide: no config.json of %s (%s)", text_model, error)
        return None


def _tokenizer_of(checkpoint: Checkpoint) -> Path | str | None:
    """Return the tokenizer of weights for which none is named: beside the file, stated in it, or as released."""
    folder, stated = checkpoint.path.parent, checkpoint.info.get("text_model")
    if any((folder / file).is_file() for file in TOKENIZER_FILES):
        return folder
    if isinstance(stated, str):
        return Path(stated) if Path(stated).is_dir() else stated
    return checkpoint.family.text_model if checkpoint.config is None else None


def _assemble(
    checkpoint: Checkpoint, family: Family, config: ModelConfig, dtype: torch.dtype | str, device: torch.device | str
) -> nn.Module:
    """Build on the meta device and take over the checkpoint's tensors of the towers, no more and no fewer."""
    import torch

    kind = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(kind, torch.dtype) or not kind.is_floating_point:
        raise ConfigError(f"dtype {dtype!r} is not one of float32, bfloat16, float16.")
    with torch.device("meta"):
        model = family.build(config)
    prefixes = tuple(f"{part}." for tower in config.towers for part in config.parts(tower))
    found = {name: shape for name, shape in checkpoint.shapes.items() if name.startswith(prefixes)}
    tied = _tied(model)
    expected = {name: tensor.shape for name, tensor in model.state_dict().items() if name in found or name not in tied}
    check_tensors(found, expected, checkpoint.path)
    state = {}
    for name in expected:
        # Looked up a few rows at a time: converting the whole word table would take longer than using it.
        keep = name.endswith("word_embeddings.weight") and torch.device(device).type == "cpu"
        state[name] = checkpoint.tensor(name).to(device, torch.float32 if keep else kind)
    for name, first in tied.items():
        state.setdefault(name, state[first])
    model.load_state_dict(state, strict=True, assign=True)
    for name, first in tied.items():  # assigning has untied them; the last one's values count, as in the released code
        module, _, parameter = first.rpartition(".")
        setattr(model.get_submodule(module), parameter, model.get_parameter(name))
    return model.eval()


def _tied(model: nn.Module) -> dict[str, str]:
    """Return the first name of every parameter that has several, by its other names."""
    names: dict[int, str] = {}
    by_name = {name: names.setdefault(id(p), name) for name, p in model.named_parameters(remove_duplicate=False)}
    return {name: first for name, first in by_name.items() if name != first}


def check_tensors(found: Mapping[str, Any], expected: Mapping[str, Any], path: Path) -> None:
    """Compare the tensors of a file with those of a model.

    Parameters
    ----------
    found, expected : mapping of str to shape
        What is in the file, and what the model needs.
    path : Path
        The file, for messages.

    Raises
    ------
    WeightsError
        Listing the first names that are missing, unknown, or of another shape.
    """
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
