"""Towers of CLaMP 3 as a module of sentence-transformers, for its losses, trainers and evaluators.

    from sentence_transformers import SentenceTransformer
    from clamp3.adapters.sentence_transformers import Clamp3Module

    model = SentenceTransformer(modules=[Clamp3Module("mini")])
    model.encode(["an Irish jig", "tune.abc", "take.wav"])  # the vectors of Clamp3.encode

An input is what `clamp3.sources.source_of` takes: words, paths, ABC as a string, recordings with ``array`` and
``sampling_rate``. The module trains in float32. `save_pretrained` writes weights that `Clamp3.from_pretrained` opens
too; `SentenceTransformer(folder, trust_remote_code=True)` opens the folder, as for modules of any
other package.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clamp3.adapters import MissingPackageError
from clamp3.embedding.clamp3 import Clamp3
from clamp3.embedding.encoder import prepared
from clamp3.embedding.windows import windows
from clamp3.modalities import MODALITIES
from clamp3.models.tokenizer import FILES as TOKENIZER_FILES
from clamp3.models.tokenizer import SETTINGS
from clamp3.models.weights import load_model, save_safetensors

try:
    from sentence_transformers.base.modules import InputModule
except ImportError:
    raise MissingPackageError(
        "this adapter needs sentence-transformers, 6 or later: pip install 'clamp3[adapters]'."
    ) from None

WEIGHTS = "clamp3.safetensors"


class Clamp3Module(InputModule):
    """The towers of a checkpoint; the first and only module of a ``SentenceTransformer``.

    Parameters
    ----------
    name : str or path
        As `Clamp3.from_pretrained` takes it.
    towers : sequence of str, optional
        Which to hold, of text, symbolic and audio; without it all that the weights have.
    text_model, mert_model
        As `Clamp3.from_pretrained` takes them.

    Raises
    ------
    WeightsError, ConfigError
        As in `Clamp3.from_pretrained`.
    """

    save_in_root = True
    config_keys = ["width"]  # noqa: RUF012 - as its base class has it

    def __init__(
        self,
        name: str | Path = "mini",
        *,
        towers: Sequence[str] | None = None,
        text_model: str | Path | None = None,
        mert_model: str | Path | None = None,
    ) -> None:
        super().__init__()
        opened = Clamp3.from_pretrained(name, text_model=text_model, mert_model=mert_model)
        loaded = load_model(name, towers or opened.config.towers, text_model=text_model)
        self.model, self.config, self.width = loaded.model, loaded.config, opened.width
        for parameter in self.model.parameters():
            parameter.requires_grad_(True)
        self._inputs, self._tokenizer_dir = opened, loaded.tokenizer_dir

    @property
    def modalities(self) -> list[Any]:
        """What sentence-transformers may hand over; scores and MIDI are paths or notation, text to it."""
        return ["text", "audio", "message"]  # the last lets one batch hold several kinds

    def get_embedding_dimension(self) -> int:
        """Return D, the width of the joint space."""
        return int(self.width)

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **_: Any) -> dict[str, Any]:
        """Return the windows of inputs: of each modality ``inputs``, ``mask`` and ``weights``, shapes (B, W, T, …).

        Parameters
        ----------
        inputs : sequence of inputs
        prompt : str, optional
            Put before words.

        Raises
        ------
        DataError
            If an input cannot be prepared: a batch has no place for what is missing.
        """
        sequences = list(prepared(self._inputs, [_with(prompt, one) for one in inputs]))
        # The trainer looks for a key of this name to know which tensors belong to one column.
        features: dict[str, Any] = {"input_ids": torch.arange(len(sequences))[:, None]}
        for modality in MODALITIES:
            rows = {row: one.values for row, one in enumerate(sequences) if one.modality == modality}
            if rows:
                features |= _windows(rows, len(sequences), modality, self.config)
        return features

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Add ``sentence_embedding``, shape (B, D), to what `preprocess` returned.

        Parameters
        ----------
        features : dict
        """
        total: Tensor | None = None
        for modality in self.config.towers:
            weights = features.get(f"{modality}_weights")
            if weights is None:
                continue
            real = weights > 0  # (B, W)
            mask, values = features[f"{modality}_mask"][real], features[f"{modality}_inputs"][real]
            hidden = self.model.encode(modality, values.long() if values.ndim == 2 else values, mask)
            vectors = self.model.pool(modality, hidden.float(), mask)  # (N, D)
            share = (weights / weights.sum(dim=1, keepdim=True).clamp(min=1))[real]
            if total is None:
                total = vectors.new_zeros(len(weights), vectors.shape[1])
            total = total.index_add(0, real.nonzero()[:, 0], vectors * share[:, None])
        features["sentence_embedding"] = total
        return features

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write weights and tokenizer.

        Parameters
        ----------
        output_path : str
            An existing folder.
        args, safe_serialization, kwargs
            As sentence-transformers calls it; the weights are safetensors whatever is asked for.
        """
        folder = Path(output_path)
        save_safetensors(self.model, self.config, folder / WEIGHTS)
        if isinstance(self._tokenizer_dir, Path):
            for name in (*TOKENIZER_FILES, *SETTINGS):
                if (self._tokenizer_dir / name).is_file():
                    shutil.copyfile(self._tokenizer_dir / name, folder / name)
        self.save_config(output_path)

    @classmethod
    def load(
        cls,
        model_name_or_path: str,
        subfolder: str = "",
        token: bool | str | None = None,
        cache_folder: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        init_defaults: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Clamp3Module:
        """Open what `save` wrote, in a folder or a repository of Hugging Face.

        Parameters
        ----------
        model_name_or_path, subfolder, token, cache_folder, revision, local_files_only, init_defaults, kwargs
            As sentence-transformers calls it.
        """
        folder = cls.load_dir_path(
            model_name_or_path, subfolder, token, cache_folder, revision, local_files_only=local_files_only
        )
        return cls(Path(folder or model_name_or_path, WEIGHTS))


def _with(prompt: str | None, item: Any) -> Any:
    return prompt + item if prompt and isinstance(item, str) else item


def _windows(rows: dict[int, np.ndarray], n_rows: int, modality: str, config: Any) -> dict[str, Tensor]:
    """Return the windows of sequences, those of one input in one row: inputs (B, W, T, …), mask, weights (B, W)."""
    cut = {row: list(windows(len(values), config.length(modality))) for row, values in rows.items()}
    n_windows = max(map(len, cut.values()))
    longest = max(stop - start for parts in cut.values() for start, stop, _ in parts)
    first = next(iter(rows.values()))
    inputs = np.full((n_rows, n_windows, longest, *first.shape[1:]), config.pad_id(modality), np.asarray(first).dtype)
    mask = np.zeros((n_rows, n_windows, longest), bool)
    weights = np.zeros((n_rows, n_windows), np.float32)
    for row, parts in cut.items():
        for place, (start, stop, weight) in enumerate(parts):
            inputs[row, place, : stop - start] = rows[row][start:stop]
            mask[row, place, : stop - start], weights[row, place] = True, weight
    named = {"inputs": inputs, "mask": mask, "weights": weights}
    return {f"{modality}_{name}": torch.from_numpy(values) for name, values in named.items()}
