"""A folder of exported towers: the files, and one JSON with all that is needed to use them, here and elsewhere.

`export` writes ``OUT_DIR/<tower>.onnx``, the tokenizer and ``clamp3_onnx.json`` (`Exported`), whole or not at all;
`read_export` opens such a folder.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from clamp3.errors import WeightsError
from clamp3.formats.tables import json_text, read_json
from clamp3.jobs.whole_folder import whole_folder
from clamp3.models.families import FAMILIES, family_of
from clamp3.models.registry import EXPORT as NAME
from clamp3.models.registry import digest, folder_or_hub, resolve
from clamp3.models.tokenizer import FILES, copy_tokenizer, tokenizer_mark
from clamp3.models.weights import Described, describe, load_model

if TYPE_CHECKING:
    from clamp3.models.config import ModelConfig
    from clamp3.models.onnx_graph import Int8
    from clamp3.models.towers import TowerModel

FORMAT = 1
Precision = Literal["float32", "int8"]
_WINDOWS = (
    "Cut what is longer than `window` into windows of `window` positions, the last one moved back to be full; the "
    "vector is the mean of those of the windows, each weighted by the number of positions that no earlier window has. "
    "Fill short rows of a batch with `pad` and set `attention_mask` to 0 there."
)


@dataclass(frozen=True)
class ExportedTower:
    """One file and what it takes.

    Attributes
    ----------
    file : str
        Its name in the folder.
    input, type : str
        Name of the input beside ``attention_mask``, and its type of numbers.
    shape : list of int or str
        Of the input.
    window, pad : int
        Most positions of a row, and what fills short rows.
    front_end : str
        What makes the input of a text, a score or a recording: a name in
        `clamp3.embedding.front_ends.FRONT_ENDS`.
    pooling : str
        How hidden states become a vector.
    digest : str
        `clamp3.models.registry.digest` of the file.
    """

    file: str
    input: str
    type: str
    shape: list[int | str]
    window: int
    pad: int
    front_end: str
    pooling: str
    digest: str


@dataclass(frozen=True)
class Exported:
    """What ``clamp3_onnx.json`` holds.

    Attributes
    ----------
    weights : str
        Identity of the checkpoint.
    precision : str
        "float32" or "int8".
    family : str
        Kind of the model.
    config : dict
        Sizes of the exported towers.
    tokenizer : str
        Its Hugging Face name, where its files do not lie in the folder.
    tokenizer_mark : str
        As in `clamp3.jobs.identity.Identity`.
    int8 : dict
        Settings of the quantizer.
    """

    format: int
    weights: str
    precision: Precision
    family: str
    config: dict[str, Any]
    opset: int
    width: int
    windows: str
    towers: dict[str, ExportedTower]
    tokenizer: str = ""
    tokenizer_mark: str = ""
    int8: dict[str, Any] = field(default_factory=dict)
    made_with: dict[str, str] = field(default_factory=dict)

    @property
    def space(self) -> str:
        """Name of the weights in identities: those of 8 bits are others, and so are their vectors."""
        if self.precision == "float32":
            return self.weights
        settings = json.dumps([self.format, self.int8], sort_keys=True)
        return f"{self.weights}-int8-{hashlib.sha256(settings.encode()).hexdigest()[:12]}"

    def described(self, folder: Path, text_model: str | os.PathLike[str] | None = None) -> Described:
        """Return what a checkpoint with these towers would state about itself.

        Parameters
        ----------
        folder : Path
            That of the towers.
        text_model : str or path, optional
            Tokenizer in place of the folder's own.
        """
        family = family_of(self.family, folder / NAME)
        here = any((folder / file).is_file() for file in FILES)
        own = folder if here else self.tokenizer or None
        tokenizer = own if text_model is None else folder_or_hub(text_model)
        return Described(folder / NAME, family.config.from_dict(self.config), family, tokenizer, {})


def read_export(folder: Path) -> Exported:
    """Return what a folder of exported towers states.

    Raises
    ------
    WeightsError
        If it is none, or of a later version.
    """
    path = folder / NAME
    if not path.is_file():
        raise WeightsError(f"{folder} holds no exported towers: no {NAME} in it; clamp3 export --to onnx writes one.")
    found: Exported = read_json(path, Exported, error=WeightsError)
    if found.format != FORMAT or found.family not in FAMILIES:
        raise WeightsError(f"{path} was written by another version of clamp3; export the weights again.")
    return found


def tower_file(folder: Path, exported: Exported, modality: str, *, anew: bool = False) -> Path:
    """Return the file of a tower whose content is that which was exported.

    Parameters
    ----------
    folder : Path
    exported : Exported
        What the folder states.
    modality : str
    anew : bool
        Read the file whatever is remembered of it.

    Raises
    ------
    WeightsError
        If it is absent or another.
    """
    tower = exported.towers[modality]
    path = folder / Path(tower.file).name
    if not path.is_file() or digest(path, anew=anew) != tower.digest:
        what = "was changed since it was exported" if path.is_file() else "is absent"
        raise WeightsError(f"{path} {what}; export the weights again.")
    return path


def export(
    name_or_path: str | os.PathLike[str],
    out_dir: Path,
    *,
    towers: Collection[str] = (),
    int8: Int8 | None = None,
    text_model: str | os.PathLike[str] | None = None,
    epoch: int | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write towers as ONNX files with what is needed to use them.

    Parameters
    ----------
    name_or_path, text_model, epoch
        As `clamp3.models.weights.load_model` takes them.
    out_dir : Path
        Absent or empty, unless ``overwrite`` is set.
    towers : collection of str
        Which; none named means all.
    int8 : Int8, optional
        Weights of 8 bits.
    overwrite : bool
        Replace an earlier export in ``out_dir``; other files in it stay.

    Raises
    ------
    ConfigError
        If the folder is in use, a tower is absent, or packages are missing.
    WeightsError
        If the weights are absent or damaged, or torch cannot export them.
    """
    from clamp3.models.onnx_graph import OPSET, PACKAGES, export_tower, require_packages

    require_packages()
    path = resolve(name_or_path, epoch=epoch)
    described = describe(path, text_model=text_model)
    config = described.config.restrict(towers or described.config.towers)
    earlier = _earlier(out_dir)
    with whole_folder(out_dir, last=NAME, overwrite=overwrite) as work:
        files = {}
        for modality in config.towers:
            model = load_model(path, (modality,), text_model=text_model).model
            file = work / f"{modality}.onnx"
            export_tower(model, modality, file, facts={"clamp3_weights": described.identity}, int8=int8)
            files[modality] = _stated(model, config, modality, file)
        exported = Exported(
            FORMAT,
            described.identity,
            "float32" if int8 is None else "int8",
            described.family.kind,
            config.to_dict(),
            OPSET,
            config.hidden_size,
            _WINDOWS,
            files,
            copy_tokenizer(described.tokenizer_dir, work) if "text" in files else "",
            tokenizer_mark(text_model or described.tokenizer_dir),
            {} if int8 is None else asdict(int8),
            {package: version(package) for package in ("torch", *PACKAGES)},
        )
        (work / NAME).write_text(json_text(asdict(exported), indent=1) + "\n", encoding="utf-8")
    for modality in earlier.keys() - files.keys():
        (out_dir / Path(earlier[modality].file).name).unlink(missing_ok=True)
    return exported


def _earlier(folder: Path) -> dict[str, ExportedTower]:
    """Return the towers that a folder has from an earlier export."""
    try:
        return read_export(folder).towers
    except WeightsError:  # absent, damaged, or of another version
        return {}


def _stated(model: TowerModel, config: ModelConfig, modality: str, file: Path) -> ExportedTower:
    """Return what a file takes, as the file itself says."""
    import onnx

    first = onnx.load(file).graph.input[0]
    kind = onnx.helper.tensor_dtype_to_np_dtype(first.type.tensor_type.elem_type).name
    shape = [size.dim_param or size.dim_value for size in first.type.tensor_type.shape.dim]
    pooling = (inspect.getdoc(type(model).pool) or "").split("\n")[0].partition(": ")[2]
    return ExportedTower(
        file.name,
        first.name,
        kind,
        shape,
        config.length(modality),
        config.pad_id(modality),
        config.front_end_kind(modality),
        f"in the graph, output `vector`, not normalised: {pooling}",
        digest(file),
    )
