"""The model of a run: its sizes, the weights it starts from, and what of it is frozen."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from clamp3.errors import ConfigError, WeightsError
from clamp3.models.config import Clamp3Config, DecoderConfig, M3Config, TowerConfig
from clamp3.models.m3 import M3Model
from clamp3.models.towers import Clamp3Model
from clamp3.training.config import Clamp3Training, M3Training, RunConfig

if TYPE_CHECKING:
    from clamp3.models.tokenizer import TextTokenizer

logger = logging.getLogger(__name__)

# What BERT folders of other libraries hold beyond the encoder itself.
_NOT_ENCODER = ("lm_head.", "cls.", "classifier.", "qa_outputs.")
_TEXT_FILES = ("model.safetensors", "pytorch_model.bin")


def _tower_of(config: RunConfig) -> TowerConfig:
    return TowerConfig(
        width=config.width, n_layers=config.n_layers, n_heads=config.heads, feed_forward=config.inner_width,
        max_length=config.max_patches, dropout=config.dropout,
    )  # fmt: skip


def start(module: nn.Module, tensors: Mapping[str, Tensor], source: str, *, optional: tuple[str, ...] = ()) -> None:
    """Copy starting weights into a module, all or nothing.

    Parameters
    ----------
    module : Module
    tensors : mapping
        Under the module's own names.
    source : str
        Named in errors.
    optional : tuple of str
        Prefixes of names that may be missing and then stay at random (poolers, which nothing uses).

    Raises
    ------
    WeightsError
        If names or shapes do not fit.
    """
    wanted = module.state_dict()
    missing = [name for name in wanted if name not in tensors and not name.startswith(optional or ("\0",))]
    unknown = [name for name in tensors if name not in wanted]
    other = [name for name in tensors if name in wanted and tensors[name].shape != wanted[name].shape]
    if missing or unknown or other:
        example = (missing or unknown or other)[0]
        raise WeightsError(
            f"{source} does not fit the model: {len(missing)} tensors missing, {len(unknown)} unknown, "
            f"{len(other)} of another shape, for example {example}."
        )
    module.load_state_dict({**wanted, **{name: tensor.to(wanted[name].dtype) for name, tensor in tensors.items()}})


def m3_model(config: M3Training) -> M3Model:
    """Build the M3 model of a run, at random or from ``--init``.

    Raises
    ------
    WeightsError
        If the file is absent or of other sizes than it says.
    """
    if not config.init:
        decoder = DecoderConfig(
            width=config.width, n_layers=config.decoder_layers, n_heads=config.heads, feed_forward=4 * config.width,
            dropout=config.dropout,
        )  # fmt: skip
        return M3Model(M3Config(encoder=_tower_of(config), decoder=decoder, patch_length=config.max_patches))
    if len(config.init) > 1:
        raise ConfigError("--init of M3 takes one file.")
    from clamp3.models.weights import load_m3

    loaded = load_m3(config.init[0])
    sizes = loaded.config
    model = M3Model(
        replace(
            sizes,
            encoder=replace(sizes.encoder, dropout=config.dropout),
            decoder=replace(sizes.decoder, dropout=config.dropout),
        )
    )
    start(model, loaded.model.state_dict(), config.init[0])
    logger.info("started from %s", loaded.identity)
    return model


def _text_folder(name: str) -> Path:
    """Return the folder of a text model: as named, or its files from the Hugging Face hub.

    Raises
    ------
    WeightsError
        If it is neither a folder nor can be downloaded.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder
    try:
        from huggingface_hub import snapshot_download

        wanted = [
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "sentencepiece.bpe.model",
            "model.safetensors",
        ]
        return Path(snapshot_download(name, allow_patterns=wanted))
    except Exception as error:  # the hub raises many types: offline, unknown name, no access
        raise WeightsError(
            f"Text model {name!r} is no folder here and cannot be downloaded: {str(error).splitlines()[0]}"
        ) from error


def text_tokenizer(config: Clamp3Training) -> TextTokenizer:
    """Return the tokenizer of ``--text_model``."""
    from clamp3.models.tokenizer import load_tokenizer

    return load_tokenizer(config.text_model)


def _text_config(folder: Path) -> TowerConfig:
    path = folder / "config.json"
    try:
        return TowerConfig.from_transformers(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, json.JSONDecodeError) as error:
        raise WeightsError(
            f"{path} cannot be read ({error}); a text model needs a config.json with its sizes."
        ) from error


def _text_weights(folder: Path) -> dict[str, Tensor] | None:
    """Return the encoder's tensors of a folder, or None if it has no weights file."""
    path = next((folder / name for name in _TEXT_FILES if (folder / name).is_file()), None)
    if path is None:
        return None
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            tensors: dict[str, Any] = load_file(path)
        else:
            import torch

            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both libraries raise several types for damaged or unsafe files
        raise WeightsError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    found = {name.removeprefix("roberta.").removeprefix("bert."): tensor for name, tensor in tensors.items()}
    return {
        name: t for name, t in found.items() if not name.startswith(_NOT_ENCODER) and not name.endswith("position_ids")
    }


def clamp3_model(config: Clamp3Training) -> tuple[Clamp3Model, tuple[str, ...]]:
    """Build the CLaMP 3 model of a run with its starting weights.

    Sizes come from the ``--init`` files where they have the tower, else from the flags and the text
    model's ``config.json``. A CLaMP 3 file brings its audio tower along, frozen and unused, so that
    the exported model still has it.

    Returns
    -------
    model : Clamp3Model
    frozen : tuple of str
        Towers that are not trained.

    Raises
    ------
    WeightsError
        If weights are absent or do not fit, or the text tower would start at random unasked.
    """
    from clamp3.models.weights import is_m3, load_m3, load_model

    m3 = clamp3 = None
    for name in config.init:
        if is_m3(name):
            m3 = load_m3(name)
        else:
            clamp3 = load_model(name, towers=None)
        logger.info("starting from %s", (m3 if is_m3(name) else clamp3).identity)  # type: ignore[union-attr]

    sizes = clamp3.config if clamp3 else Clamp3Config(hidden_size=config.hidden_size)
    symbolic = m3.config.encoder if m3 else sizes.symbolic or _tower_of(config)
    folder = None if sizes.text else _text_folder(config.text_model)
    text = sizes.text or _text_config(folder)  # type: ignore[arg-type]
    if config.crop_length > symbolic.max_length:
        raise ConfigError(
            f"--patch_length {config.crop_length} exceeds the {symbolic.max_length} positions of the encoder."
        )
    model = Clamp3Model(
        replace(
            sizes,
            text=replace(text, dropout=config.dropout),
            symbolic=replace(symbolic, dropout=config.dropout),
            symbolic_length=symbolic.max_length,
            text_length=config.text_length,
        )
    )
    if clamp3 is not None:
        for name in clamp3.config.towers:
            for part in (f"{name}_model", f"{name}_proj"):
                start(model.get_submodule(part), clamp3.model.get_submodule(part).state_dict(), config.init[-1])
    if m3 is not None:
        start(model.symbolic_model, m3.model.encoder.state_dict(), config.init[0])
    if folder is not None:
        weights = _text_weights(folder)
        if weights is not None:
            start(model.text_model, weights, str(folder), optional=("pooler.",))
        elif not config.text_from_scratch:
            raise WeightsError(
                f"{folder} has no model.safetensors; --text_from_scratch starts the text tower at random."
            )
    frozen = [name for name, wanted in (("text", config.freeze_text), ("symbolic", config.freeze_symbolic)) if wanted]
    return model, tuple(frozen + (["audio"] if model.config.audio else []))
