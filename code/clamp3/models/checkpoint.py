"""Checkpoint files, released or our own, as names, shapes and lazily read tensors; nothing in them is ever executed.

Readable are released ``.pth`` files (a dict whose ``model`` holds the tensors) and our own ``.safetensors`` (sizes and
facts of the training in the header). Both are mapped into memory: a tower that is not requested is not read.
"""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clamp3.errors import WeightsError
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

    def tensor(self, name: str) -> torch.Tensor:
        """Return one tensor, mapped from the file where its format allows."""
        key = self._names[name]
        if isinstance(self._source, dict):
            return self._source[key]
        return self._source.get_tensor(key)


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
        source = safe_open(str(path), framework="pt")
        metadata = source.metadata() or {}
        kind, names = _present_names(source.keys(), metadata.get("kind"))
        shapes = {name: tuple(source.get_slice(key).get_shape()) for name, key in names.items()}
        config = json.loads(metadata["config"]) if "config" in metadata else None
        info = json.loads(metadata.get("info", "{}"))
        if not isinstance(info, dict) or not (config is None or isinstance(config, dict)):
            raise ValueError("what it says of itself is no JSON object")
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is damaged or no safetensors file: {error}.") from error
    return Checkpoint(path, kind, shapes, config, info, source, names)


def _open_pickle(path: Path) -> Checkpoint:
    import warnings

    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols; what matters raises
            # Only the zip format of torch 1.6 and later can be mapped; older files are read whole.
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL:?\s+([\w.]+)", str(error))  # torch's advice to open it anyway is not passed on
        what = f"it wants {wanted[1]} to be run" if wanted else "it is no file of tensors"
        raise WeightsError(f"{path} was not opened: {what}, and unpickling such a file can run any code.") from None
    except Exception as error:  # a damaged file can raise nearly anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"{path} is damaged or incomplete ({reason.split('. ')[0]}).") from error
    tensors = content.get("model", content) if isinstance(content, dict) else None
    if not (isinstance(tensors, Mapping) and tensors and all(isinstance(t, torch.Tensor) for t in tensors.values())):
        raise WeightsError(f"{path} is no checkpoint: expected tensors by name, or a dict that has them under 'model'.")
    kind, names = _present_names(tensors)
    shapes = {name: tuple(tensors[key].shape) for name, key in names.items()}
    info = {key: content[key] for key in ("epoch", "min_eval_loss") if isinstance(content.get(key), (int, float))}
    return Checkpoint(path, kind, shapes, None, info, dict(tensors), names)


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
