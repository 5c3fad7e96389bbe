"""Items → arrays → batches. Every random draw of an item is a function of (seed, epoch, item).

So items can be prepared in any order, by any number of workers, or again after a resume, and stay
the same. Shapes: B batch, L patches, P = 64 codes, T tokens.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from clamp3.data.audio_features import FeatureFiles
from clamp3.data.patch_pack import FULL, PLAIN, PatchPack
from clamp3.data.text_sampling import SAMPLINGS
from clamp3.data.views import SYMBOLIC, Pair, music_choices, sides_of
from clamp3.errors import FormatError
from clamp3.modalities.patches import PAD, PATCH_SIZE
from clamp3.training.crop import head, random_crop
from clamp3.training.masking import corrupt, draw_treatment, select

logger = logging.getLogger(__name__)

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
        self.pack, self.files, self.limit = pack, np.asarray(files, dtype=np.int32), limit
        self.mask_ratio, self.decode_limit, self.seed = mask_ratio, decode_limit, seed
        self.lengths = np.minimum(pack.lengths()[self.files], limit)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, key: Key) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (patches uint8 (L, P), corrupted uint8 (L, P), decoded bool (L,))."""
        epoch, index = key
        rng = item_rng(self.seed, epoch, index)
        file = int(self.files[index])
        n = self.pack.length(file)
        part = head(n, self.limit) if epoch == EVALUATION else random_crop(n, self.limit, rng)
        patches = self.pack.patches(file, FULL, part)
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
    """One JSONL object: its fields, and its files as (kind, index) in the order they are named.

    Kinds are ``abc`` and ``mtf``, with indices into the pack, and ``audio``, with indices into the feature files.
    """

    item_id: str
    fields: Mapping[str, Any]
    files: tuple[tuple[str, int], ...]

    def of(self, side: str) -> list[tuple[str, int]]:
        """Return the files of a side, in the order they are named."""
        kinds = SYMBOLIC if side == "symbolic" else (side,)
        return [file for file in self.files if file[0] in kinds]

    @property
    def sides(self) -> set[str]:
        """Every side the record has: kinds of its files, ``symbolic`` for scores and performances, and text."""
        kinds = {kind for kind, _ in self.files}
        return {"text"} | kinds | ({"symbolic"} if kinds & set(SYMBOLIC) else set())


class PairDataset(Dataset[dict[str, np.ndarray]]):
    """Texts and music of the same pieces.

    Parameters
    ----------
    records : sequence of Record
    pack : PatchPack
        Scores and performances.
    tokenizer : Tokenizer
    features : FeatureFiles, optional
        Audio, where a pair has it.
    pairs : sequence of (str, str)
        What the loss compares; see ``clamp3.data.views``.
    limit, audio_length : int
        Crop length in patches, and in audio vectors.
    text_length : int
        Crop length in tokens.
    texts : {"clamp3", "clamp2"}
        Which texts of a record are drawn, and how.
    text_dropout : bool
        Draw the text anew in training; otherwise always the evaluation text.
    line_keep : float
        Probability that a drawn line stays.
    instrument_removal : float
        Probability that a training score or performance loses its instruments.
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
        features: FeatureFiles | None = None,
        pairs: Sequence[Pair] = (("text", "symbolic"),),
        audio_length: int = 128,
        texts: str = "clamp3",
        text_dropout: bool = True,
        line_keep: float = 0.5,
        instrument_removal: float = 0.9,
        random_crops: bool = True,
    ) -> None:
        self.records, self.pack, self.tokenizer, self.features = records, pack, tokenizer, features
        self.pairs, self.sides = tuple(pairs), sides_of(pairs)
        self.limit, self.text_length, self.audio_length, self.seed = limit, text_length, audio_length, seed
        self.text_dropout, self.line_keep, self.instrument_removal = text_dropout, line_keep, instrument_removal
        self.random_crops, self.sampling = random_crops, SAMPLINGS[texts]

    def __len__(self) -> int:
        return len(self.records)

    @cached_property
    def lengths(self) -> list[int]:
        """Positions of every item's evaluation music, cropped."""
        return [max(self._length(record, side) for side in self._music(record)) for record in self.records]

    def _music(self, record: Record) -> list[str]:
        return [side for side in self.sides if side != "text" and side in record.sides]

    def _length(self, record: Record, side: str) -> int:
        kind, index = self._evaluation_file(record, side)
        if kind == "audio":
            assert self.features is not None
            return min(self.features.length(index), self.audio_length)
        return min(self.pack.length(index), self.limit)

    @staticmethod
    def _evaluation_file(record: Record, side: str) -> tuple[str, int]:
        """Return the first file of a side; of both symbolic kinds, the score."""
        return min(record.of(side), key=lambda file: SYMBOLIC.index(file[0]) if file[0] in SYMBOLIC else 0)

    def _crop(self, n: int, limit: int, rng: random.Random, training: bool) -> slice:
        return random_crop(n, limit, rng) if training and self.random_crops else head(n, limit)

    def __getitem__(self, key: Key) -> dict[str, np.ndarray]:
        """Return arrays by side: token ids int64 (T,), patches uint8 (L, P), audio vectors float32 (T, D).

        In evaluation every side the record has; in training the text and what is drawn of the music. A file that
        cannot be read any more is named in the log, and its side left out.
        """
        epoch, index = key
        record, training = self.records[index], epoch != EVALUATION
        rng = item_rng(self.seed, epoch, index)
        found = {"text": self._text(record, rng, training)} if "text" in self.sides else {}
        shown: Sequence[str] = self._music(record)
        if training:
            choices = music_choices(self.pairs, record.sides)
            shown = rng.choice(choices) if len(choices) > 1 else choices[0]
        for side in shown:
            file = rng.choice(record.of(side)) if training else self._evaluation_file(record, side)
            try:
                found[side] = (
                    self._audio(file[1], rng, training) if file[0] == "audio" else self._patches(file[1], rng, training)
                )
            except FormatError as error:
                logger.warning("left out of this batch: %s", error)
        return found

    def _text(self, record: Record, rng: random.Random, training: bool) -> np.ndarray:
        if training and self.text_dropout:
            lines = self.sampling.training(record.fields, rng, keep=self.line_keep)
        else:
            lines = self.sampling.evaluation(record.fields)
        ids = np.array(self.tokenizer.encode_lines(lines), dtype=np.int64)
        return ids[self._crop(len(ids), self.text_length, rng, training)]

    def _patches(self, file: int, rng: random.Random, training: bool) -> np.ndarray:
        variant = PLAIN if training and rng.random() < self.instrument_removal else FULL
        return self.pack.patches(file, variant, self._crop(self.pack.length(file, variant), self.limit, rng, training))

    def _audio(self, file: int, rng: random.Random, training: bool) -> np.ndarray:
        assert self.features is not None
        part = self._crop(self.features.length(file), self.audio_length, rng, training)
        return self.features.vectors(file, part)


@dataclass(frozen=True)
class CollatePairs:
    """Pad each side to the longest of the batch; a class so that it pickles.

    Parameters
    ----------
    pad_id : int
        Fills short texts.
    sides : sequence of str
        What every batch has, also where no piece of it does.
    audio_width : int
        D of audio vectors.
    """

    pad_id: int
    sides: tuple[str, ...] = ("text", "symbolic")
    audio_width: int = 0

    def __call__(self, items: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Tensor]:
        """Return ``SIDE`` (B, T, ...) and ``SIDE_mask`` (B, T) for every side.

        A row without any True in the mask is a piece that has not this side.
        """
        arrays: dict[str, np.ndarray] = {}
        for side in self.sides:
            rows = [item.get(side, self._nothing(side)) for item in items]
            arrays[side], arrays[f"{side}_mask"] = pad(rows, self.pad_id if side == "text" else PAD)
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def _nothing(self, side: str) -> np.ndarray:
        if side == "text":
            return np.zeros(0, np.int64)
        return np.zeros((0, self.audio_width), np.float32) if side == "audio" else np.zeros((0, PATCH_SIZE), np.uint8)
