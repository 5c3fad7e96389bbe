"""Checkpoint files, released or our own, as names, shapes and lazily read tensors; nothing in them is ever executed.

Readable are released ``.pth`` files (a dict whose ``model`` holds the tensors) and our own ``.safetensors`` (sizes and
facts of the training in the header). Both are mapped into memory: a tower that is not requested is not read.
"""

from __future__ import annotations

import pickle
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clamp3.errors import FormatError, WeightsError, sentence_of
from clamp3.formats.fields import typed
from clamp3.formats.tables import MAX_DEPTH, parse_json
from clamp3.models import int8_rows
from clamp3.models.families import FAMILIES, Family, family_of, recognised

if TYPE_CHECKING:
    import torch

_PREFIX = "module."  # added by data-parallel training
_NOT_WEIGHTS = (".position_ids", ".token_type_ids")  # counters that old BERTs saved
_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Checkpoint:
    """An open checkpoint.

    Attributes
    ----------
    kind : str
        Of the model; a key of `clamp3.models.families.FAMILIES` or, where the family is unknown, what the file states.
    shapes : dict
        Shape of every tensor by its present-day name.
    config : dict or None
        Sizes as written by us; None in released files.
    info : dict
        What the training wrote about itself.
    """

    path: Path
    kind: str
    shapes: dict[str, tuple[int, ...]]
    config: dict[str, Any] | None = None
    info: dict[str, Any] = field(default_factory=dict)
    _source: Any = None
    _names: dict[str, str] = field(default_factory=dict)

    @property
    def family(self) -> Family:
        """The family of its model; a WeightsError that lists the known ones if it is none of them."""
        return family_of(self.kind, self.path)

    @property
    def stored(self) -> list[str]:
        """Names of the tensors as they are in the file, those of 8 bits in their parts; `tensor` takes these too."""
        return list(self._names)

    def tensor(self, name: str) -> torch.Tensor:
        """Return one tensor, mapped from the file where its format allows."""
        if name not in self._names:
            return int8_rows.unpack(name, self.tensor, lifted=name + int8_rows.LIFT in self._names)
        key = self._names[name]
        if isinstance(self._source, dict):
            tensor: torch.Tensor = self._source[key]
            return tensor
        try:
            return self._source().get_tensor(key)
        except Exception as error:  # a type of numbers that this torch does not have
            raise WeightsError(f"{self.path}: the tensor {name} cannot be read: {sentence_of(error)}.") from None


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a ``.pth``/``.pt``/``.bin`` or ``.safetensors`` file without executing or copying anything.

    Raises
    ------
    WeightsError
        If it is absent, truncated, holds something other than tensors, or would run code when unpickled.
    """
    if not path.is_file():
        raise WeightsError(f"no checkpoint at {path}.")
    try:
        with path.open("rb") as file:
            start = file.read(len(_POINTER))
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
    if start == _POINTER:
        raise WeightsError(f"{path} is only Git LFS's pointer to the weights; fetch them with git lfs pull.")
    return _open_safetensors(path) if path.suffix == ".safetensors" else _open_pickle(path)


def _open_safetensors(path: Path) -> Checkpoint:
    from safetensors import SafetensorError, safe_open

    try:
        source = safe_open(str(path), framework="np")  # the header alone needs no torch
        metadata = source.metadata() or {}
        kind, names = _present_names(source.keys(), metadata.get("kind"))
        stored = {name: tuple(source.get_slice(key).get_shape()) for name, key in names.items()}
        config, info = (
            typed(dict[str, Any], parse_json(metadata[key].encode("utf-8", "surrogatepass")), f"its {key}")
            if key in metadata
            else absent
            for key, absent in (("config", None), ("info", {}))
        )
    except (SafetensorError, OSError, ValueError, FormatError) as error:
        raise WeightsError(f"{path} is damaged or no safetensors file: {sentence_of(error).rstrip('.')}.") from error
    shapes = int8_rows.whole_shapes(stored)
    return Checkpoint(path, kind, shapes, config, info, cache(partial(safe_open, str(path), framework="pt")), names)


def write_pickled(path: Path, content: Any) -> None:
    """Write what `read_pickled` reads, whole or not at all; trouble of the disk is an OSError that names the file.

    Parameters
    ----------
    path : Path
    content
        Tensors and plain values.
    """
    import torch

    from clamp3.jobs.atomic import replacing

    with replacing(path) as temporary, temporary.open("wb") as stream:  # given a name, torch hides what the disk says
        torch.save(content, stream)


def read_pickled(path: Path) -> Any:
    """Return what ``torch.save`` wrote: tensors and plain values, mapped from the file where its format allows.

    Raises
    ------
    WeightsError
        If it is damaged, would run code, or tensors are larger than what the file holds of them.
    """
    import warnings

    import torch

    mapped = _is_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols; what matters raises
            # Only the zip format of torch 1.6 and later can be mapped; older files are read whole.
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL:?\s+([\w.]+)", str(error))  # torch's advice to open it anyway is not passed on
        what = f"it wants {wanted[1]} to be run" if wanted else "it is no file of tensors"
        raise WeightsError(f"{path} was not opened: {what}, and unpickling such a file can run any code.") from None
    except Exception as error:  # a damaged file can raise nearly anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"{path} is damaged or incomplete ({sentence_of(reason.split('. ')[0])}).") from error
    for tensor in _tensors_in(content):
        if tensor.is_quantized or tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise WeightsError(f"{path} is damaged: it holds what is no plain tensor.")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():  # one number for a whole matrix
            raise WeightsError(
                f"{path} is damaged: a tensor of {tuple(tensor.shape)} is larger than what it holds of it."
            )
    return content


def _tensors_in(content: Any, depth: int = 0) -> Iterator[torch.Tensor]:
    if hasattr(content, "untyped_storage"):
        yield content
    elif isinstance(content, Mapping | list | tuple) and depth < MAX_DEPTH:
        for part in content.values() if isinstance(content, Mapping) else content:
            yield from _tensors_in(part, depth + 1)


def _open_pickle(path: Path) -> Checkpoint:
    import torch

    content = read_pickled(path)
    tensors = content.get("model", content) if isinstance(content, dict) else None
    if (
        not isinstance(tensors, Mapping)
        or not tensors
        or not all(isinstance(t, torch.Tensor) for t in tensors.values())
    ):
        raise WeightsError(f"{path} is no checkpoint: expected tensors by name, or a dict that has them under 'model'.")
    kind, names = _present_names(tensors)
    shapes = {name: tuple(tensors[key].shape) for name, key in names.items()}
    info = {key: content[key] for key in ("epoch", "min_eval_loss") if isinstance(content.get(key), (int, float))}
    return Checkpoint(path, kind, shapes, None, info, dict(tensors), names)


def _is_archive(path: Path) -> bool:
    """Return whether a file is an archive; refuse one with parts larger than itself: torch does not pack them."""
    try:
        if not zipfile.is_zipfile(path):  # which raises BadZipFile itself for some
            return False
        with zipfile.ZipFile(path) as archive:
            size = sum(part.file_size for part in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, IndexError, struct.error, NotImplementedError) as error:
        raise WeightsError(f"{path} is damaged or incomplete ({sentence_of(error)}).") from None
    if size > path.stat().st_size:
        raise WeightsError(f"{path} is damaged: its parts take {size} bytes, the file {path.stat().st_size}.")
    return True


def _present_names(keys: Any, kind: str | None = None) -> tuple[str, dict[str, str]]:
    """Return the kind of the model, and the names in the file by those that tensors have now."""
    names = {str(key).removeprefix(_PREFIX): key for key in keys}
    kind = recognised(names) if kind is None else kind
    renamed = FAMILIES[kind].renamed if kind in FAMILIES else {}
    present = {}
    for name, key in names.items():
        old = next((old for old in renamed if name.startswith(old)), "")
        if not name.endswith(_NOT_WEIGHTS):
            present[renamed.get(old, "") + name.removeprefix(old)] = key
    return kind, present
