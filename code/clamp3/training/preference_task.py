"""Preference training of a model with text and music in one space: HTCL's second stage with any of its towers.

Shapes: B pairs of a rank; N of all ranks; E width of the joint space. A batch holds the B triggers, then the B songs
they lead to.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from clamp3.data.record_store import Records
from clamp3.data.songs import Songs, artists_of
from clamp3.errors import ConfigError, DataError
from clamp3.training.alignment import AlignmentTask
from clamp3.training.alignment_build import open_alignment
from clamp3.training.distill import distance
from clamp3.training.loading import shares
from clamp3.training.loss import gather_with_gradient, own_rows
from clamp3.training.options import NO_MASK
from clamp3.training.pair_data import EVALUATION, CollatePairs, Key, PairDataset
from clamp3.training.pair_encoder import PairEncoder
from clamp3.training.preference_config import PreferenceTraining
from clamp3.training.song_loss import FalseNegatives, HtclObjective
from clamp3.training.song_pairs import song_measures, song_pairs

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)

_EVALUATED = 64  # songs that are encoded at a time


class MeanFusion:
    """The mean of directions in place of HTCL's perceptron: the model gets no part it had not."""

    def fuse(self, audio: Tensor, text: Tensor) -> Tensor:
        """Return (B, E); see `clamp3.training.song_loss.Fusing`."""
        return F.normalize(audio, dim=1) + F.normalize(text, dim=1)


class SongPairs(Dataset[list[dict[str, np.ndarray]]]):
    """Pairs of songs with their texts and music.

    Parameters
    ----------
    songs : PairDataset
    rows : int array, shape (N, 2)
        Numbers of the songs of each pair.
    """

    def __init__(self, songs: PairDataset, rows: np.ndarray) -> None:
        self.songs, self.rows = songs, rows
        self.pairs, self.views = songs.pairs, songs.views

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def digest(self) -> str:
        """Which songs and pairs of them these are; see `PairDataset.digest`."""
        return f"{self.songs.digest}.{zlib.crc32(self.rows.tobytes()):08x}"

    def __getitem__(self, key: Key) -> list[dict[str, np.ndarray]]:
        """Return both songs as `PairDataset` does, with their numbers; a song is drawn anew in each of its pairs."""
        epoch, index = key
        draw = EVALUATION if epoch == EVALUATION else epoch * len(self) + index
        return [self.song(draw, int(number)) for number in self.rows[index]]

    def song(self, draw: int, number: int) -> dict[str, np.ndarray]:
        """Return the arrays of a song, and its number.

        Parameters
        ----------
        draw : int
            As the epoch of a `PairDataset`.
        number : int
        """
        return {**self.songs[draw, number], "song": np.array([number])}

    @property
    def collate(self) -> CollateSongPairs:
        """What makes batches of these items."""
        return CollateSongPairs(self.songs.collate)


@dataclass(frozen=True)
class CollateSongPairs:
    """Items to a batch: all first songs, then all second ones; a class so that it pickles."""

    pairs: CollatePairs

    def __call__(self, items: Sequence[Sequence[Mapping[str, np.ndarray]]]) -> dict[str, Tensor]:
        """Return what `CollatePairs` does, and ``song`` (2 B,)."""
        songs = [song for column in zip(*items, strict=True) for song in column]
        return {**self.pairs(songs), "song": torch.from_numpy(np.concatenate([song["song"] for song in songs]))}


class PreferenceTask(AlignmentTask):
    """Model, data and loss of a run; see `clamp3.training.task.ChunkedTask` and `RatedTask`.

    Parameters
    ----------
    config : PreferenceTraining
    encoder : PairEncoder
        With an `HtclObjective`.
    train, evaluation : SongPairs
        ``evaluation`` may be None.
    text_model : str, optional
        Name of the tokenizer, for the exported file.
    """

    def __init__(
        self,
        config: PreferenceTraining,
        encoder: PairEncoder,
        train: SongPairs,
        evaluation: SongPairs | None,
        text_model: str | None = None,
    ) -> None:
        super().__init__(config, encoder, cast(Any, train), cast(Any, evaluation), text_model)
        self.settings, self.held_out = config, evaluation
        self.objective = cast(HtclObjective, encoder.objective)

    def rate_factor(self, name: str) -> float:
        """Return the rate of a parameter as a multiple of ``learning_rate``; see `RatedTask`."""
        if name.startswith("objective."):
            return self.settings.scale_rate / self.settings.learning_rate
        return super().rate_factor(name)

    def compare(self, vectors: dict[str, Tensor], batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return loss and measures of a batch; arguments as of `AlignmentTask.compare`."""
        text, music, here = _songs_of(vectors, batch)
        with torch.no_grad():
            whole = gather_with_gradient(here.view(2, -1).all(0).float()) > 0  # (N,) pairs with all they need
            songs = torch.cat([gather_with_gradient(part) for part in batch["song"].chunk(2)])
        self._count(whole, len(here) // 2)
        taught = None
        if self.teacher is not None:
            taught = distance(music, _songs_of(self.teacher.vectors(batch), batch)[1], here)
        text, music = (torch.cat([gather_with_gradient(part) for part in rows.chunk(2)]) for rows in (text, music))
        rows = whole.repeat(2)
        terms = self.objective(MeanFusion(), music[rows], text[rows], songs=songs[rows], own=own_rows(whole))
        loss = terms.pop("loss")
        if taught is not None:
            terms["loss_distill"] = taught
            loss = loss + self.settings.distill * terms["loss_distill"]
        return loss, {name: term.detach() for name, term in terms.items()}

    @torch.no_grad()
    def evaluate(self, accelerator: Accelerator, poll: Callable[[], None]) -> dict[str, float]:
        """Return the loss within batches, and MRRs over the whole set; see `clamp3.training.song_pairs.song_measures`.

        Of several kinds of music each song has the first it comes with.
        """
        from accelerate.utils import gather_object

        data = self.held_out
        if data is None or not len(data):
            return {}
        self.module.eval()
        numbers, places = np.unique(data.rows, return_inverse=True)
        groups = [numbers[at : at + _EVALUATED].tolist() for at in range(0, len(numbers), _EVALUATED)]
        found = []
        for group in shares(groups, accelerator, poll):
            batch = data.collate([[data.song(EVALUATION, number)] for number in group])
            batch = {name: value.to(accelerator.device) for name, value in batch.items()}
            parts = _songs_of(self.module(batch), batch)
            found.append((group, *(part.float().cpu() for part in parts)))
        found = gather_object(found)
        back = torch.tensor([number for group, *_ in found for number in group]).argsort()
        text, music, here = (torch.cat([part[at] for part in found])[back] for at in (1, 2, 3))
        rows = torch.from_numpy(places.reshape(data.rows.shape))
        rows = rows[here[rows].all(1)]
        if not len(rows):
            return {}
        return song_measures(
            self.objective, MeanFusion(), music, text, rows,
            songs=numbers.tolist(), seed=self.config.seed, name="music",
            batch_size=self.config.eval_batch or self.config.batch_size * accelerator.num_processes,
        )  # fmt: skip


def _songs_of(vectors: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return text and music vectors (2 B, E), of several kinds the first that is there, and which songs have both."""
    here = {view: batch[f"{view}_mask"].any(1) for view in vectors}
    first, *others = (view for view in vectors if view != "text")
    music, there = vectors[first], here[first]
    for view in others:
        music, there = torch.where(there[:, None], music, vectors[view]), there | here[view]
    return vectors["text"], music, there & here["text"]


def make_preference_task(config: PreferenceTraining, accelerator: Accelerator) -> PreferenceTask:
    """Read the data and build the model of a run.

    Parameters
    ----------
    config : PreferenceTraining
    accelerator : Accelerator

    Raises
    ------
    ConfigError
        If songs, pairs or weights are not named.
    DataError
        If the data cannot be read, or too many rows cannot be used.
    WeightsError
        If weights that are asked for are absent.
    """
    if config.song_pairs is None:
        raise ConfigError("Name the pairs of songs: --song_pairs FILE.")
    if not config.init:
        raise ConfigError("Name the model to go on from: --init NAME.")
    opened = open_alignment(config, accelerator)
    (store,) = opened.stores
    data = opened.dataset(Records(store, np.arange(len(store), dtype=np.int32)))
    songs = Songs()
    for record in data.records:
        songs.add(record.item_id, "", Path(), artists_of(record.fields))
    if len(songs) < len(store):
        raise DataError(f"{config.train_jsonl}: {len(store) - len(songs)} records have an id that another one has.")
    train, held_out = song_pairs(config.song_pairs, config.eval_song_pairs, songs, config)
    if accelerator.is_main_process:
        logger.info("%d songs, %d training pairs, %d evaluation pairs", len(songs), len(train), len(held_out))
    opened.encoder.objective = HtclObjective(
        2,
        start_scale=config.start_scale,
        weights=(config.text_weight, config.pair_weight, config.fused_weight),
        negatives=None if config.mask == NO_MASK else FalseNegatives(config.mask, train, songs.artists),
    )
    evaluation = SongPairs(data, held_out) if len(held_out) else None
    return PreferenceTask(config, opened.encoder, SongPairs(data, train), evaluation, opened.text_model)
