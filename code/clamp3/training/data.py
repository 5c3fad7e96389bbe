"""Items → arrays → batches. Every random draw of an item is a function of (seed, epoch, item).

So items can be prepared in any order, by any number of workers, or again after a resume, and stay
the same. Shapes: B batch, L patches, P = 64 codes, T tokens.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from clamp3.errors import DataError
from clamp3.patches import PAD
from clamp3.training.crop import head, random_crop
from clamp3.training.masking import corrupt, draw_treatment, select
from clamp3.training.pack import FULL, PLAIN, PatchPack
from clamp3.training.text import evaluation_lines, training_lines

Key = tuple[int, int]  # (epoch, item); epoch -1 means evaluation
EVALUATION = -1


class Tokenizer(Protocol):
    """What the data need of ``clamp3.models.tokenizer.TextTokenizer``."""

    @property
    def pad_id(self) -> int:
        """Id that fills short rows."""
        ...

    def encode_lines(self, lines: list[str]) -> list[int]:
        """Return the ids of lines joined by the separator token."""
        ...


def item_rng(seed: int, epoch: int, index: int) -> random.Random:
    """Return the generator of one item in one epoch."""
    return random.Random(f"item/{seed}/{epoch}/{index}")


def pad(rows: Sequence[np.ndarray], fill: int) -> tuple[np.ndarray, np.ndarray]:
    """Stack rows of different length.

    Returns
    -------
    values : array, shape (B, longest, ...)
    mask : bool array, shape (B, longest)
        True where a row has an item.
    """
    longest = max(len(row) for row in rows)
    values = np.full((len(rows), longest, *rows[0].shape[1:]), fill, dtype=rows[0].dtype)
    mask = np.zeros((len(rows), longest), dtype=bool)
    for at, row in enumerate(rows):
        values[at, : len(row)] = row
        mask[at, : len(row)] = True
    return values, mask


class M3Dataset(Dataset[tuple[np.ndarray, np.ndarray, np.ndarray]]):
    """Pieces with hidden patches.

    Parameters
    ----------
    pack : PatchPack
    files : sequence of int
        Indices into the pack.
    limit : int
        Crop length in patches.
    mask_ratio : float
        Share of the patches that is selected.
    decode_limit : int
        At most so many selected patches enter the loss of a training step (0 = all); the others stay
        hidden. The expected gradient is that of the mean over all of them.
    seed : int
    """

    def __init__(
        self, pack: PatchPack, files: Sequence[int], *, limit: int, mask_ratio: float, decode_limit: int, seed: int
    ) -> None:
        self.pack, self.files, self.limit = pack, list(files), limit
        self.mask_ratio, self.decode_limit, self.seed = mask_ratio, decode_limit, seed
        self.lengths = [min(pack.length(index), limit) for index in self.files]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, key: Key) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (patches uint8 (L, P), corrupted uint8 (L, P), decoded bool (L,))."""
        epoch, index = key
        rng = item_rng(self.seed, epoch, index)
        n = self.pack.length(self.files[index])
        part = head(n, self.limit) if epoch == EVALUATION else random_crop(n, self.limit, rng)
        patches = self.pack.patches(self.files[index], FULL, part)
        selected = select(len(patches), self.mask_ratio, rng)
        treatment = "keep" if epoch == EVALUATION else draw_treatment(rng)
        corrupted = corrupt(patches, selected, treatment, rng)
        chosen = np.flatnonzero(selected)
        if epoch != EVALUATION and 0 < self.decode_limit < len(chosen):
            selected = np.zeros_like(selected)
            selected[rng.sample(chosen.tolist(), self.decode_limit)] = True
        return patches, corrupted, selected


def collate_m3(items: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> dict[str, Tensor]:
    """Return patches and corrupted (B, L, P) uint8, mask and selected (B, L) bool."""
    patches, mask = pad([item[0] for item in items], PAD)
    corrupted, _ = pad([item[1] for item in items], PAD)
    selected, _ = pad([item[2] for item in items], 0)
    arrays = {"patches": patches, "corrupted": corrupted, "mask": mask, "selected": selected}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


@dataclass(frozen=True)
class Record:
    """One JSONL object: its fields, and its files as indices into the pack."""

    item_id: str
    fields: Mapping[str, Any]
    files: tuple[int, ...]
    evaluation_file: int


def read_jsonl(path: Path) -> list[tuple[str, dict[str, Any] | None]]:
    """Return (place, object) per line of a JSONL; None where the line is no JSON object.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error
    rows: list[tuple[str, dict[str, Any] | None]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError:
            value = None
        rows.append((f"{path.name}:{number}", value if isinstance(value, dict) else None))
    return rows


class PairDataset(Dataset[tuple[np.ndarray, np.ndarray]]):
    """Texts and scores of the same pieces.

    Parameters
    ----------
    records : sequence of Record
    pack : PatchPack
    tokenizer : Tokenizer
    limit : int
        Crop length in patches.
    text_length : int
        Crop length in tokens.
    text_dropout : bool
        Draw the text anew in training; otherwise always the evaluation text.
    line_keep : float
        Probability that a drawn line stays.
    instrument_removal : float
        Probability that a training piece loses its instruments.
    random_crops : bool
        Crop training sequences at random; otherwise at the head.
    seed : int
    """

    def __init__(
        self,
        records: Sequence[Record],
        pack: PatchPack,
        tokenizer: Tokenizer,
        *,
        limit: int,
        text_length: int,
        seed: int,
        text_dropout: bool = True,
        line_keep: float = 0.5,
        instrument_removal: float = 0.9,
        random_crops: bool = True,
    ) -> None:
        self.records, self.pack, self.tokenizer = list(records), pack, tokenizer
        self.limit, self.text_length, self.seed = limit, text_length, seed
        self.text_dropout, self.line_keep, self.instrument_removal = text_dropout, line_keep, instrument_removal
        self.random_crops = random_crops
        self.lengths = [min(pack.length(record.evaluation_file), limit) for record in self.records]

    def __len__(self) -> int:
        return len(self.records)

    def _crop(self, n: int, limit: int, rng: random.Random, training: bool) -> slice:
        return random_crop(n, limit, rng) if training and self.random_crops else head(n, limit)

    def __getitem__(self, key: Key) -> tuple[np.ndarray, np.ndarray]:
        """Return (token ids int64 (T,), patches uint8 (L, P))."""
        epoch, index = key
        record, training = self.records[index], epoch != EVALUATION
        rng = item_rng(self.seed, epoch, index)
        if training and self.text_dropout:
            lines = training_lines(record.fields, rng, keep=self.line_keep)
        else:
            lines = evaluation_lines(record.fields)
        ids = np.array(self.tokenizer.encode_lines(lines), dtype=np.int64)
        ids = ids[self._crop(len(ids), self.text_length, rng, training)]
        file, variant = record.evaluation_file, FULL
        if training:
            file = rng.choice(record.files)
            variant = PLAIN if rng.random() < self.instrument_removal else FULL
        part = self._crop(self.pack.length(file, variant), self.limit, rng, training)
        return ids, self.pack.patches(file, variant, part)


@dataclass(frozen=True)
class CollatePairs:
    """Pad pairs to the longest of their batch; a class so that it pickles."""

    pad_id: int

    def __call__(self, items: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, Tensor]:
        """Return ids (B, T) int64, patches (B, L, P) uint8 and their bool masks."""
        ids, text_mask = pad([item[0] for item in items], self.pad_id)
        patches, music_mask = pad([item[1] for item in items], PAD)
        arrays = {"ids": ids, "text_mask": text_mask, "patches": patches, "music_mask": music_mask}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}
