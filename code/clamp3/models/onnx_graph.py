"""A tower as an ONNX file: the graph by torch's exporter, weights of 8 bits by onnxruntime's quantizer.

Every file takes two inputs, of any batch and of any length up to the tower's window, and gives two outputs:

| name | shape | type |
|---|---|---|
| ``input_ids`` (text) | (batch, length) | int64 |
| ``patches`` (symbolic) | (batch, length, codes of a patch) | uint8 |
| ``frames`` (audio) | (batch, length, width) | float32 |
| ``attention_mask`` | (batch, length) | int64, 1 at real positions |
| ``vector`` | (batch, width of the space) | float32, pooled and projected, not normalised |
| ``hidden`` | (batch, length, width of the tower) | float32; rows of padding hold numbers without meaning |
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clamp3.errors import ConfigError, WeightsError, sentence_of
from clamp3.models import int8_rows
from clamp3.models.bert import Bert
from clamp3.models.config import N_CODES, ModelConfig
from clamp3.models.towers import PatchEmbedding, TowerModel

OPSET = 20  # the first with GELU as one operator; onnxruntime from 1.17
PACKAGES = ("onnx", "onnxruntime", "onnxscript")
INPUTS = {"text": "input_ids", "symbolic": "patches", "audio": "frames"}
MASK, VECTOR, HIDDEN = "attention_mask", "vector", "hidden"
MAX_BYTES = 1900 << 20  # one file is one protobuf message, which ends at 2 GiB
_CODES_AT_ONCE = 8  # of a patch: all 64 would be 100 MB for a window of the released size


def require_packages(*names: str) -> None:
    """Raise a ConfigError with what to install, unless the packages are there; none named means all."""
    missing = [name for name in names or PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"ONNX needs {' and '.join(missing)}: pip install 'clamp3[onnx]'.")


class _Rows(nn.Module):
    """A table of which rows are looked up; with 8 bits a number, each row has a scale, as in `int8_rows`."""

    def __init__(self, table: Tensor, *, int8: bool) -> None:
        super().__init__()
        parts = int8_rows.pack("", table.detach()) if int8 else {"": table.detach().float().contiguous()}
        self.register_buffer("rows", parts[int8_rows.INT8 if int8 else ""])
        self.register_buffer("scale", parts[int8_rows.SCALE][:, None] if int8 else None)

    def forward(self, numbers: Tensor) -> Tensor:
        """Return (…, D) float rows of (…) numbers."""
        rows = F.embedding(numbers, cast(Tensor, self.rows))
        return rows if self.scale is None else rows.float() * F.embedding(numbers, cast(Tensor, self.scale))


class _Patches(nn.Module):
    """`PatchEmbedding` in operators that ONNX has."""

    def __init__(self, layer: PatchEmbedding, *, int8: bool) -> None:
        super().__init__()
        self.columns = _Rows(layer.weight.detach().t(), int8=int8)
        self.bias = nn.Parameter(layer.bias.detach().float())

    def forward(self, patches: Tensor) -> Tensor:
        """Return (B, L, D) embeddings of (B, L, P) codes."""
        size = patches.shape[2]
        numbers = patches.long() + torch.arange(0, size * N_CODES, N_CODES)
        total = self.bias
        for start in range(0, size, _CODES_AT_ONCE):
            total = total + self.columns(numbers[:, :, start : start + _CODES_AT_ONCE]).sum(2)
        return total


class _Graph(nn.Module):
    """What a file computes."""

    def __init__(self, model: TowerModel, modality: str) -> None:
        super().__init__()
        self.model, self.modality = model, modality

    def forward(self, inputs: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors (B, E) and the hidden states (B, T, D)."""
        mask = attention_mask.bool()
        hidden = self.model.encode(self.modality, inputs, mask)
        return self.model.pool(self.modality, hidden, mask), hidden


@dataclass(frozen=True)
class Int8:
    """How weights of 8 bits are made; what decides the numbers, and so part of the vectors' identity.

    Attributes
    ----------
    per_channel : bool
        A scale for every output of a layer in place of one for the whole matrix.
    signed : bool
        Weights from -127 to 127 in place of 0 to 255.
    reduce_range : bool
        Weights of 7 bits: processors without VNNI add products of signed weights in 16 bits, which may overflow.
    """

    per_channel: bool = True
    signed: bool = True
    reduce_range: bool = False


def export_tower(
    model: TowerModel, modality: str, path: Path, *, facts: dict[str, str], int8: Int8 | None = None
) -> None:
    """Write a tower as one file.

    Parameters
    ----------
    model : TowerModel
        In float32 on the CPU, as `clamp3.models.weights.load_model` returns it; its tables are replaced.
    modality : str
        Which tower.
    path : Path
        The file; it is not written atomically.
    facts : dict of str to str
        What the file says about itself.
    int8 : Int8, optional
        Store weights of layers and tables with 8 bits a number.

    Raises
    ------
    ConfigError
        If packages are absent, or the tower's input is none that ONNX files have.
    WeightsError
        If the tower is too large for one file, or torch cannot export it.
    """
    require_packages()
    inputs = _sample(model.config, modality)
    _replace_tables(model, int8=int8 is not None)
    size = sum(part.numel() * part.element_size() for part in (*model.parameters(), *model.buffers()))
    if size > MAX_BYTES:
        raise WeightsError(f"the {modality} tower has {size >> 20} MiB; an ONNX file has 2 GiB at most.")
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", max=model.config.length(modality))
    try:
        with _quiet():
            program = torch.onnx.export(
                _Graph(model, modality).eval(),
                (inputs, torch.ones(inputs.shape[:2], dtype=torch.long)),
                input_names=[INPUTS[modality], MASK],
                output_names=[VECTOR, HIDDEN],
                dynamic_shapes=({0: batch, 1: length}, {0: batch, 1: length}),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
            assert program is not None
            program.model.metadata_props.update(facts)
            program.save(path, external_data=False)
    except Exception as error:  # the exporter has classes of its own, changing by version
        raise WeightsError(f"torch cannot export the {modality} tower: {sentence_of(error)}.") from error
    if int8 is not None:
        _quantize(path, int8)


def _sample(config: ModelConfig, modality: str) -> Tensor:
    """Return an input from which the exporter learns types and ranks."""
    shape = 2, min(3, config.length(modality))
    if config.n_tokens(modality) is not None:
        return torch.full(shape, 5)
    width = getattr(config, "patch_size" if modality == "symbolic" else "feature_width", None)
    if width is None or modality not in INPUTS:
        raise ConfigError(f"the {modality} tower of {type(config).__name__.removesuffix('Config')} has no ONNX form.")
    return torch.full((*shape, width), 7, dtype=torch.uint8 if modality == "symbolic" else torch.float32)


def _replace_tables(model: nn.Module, *, int8: bool) -> None:
    for part in model.modules():
        if isinstance(part, Bert) and int8:
            table = part.embeddings.word_embeddings.weight
            setattr(part.embeddings, "word_embeddings", _Rows(table, int8=True))  # noqa: B010  another class
        for name, child in list(part.named_children()):
            if isinstance(child, PatchEmbedding):
                setattr(part, name, _Patches(child, int8=int8))


def _quantize(path: Path, int8: Int8) -> None:
    """Replace the products with weights in a file by products of 8 bits, whose inputs are rounded as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    whole = path.with_suffix(".float32")
    path.rename(whole)
    try:
        with _quiet():
            quantize_dynamic(
                whole,
                path,
                op_types_to_quantize=["MatMul"],
                per_channel=int8.per_channel,
                reduce_range=int8.reduce_range,
                weight_type=QuantType.QInt8 if int8.signed else QuantType.QUInt8,
            )
    finally:
        whole.unlink()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what exporter and quantizer say to their developers; errors are raised."""
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in ("torch", "torch.onnx", "onnxscript"))]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
