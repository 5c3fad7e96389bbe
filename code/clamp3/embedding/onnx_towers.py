"""Exported towers in onnxruntime: a backend of `clamp3.embedding.clamp3.Clamp3`.

    Clamp3.from_pretrained("exported/")                             # a folder that clamp3 export has written
    Clamp3.from_pretrained("mini", backend="onnx", dtype="int8")    # exported now, and kept in the cache folder

Windows, batches and pooling are those of every tower; identities say ``onnx_float32`` or ``onnx_int8``.
"""

from __future__ import annotations

import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clamp3.errors import ConfigError, WeightsError, sentence_of
from clamp3.jobs.identity import Identity
from clamp3.models.onnx_folder import Exported, export, read_export, tower_file
from clamp3.models.registry import EXPORT

if TYPE_CHECKING:
    from torch import Tensor

    from clamp3.embedding.batching import Tower
    from clamp3.models.weights import Described

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OnnxTowers:
    """The towers of a folder.

    Attributes
    ----------
    folder : Path
    exported : Exported
        What it states.
    text_model : str or path, optional
        Tokenizer in place of that in the folder.
    """

    folder: Path
    exported: Exported
    text_model: str | os.PathLike[str] | None = None

    @property
    def path(self) -> Path:
        """The file that states what the others are."""
        return self.folder / EXPORT

    @property
    def described(self) -> Described:
        """What a checkpoint with these towers would state."""
        return self.exported.described(self.folder, self.text_model)

    def identity(self, mark: str) -> Identity:
        """Return the identity of vectors; ``mark`` is that of the tokenizer now, which another in its place has not."""
        named = self.exported.tokenizer_mark if self.text_model is None else mark
        return Identity(self.exported.space, f"onnx_{self.exported.precision}", named)

    def confirm(self) -> None:
        """Compare the files anew with what was exported; another is a WeightsError."""
        for modality in self.exported.towers:
            tower_file(self.folder, self.exported, modality, anew=True)

    def load(self, modality: str, device: str | None = None) -> Tower:
        """Return one tower.

        Parameters
        ----------
        modality : str
        device : str, optional
            "cpu", the only one.

        Raises
        ------
        ConfigError
            If onnxruntime is not installed, or another device is asked for.
        WeightsError
            If the file is absent, was changed, or onnxruntime cannot run it.
        """
        from clamp3.models.onnx_graph import HIDDEN, MASK, VECTOR, require_packages

        _require_cpu(device)
        require_packages("onnxruntime")
        import onnxruntime
        import torch

        from clamp3.embedding.batching import Tower

        path, stated = tower_file(self.folder, self.exported, modality), self.exported.towers[modality]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors, which are raised
        # Waiting in a loop, its threads would take the cores from conversions and from towers in torch.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has classes of its own, changing by version
            raise WeightsError(f"onnxruntime cannot run {path}: {sentence_of(error)}.") from error

        def asked(output: str, inputs: Tensor, mask: Tensor) -> Tensor:
            given = {stated.input: inputs.numpy().astype(stated.type, copy=False), MASK: mask.long().numpy()}
            return torch.from_numpy(session.run([output], given)[0])

        return Tower(
            encode=lambda inputs, mask: asked(HIDDEN, inputs, mask),
            features=lambda inputs, mask: asked(VECTOR, inputs, mask),
            limit=stated.window,
            pad=stated.pad,
            device=torch.device("cpu"),
            dtype=torch.float32,
        )


def open_towers(
    name: str | os.PathLike[str],
    *,
    dtype: str = "auto",
    device: str | None = None,
    epoch: int | None = None,
    text_model: str | os.PathLike[str] | None = None,
) -> OnnxTowers:
    """Open a folder of exported towers, or export weights first.

    Parameters
    ----------
    name : str or path
        A folder that `clamp3.models.onnx_folder.export` has written, or weights, whose export is kept in the cache
        folder.
    dtype : {"auto", "float32", "int8"}
        auto is what a folder holds, and float32 for weights.
    device : str, optional
        "cpu", the only one.
    epoch, text_model
        As `clamp3.embedding.clamp3.Clamp3.from_pretrained` takes them.

    Raises
    ------
    ConfigError
        If packages are absent, or the folder holds another precision.
    WeightsError
        If there are no such weights, or torch cannot export them.
    """
    if dtype not in ("auto", "float32", "int8"):
        raise ConfigError(f"dtype is {dtype!r}; towers in ONNX compute in auto, float32 or int8.")
    _require_cpu(device)
    folder = Path(name).expanduser()
    if not (folder / EXPORT).is_file():
        folder = _exported(name, dtype == "int8", epoch, text_model)
    exported = read_export(folder)
    if dtype not in ("auto", exported.precision):
        raise ConfigError(f"{folder} holds towers in {exported.precision}; dtype is {dtype!r}.")
    return OnnxTowers(folder, exported, text_model)


def _require_cpu(device: str | None) -> None:
    if device not in (None, "cpu"):
        raise ConfigError(f"device is {device!r}; towers in ONNX run on the cpu.")


def _exported(
    name: str | os.PathLike[str], quantize: bool, epoch: int | None, text_model: str | os.PathLike[str] | None
) -> Path:
    """Return the folder of an export of weights in the cache folder, made now if it is not there."""
    from clamp3.jobs.cache import default_cache_dir
    from clamp3.jobs.locks import FolderLock
    from clamp3.models.onnx_graph import Int8, require_packages
    from clamp3.models.registry import resolve
    from clamp3.models.tokenizer import tokenizer_mark
    from clamp3.models.weights import describe

    require_packages()
    path = resolve(name, epoch=epoch)
    described = describe(path, text_model=text_model)
    described.family.require_joint(path)
    mark = tokenizer_mark(text_model or described.tokenizer_dir).replace("/", "_")
    places = default_cache_dir() / "onnx"
    folder = places / f"{described.identity}{f'+{mark}' if mark else ''}-{'int8' if quantize else 'float32'}"
    places.mkdir(parents=True, exist_ok=True)
    with FolderLock(places):
        try:
            current = read_export(folder).int8 == (asdict(Int8()) if quantize else {})
        except WeightsError:  # absent, or of another version
            current = False
        if not current:
            log.info("exporting %s to %s, once", described.identity, folder)
            export(path, folder, int8=Int8() if quantize else None, text_model=text_model, overwrite=True)
    return folder
