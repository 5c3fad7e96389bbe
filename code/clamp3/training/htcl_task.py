"""HTCL's two stages as tasks of the loop: audio with text, then also songs with songs that listeners link.

Shapes: B songs, or pairs, of a rank; N songs of all ranks; T frames between two zero vectors; L tokens; E width of the
joint space. A batch of stage 2 holds the B triggers, then the B songs they lead to.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from clamp3.data.audio_features import FeatureFiles, open_features
from clamp3.data.patch_pack import check_problems
from clamp3.data.songs import Songs, read_songs
from clamp3.data.splits import split
from clamp3.errors import ConfigError
from clamp3.models.htcl import HtclModel
from clamp3.training.batches import epoch_batches
from clamp3.training.htcl_build import htcl_model, htcl_tokenizer
from clamp3.training.htcl_config import HtclTraining
from clamp3.training.loading import shares
from clamp3.training.options import NO_MASK
from clamp3.training.pair_data import Key, pad
from clamp3.training.song_loss import FalseNegatives, HtclObjective
from clamp3.training.song_pairs import song_measures, song_pairs

if TYPE_CHECKING:
    from accelerate import Accelerator

    from clamp3.models.tokenizer import TextTokenizer

logger = logging.getLogger(__name__)

Song = tuple[int, np.ndarray, np.ndarray]  # number, frames, token ids
ENCODERS = ("model.text_model.", "model.audio_model.")
_EVALUATED = 32  # songs that are encoded at a time


class HtclTrainer(nn.Module):
    """Model and loss in one forward, so that DistributedDataParallel sees every parameter in its output.

    Parameters
    ----------
    model : HtclModel
    objective : HtclObjective
    """

    def __init__(self, model: HtclModel, objective: HtclObjective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def vectors(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the (B, E) audio and text vectors of a batch."""
        audio = self.model.features("audio", batch["audio"])
        return audio, self.model.features("text", batch["text"], batch["text_mask"])

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return loss and terms of a batch; see `clamp3.training.song_loss.HtclObjective`."""
        audio, text = self.vectors(batch)
        with torch.autocast(audio.device.type, enabled=False):
            found: dict[str, Tensor] = self.objective(self.model, audio, text, songs=batch.get("song"))
        return found


@dataclass(frozen=True)
class SongDataset(Dataset[list[Song]]):
    """Songs, or pairs of songs, as mel frames and token ids; nothing about them is random.

    Attributes
    ----------
    songs : Songs
    mels : FeatureFiles
        Their frames.
    rows : int array, shape (N, 1) or (N, 2)
        Numbers of the songs of each item.
    tokenizer : TextTokenizer
    text_length, n_frames : int
        What a text is cropped to, and the frames of a song.
    """

    songs: Songs
    mels: FeatureFiles
    rows: np.ndarray
    tokenizer: TextTokenizer
    text_length: int
    n_frames: int

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Key) -> list[Song]:
        """Return number, frames float32 (T, F), a zero vector on both ends, and token ids (L,) of each song."""
        return [self.song(int(number)) for number in self.rows[key[1]]]

    def song(self, number: int) -> Song:
        """Return number, frames and token ids of a song; a `FormatError` if its file cannot be read any more."""
        ids = self.tokenizer.encode(self.songs.texts[number])
        if len(ids) > self.text_length:  # the token that ends a text stays, as in the published code
            ids = [*ids[: self.text_length - 1], ids[-1]]
        return number, self.mels.read(number, slice(0, self.n_frames + 2)), np.array(ids, np.int64)

    @property
    def collate(self) -> CollateSongs:
        """What makes batches of these items."""
        return CollateSongs(self.tokenizer.pad_id)


@dataclass(frozen=True)
class CollateSongs:
    """Items to a batch: all first songs, then all second ones; a class so that it pickles."""

    pad_id: int

    def __call__(self, items: Sequence[Sequence[Song]]) -> dict[str, Tensor]:
        """Return ``audio`` (N, T, F), ``text`` and ``text_mask`` (N, L), ``song`` (N,)."""
        songs = [song for column in zip(*items, strict=True) for song in column]
        text, mask = pad([ids for *_, ids in songs], self.pad_id)
        arrays = {"audio": np.stack([frames for _, frames, _ in songs]), "text": text, "text_mask": mask,
                  "song": np.array([number for number, *_ in songs])}  # fmt: skip
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


class HtclTask:
    """Model, data and loss of a run; see `clamp3.training.task.RatedTask`.

    Parameters
    ----------
    config : HtclTraining
    module : HtclTrainer
    train, evaluation : SongDataset
        ``evaluation`` may be None.
    text_model : str
        What names the tokenizer, for the exported file.
    """

    def __init__(
        self,
        config: HtclTraining,
        module: HtclTrainer,
        train: SongDataset,
        evaluation: SongDataset | None,
        text_model: str,
    ) -> None:
        self.config, self.module, self.text_model = config, module, text_model
        self.train_data, self.eval_data = train, evaluation
        self.collate = train.collate

    def rate_factor(self, name: str) -> float:
        """Return the rate of a parameter as a multiple of ``learning_rate``; see `RatedTask`."""
        slow = ENCODERS[: self.config.stage]  # in stage 1 only the text encoder comes trained
        return self.config.encoder_rate / self.config.learning_rate if name.startswith(slow) else 1.0

    def batches(self, epoch: int, rank: int, world_size: int) -> list[np.ndarray]:
        """Return batches at random, without incomplete ones, as negatives would be missing; see `Task`."""
        n_items, size, seed = range(len(self.train_data)), self.config.batch_size, self.config.seed
        return epoch_batches(n_items, size, epoch=epoch, seed=seed, rank=rank, world_size=world_size)

    def train(self) -> None:
        """Turn dropout on."""
        self.module.train()

    def loss(self, wrapped: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of the global batch (its share with several ranks), and its terms; see `Task.loss`."""
        found = dict(wrapped(batch))
        return found.pop("loss"), {name: term.detach() for name, term in found.items()}

    @torch.no_grad()
    def evaluate(self, accelerator: Accelerator, poll: Callable[[], None]) -> dict[str, float]:
        """Return the loss within batches, and MRRs over the whole set, without dropout; see `Task`.

        ``mrr_text_to_audio`` and back rank the distinct songs; ``mrr_trigger_to_song`` the second songs of all pairs.
        """
        data = self.eval_data
        if data is None or not len(data):
            return {}
        self.module.eval()
        numbers, places = np.unique(data.rows, return_inverse=True)
        audio, text = self._encode(numbers.tolist(), data, accelerator, poll)
        rows = torch.from_numpy(places.reshape(data.rows.shape))
        size = self.config.eval_batch or self.config.batch_size * accelerator.num_processes
        module, songs = self.module, numbers.tolist()
        return song_measures(
            module.objective, module.model, audio, text, rows,
            songs=songs, batch_size=size, seed=self.config.seed,
        )  # fmt: skip

    def _encode(
        self, numbers: list[int], data: SongDataset, accelerator: Accelerator, poll: Callable[[], None]
    ) -> tuple[Tensor, Tensor]:
        """Return the audio and text vectors (N, E) of songs, on the CPU of every rank."""
        from accelerate.utils import gather_object

        groups = [numbers[at : at + _EVALUATED] for at in range(0, len(numbers), _EVALUATED)]
        found = []
        for group in shares(groups, accelerator, poll):
            batch = self.collate([[data.song(number)] for number in group])
            batch = {name: value.to(accelerator.device) for name, value in batch.items()}
            audio, text = self.module.vectors(batch)
            found.append((group, audio.float().cpu(), text.float().cpu()))
        found = gather_object(found)
        back = torch.tensor([number for group, *_ in found for number in group]).argsort()
        return torch.cat([part[1] for part in found])[back], torch.cat([part[2] for part in found])[back]

    def export(self, path: Path, info: dict[str, Any]) -> None:
        """Write the model as safetensors, with the name of its tokenizer; arguments as of `Task.export`."""
        from clamp3.models.weights import save_safetensors

        model = self.module.model
        save_safetensors(model, model.config, path, info={**info, "text_model": self.text_model})


def make_htcl_task(config: HtclTraining, accelerator: Accelerator) -> HtclTask:
    """Read the data and build the model of a run of either stage.

    Parameters
    ----------
    config : HtclTraining
    accelerator : Accelerator

    Raises
    ------
    ConfigError
        If data or the model of stage 1 are not named.
    DataError
        If the data cannot be read, or too many rows cannot be used.
    WeightsError
        If weights that are asked for are absent.
    """
    if config.songs is None:
        raise ConfigError("Name the songs: --songs FILE.")
    if config.stage == 2 and config.pairs is None:
        raise ConfigError("Name the pairs of songs: --pairs FILE.")
    songs = read_songs(config.songs)
    rows, held_out = _items(config, songs)
    model, text_model = htcl_model(config)
    audio, text = model.config.audio, model.config.text
    assert audio is not None and text is not None
    mels = open_features(songs.mels, audio.n_bins)
    short = {
        number: f"{songs.mels[number]}: {length - 2} frames; the audio encoder reads {audio.n_frames}."
        for number, length in enumerate(np.asarray(mels.lengths))
        if 0 <= length < audio.n_frames + 2
    }
    problems = {**mels.problems, **short}
    reasons = songs.problems + list(problems.values())
    check_problems(reasons, len(songs) + len(songs.problems), config.max_bad)
    tokenizer = htcl_tokenizer(text_model, text)

    def dataset(part: np.ndarray) -> SongDataset:
        usable = ~np.isin(part, list(problems)).any(1)
        return SongDataset(songs, mels, part[usable], tokenizer, model.config.text_length, audio.n_frames)

    train, evaluation = dataset(rows), dataset(held_out)
    if accelerator.is_main_process:
        unit = "songs" if config.stage == 1 else "pairs"
        logger.info("%d training %s, %d evaluation %s", len(train), unit, len(evaluation), unit)
    links = train.rows if config.stage == 2 else np.zeros((0, 2), np.int64)
    negatives = None if config.mask == NO_MASK else FalseNegatives(config.mask, links, songs.artists)
    scale, detach = config.start_scale, config.detach_negatives
    objective = HtclObjective(config.stage, start_scale=scale, detach_negatives=detach, negatives=negatives)
    module = HtclTrainer(model, objective)
    return HtclTask(config, module, train, evaluation if len(evaluation) else None, text_model)


def _items(config: HtclTraining, songs: Songs) -> tuple[np.ndarray, np.ndarray]:
    """Return the songs (N, 1) or pairs (N, 2) of training and evaluation; more songs may be added to ``songs``.

    Without evaluation data they are split by the hash of the id; see `song_pairs`.
    """
    if config.stage == 1:
        every = np.arange(len(songs), dtype=np.int32)[:, None]
        if config.eval_songs is None:
            train, evaluation = split(songs.ids, config.eval_split)
            return every[train], every[evaluation]
        others = read_songs(config.eval_songs)
        for item_id, text, mel, artists in zip(others.ids, others.texts, others.mels, others.artists, strict=True):
            songs.add(item_id, text, Path(mel.path), artists)
        songs.problems += others.problems
        named = np.array([item_id in others.numbers for item_id in songs.ids])
        every = np.arange(len(songs), dtype=np.int32)[:, None]
        return every[~named], every[named]
    assert config.pairs is not None
    return song_pairs(config.pairs, config.eval_pairs, songs, config)
