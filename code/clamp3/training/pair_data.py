"""Items to arrays to batches. Every random draw of an item is a function of (seed, epoch, item).

So items can be prepared in any order, by any number of workers, or again after a resume, and stay
the same. Shapes: B batch, L patches, P = 64 codes, T tokens.
"""

from __future__ import annotations

import logging
import random
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from clamp3.data.music_files import MusicFiles
from clamp3.data.patch_pack import FULL, PLAIN, PatchPack
from clamp3.data.record_store import Records
from clamp3.data.records import Record
from clamp3.data.text_sampling import SAMPLINGS
from clamp3.data.views import Pair, music_choices, views, views_of, views_with
from clamp3.errors import FormatError
from clamp3.modalities import MODALITIES
from clamp3.modalities.patches import PAD
from clamp3.training.crop import head, random_crop
from clamp3.training.masking import corrupt, draw_treatment, select
from clamp3.training.negatives import TEXT, labels_of

logger = logging.getLogger(__name__)

Key = tuple[int, int]  # (epoch, item); epoch -1 means evaluation
EVALUATION = -1


class Tokenizer(Protocol):
    """What the data need of ``clamp3.models.tokenizer.TextTokenizer``."""

    @property
    def pad_id(self) -> int:
        """Id that fills up short texts."""

    def encode_lines(self, lines: list[str]) -> list[int]:
        """Return the ids of lines joined by the separator token."""


def item_rng(seed: int, epoch: int, index: int) -> random.Random:
    """Return the generator of one item in one epoch.

    Parameters
    ----------
    seed : int
        Of the run.
    epoch, index : int
        Which epoch and item.
    """
    return random.Random(f"item/{seed}/{epoch}/{index}")


def pad(rows: Sequence[np.ndarray], fill: int) -> tuple[np.ndarray, np.ndarray]:
    """Stack sequences of different length.

    Parameters
    ----------
    rows : sequence of array, shape (T, ...)
        Alike but for their length.
    fill : int
        What short ones are filled up with.

    Returns
    -------
    values : array, shape (B, longest, ...)
    mask : bool array, shape (B, longest)
        True where a sequence has an item.
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
        patches = self.pack.read(file, part)
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


class PairDataset(Dataset[dict[str, np.ndarray]]):
    """Texts and music of the same pieces.

    Parameters
    ----------
    records : sequence of Record
    music : mapping of str to MusicFiles
        What reads the files of each tower.
    tokenizer : Tokenizer or None
        None where no pair has text.
    limits : mapping of str to int
        Crop length of each tower: tokens, patches, audio vectors.
    pairs : sequence of (str, str)
        What the loss compares; see ``clamp3.data.views``.
    seed : int
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
    mask : sequence of str
        Kinds of the labels that training items have as ``labels``; see `clamp3.training.negatives.labels_of`.
    """

    def __init__(
        self,
        records: Sequence[Record],
        music: Mapping[str, MusicFiles],
        tokenizer: Tokenizer | None,
        *,
        limits: Mapping[str, int],
        seed: int,
        pairs: Sequence[Pair] = (("text", "symbolic"),),
        texts: str = "clamp3",
        text_dropout: bool = True,
        line_keep: float = 0.5,
        instrument_removal: float = 0.9,
        random_crops: bool = True,
        mask: Sequence[str] = (),
    ) -> None:
        self.mask = tuple(mask)
        self.records, self.music, self.tokenizer, self.limits = records, music, tokenizer, limits
        self.pairs, self.views, self.seed = tuple(pairs), views_of(pairs), seed
        self.text_dropout, self.line_keep, self.instrument_removal = text_dropout, line_keep, instrument_removal
        self.random_crops, self.sampling = random_crops, SAMPLINGS[texts]
        self._choices: dict[frozenset[str], list[tuple[str, ...]]] = {}  # by the views of a piece's files

    def __len__(self) -> int:
        return len(self.records)

    @property
    def digest(self) -> str:
        """Which pieces these are, wherever they lie: a checksum of their ids; "" of records that lie in no store."""
        if not isinstance(self.records, Records):
            return ""
        return f"{zlib.crc32(self.records.store.hashes.all()[self.records.indices].tobytes()):08x}"

    @property
    def collate(self) -> CollatePairs:
        """What makes batches of these items."""
        blank: dict[str, tuple[np.ndarray, int]] = {}
        for view in self.views:
            tower = views()[view].tower
            if view == "text":
                assert self.tokenizer is not None
                blank[view] = np.zeros(0, np.int64), self.tokenizer.pad_id
            else:
                blank[view] = self.music[tower].blank, MODALITIES[tower].pad
        return CollatePairs(blank)

    @cached_property
    def lengths(self) -> list[int]:
        """Positions of every item's evaluation music, cropped."""
        return [max(self._length(record, view) for view in self._music_of(record)) for record in self.records]

    def _music_of(self, record: Record) -> list[str]:
        there = record.views
        return [view for view in self.views if view != "text" and view in there]

    def _length(self, record: Record, view: str) -> int:
        tower = views()[view].tower
        return min(self.music[tower].length(self._evaluation_file(record, view)), self.limits[tower])

    @staticmethod
    def _evaluation_file(record: Record, view: str) -> int:
        """Return the number of the first file of a view; where it stands for several, of the first of them."""
        parts = views()[view].parts
        return min(record.of(view), key=lambda file: parts.index(file[0]))[1]

    def _crop(self, n: int, tower: str, rng: random.Random, training: bool) -> slice:
        limit = self.limits[tower]
        return random_crop(n, limit, rng) if training and self.random_crops else head(n, limit)

    def __getitem__(self, key: Key) -> dict[str, np.ndarray]:
        """Return arrays by view: token ids int64 (T,), patches uint8 (L, P), audio vectors float32 (T, D).

        In evaluation every view the record has; in training the text and what is drawn of the music. A file that
        cannot be read any more is named in the log, and its view left out.
        """
        epoch, index = key
        record, training = self.records[index], epoch != EVALUATION
        rng = item_rng(self.seed, epoch, index)
        found = {"text": self._text(record, rng, training)} if "text" in self.views else {}
        if training:
            there = frozenset(view for view, _ in record.files)
            if there not in self._choices:
                self._choices[there] = music_choices(self.pairs, views_with(there))
            choices = self._choices[there]
            shown: Sequence[str] = rng.choice(choices) if len(choices) > 1 else choices[0]
        else:
            shown = self._music_of(record)
        for view in shown:
            file = rng.choice(record.of(view))[1] if training else self._evaluation_file(record, view)
            try:
                found[view] = self._read(views()[view].tower, file, rng, training)
            except FormatError as error:
                logger.warning("left out of this batch: %s", error)
        if self.mask and training:
            text = self.sampling.evaluation(record.fields) if TEXT in self.mask else []
            found["labels"] = labels_of(record.fields, found, text, self.mask)
        return found

    def every_record(self) -> Iterator[Record]:
        """Yield the records in order."""
        return iter(self.records)

    def _text(self, record: Record, rng: random.Random, training: bool) -> np.ndarray:
        assert self.tokenizer is not None
        if training and self.text_dropout:
            lines = self.sampling.training(record.fields, rng, keep=self.line_keep)
        else:
            lines = self.sampling.evaluation(record.fields)
        ids = np.array(self.tokenizer.encode_lines(lines), dtype=np.int64)
        return ids[self._crop(len(ids), "text", rng, training)]

    def _read(self, tower: str, file: int, rng: random.Random, training: bool) -> np.ndarray:
        files = self.music[tower]
        plain = training and files.n_variants > 1 and rng.random() < self.instrument_removal
        variant = PLAIN if plain else FULL
        return files.read(file, self._crop(files.length(file, variant), tower, rng, training), variant)


@dataclass(frozen=True)
class CollatePairs:
    """Pad each view to the longest of the batch; a class so that it pickles.

    Parameters
    ----------
    blank : mapping of str to (array, int)
        What every batch has, also where no piece of it does: of each view a sequence without any item, and what fills
        up short ones.
    """

    blank: Mapping[str, tuple[np.ndarray, int]]

    def __call__(self, items: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Tensor]:
        """Return ``VIEW`` (B, T, ...) and ``VIEW_mask`` (B, T) for every view, and ``labels`` if the items have them.

        A row without any True in the mask is a piece that lacks this view.
        """
        arrays: dict[str, np.ndarray] = {}
        for view, (blank, fill) in self.blank.items():
            arrays[view], arrays[f"{view}_mask"] = pad([item.get(view, blank) for item in items], fill)
        if "labels" in items[0]:
            arrays["labels"] = np.stack([item["labels"] for item in items])
        return {name: torch.from_numpy(array) for name, array in arrays.items()}
