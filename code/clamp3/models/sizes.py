"""Sizes of models read from the shapes of their tensors, for checkpoints that carry no configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from clamp3.errors import WeightsError
from clamp3.formats.tables import read_json
from clamp3.models.config import N_CODES, TOWERS, Clamp3Config, DecoderConfig, M3Config, TowerConfig

Shapes = Mapping[str, tuple[int, ...]]
HEAD_WIDTH = 64  # released towers have width / 64 heads


def text_tower_of(folder: Path) -> TowerConfig | None:
    """Return the text tower's sizes from a folder's ``config.json``, or None if it has none."""
    values = read_json(folder / "config.json", dict[str, Any], error=WeightsError, default=None)
    return None if values is None else TowerConfig.from_transformers(values)


def bert_sizes(shapes: Shapes, prefix: str, *, like: TowerConfig | None = None) -> TowerConfig:
    """Return the sizes of the BERT whose tensors start with ``prefix``.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Shape of every tensor.
    prefix : str
        Start of the names of the BERT's tensors.
    like : TowerConfig, optional
        Gives what shapes do not show: heads, dropout, epsilon, padding. Without it heads are 64 wide, and an encoder
        with one token type is an XLM-R.
    """
    words = _shape(shapes, f"{prefix}embeddings.word_embeddings.weight")
    types = _shape(shapes, f"{prefix}embeddings.token_type_embeddings.weight")[0]
    feed_forward = _shape(shapes, f"{prefix}encoder.layer.0.intermediate.dense.weight")[0]
    width = words[1]
    if like is None and width % HEAD_WIDTH:
        hint = "; name the folder with its config.json by --text_model" if prefix.startswith("text") else ""
        raise WeightsError(f"the file does not say how many heads its encoder of width {width} has{hint}.")
    xlm_r = types == 1
    return TowerConfig(
        width=width,
        n_layers=_n_layers(shapes, f"{prefix}encoder.layer."),
        n_heads=like.n_heads if like else width // HEAD_WIDTH,
        feed_forward=feed_forward,
        max_length=_shape(shapes, f"{prefix}embeddings.position_embeddings.weight")[0],
        vocab_size=words[0],
        type_vocab_size=types,
        dropout=like.dropout if like else 0.1,
        layer_norm_eps=like.layer_norm_eps if like else (1e-5 if xlm_r else 1e-12),
        pad_id=like.pad_id if like else (1 if xlm_r else None),
    )


def clamp3_sizes(shapes: Shapes, text_folder: Path | None) -> Clamp3Config:
    """Return the sizes of a CLaMP 2 or 3 checkpoint.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Shape of every tensor.
    text_folder : Path or None
        Folder that may hold the text model's ``config.json``.
    """
    present = [name for name in TOWERS if f"{name}_proj.weight" in shapes]
    if not present:
        raise WeightsError("the file has no tower of CLaMP: no text_proj, symbolic_proj or audio_proj in it.")
    towers: dict[str, TowerConfig] = {}
    for name in present:
        like = text_tower_of(text_folder) if name == "text" and text_folder is not None else None
        towers[name] = bert_sizes(shapes, f"{name}_model.{'base.' if name == 'symbolic' else ''}", like=like)
    sizes = {name: tower.max_length for name, tower in towers.items()}
    patches = "symbolic_model.patch_embedding.weight"
    patch = _shape(shapes, patches)[1] // N_CODES if patches in shapes else 64
    return Clamp3Config(
        text=towers.get("text"),
        symbolic=towers.get("symbolic"),
        audio=towers.get("audio"),
        hidden_size=_shape(shapes, f"{present[0]}_proj.weight")[0],
        patch_size=patch,
        text_length=min(128, sizes.get("text", 514) - 2),
        symbolic_length=sizes.get("symbolic", 512),
        audio_length=sizes.get("audio", 128),
    )


def m3_sizes(shapes: Shapes) -> M3Config:
    """Return the sizes of an M3 checkpoint."""
    encoder = bert_sizes(shapes, "encoder.base.")
    prefix = "decoder.base.transformer."
    vocabulary, width = _shape(shapes, f"{prefix}wte.weight")
    decoder = DecoderConfig(
        width=width,
        n_layers=_n_layers(shapes, f"{prefix}h."),
        n_heads=width // HEAD_WIDTH,
        feed_forward=_shape(shapes, f"{prefix}h.0.mlp.c_fc.weight")[1],
        max_length=_shape(shapes, f"{prefix}wpe.weight")[0],
        vocab_size=vocabulary,
    )
    patch_size = _shape(shapes, "encoder.patch_embedding.weight")[1] // N_CODES
    return M3Config(encoder, decoder, patch_size=patch_size, patch_length=encoder.max_length)


def check_layers(config: Any, n_tensors: int, path: Path) -> None:
    """Refuse sizes of more layers than a file has tensors, before a model of a billion layers is built.

    Parameters
    ----------
    config : ModelConfig or part of one
    n_tensors : int
        In the file.
    path : Path
        The file, for messages.

    Raises
    ------
    WeightsError
        If there are more.
    """
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            check_layers(value, n_tensors, path)
        elif field.name == "n_layers" and value > n_tensors:
            raise WeightsError(f"{path} does not fit its model: {n_tensors} tensors for {value} layers.")


def _shape(shapes: Shapes, name: str) -> tuple[int, ...]:
    if name not in shapes or len(shapes[name]) != 2:
        raise WeightsError(f"the checkpoint is incomplete: the matrix {name} is not in it.")
    return shapes[name]


def _n_layers(shapes: Shapes, prefix: str) -> int:
    numbers = {name[len(prefix) :].split(".")[0] for name in shapes if name.startswith(prefix)}
    return max((int(number) + 1 for number in numbers if number.isdigit()), default=0)
