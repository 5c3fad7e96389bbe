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
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from clamp3.data.audio_features import FeatureFiles, open_features
from clamp3.data.patch_pack import check_problems
from clamp3.data.songs import Songs, read_pairs, read_songs
from clamp3.data.splits import split
from clamp3.errors import ConfigError
from clamp3.models.htcl import HtclModel
from clamp3.training.batches import epoch_batches
from clamp3.training.htcl_build import htcl_model, htcl_tokenizer
from clamp3.training.htcl_config import HtclTraining
from clamp3.training.loading import shares
from clamp3.training.loss import contrastive_loss, gather_with_gradient, world
from clamp3.training.measures import dimensions, mean_reciprocal_rank
from clamp3.training.pair_data import Key, pad

if TYPE_CHECKING:
    from accelerate import Accelerator

    from clamp3.models.tokenizer import TextTokenizer

logger = logging.getLogger(__name__)

ENCODERS = ("model.text_model.", "model.audio_model.")
_EVALUATED = 32  # songs that are encoded at a time


class HtclObjective(nn.Module):
    """The losses of both stages with their learned scales, whose logarithms have the published names.

    Parameters
    ----------
    stage : {1, 2}
    start_scale : float
        Logarithm of the scales at the start.
    detach_negatives : bool
        As published: every rank computes the whole loss, and the vectors of other ranks take no gradient.
    """

    tau: Tensor
    tau_1: Tensor
    tau_2: Tensor
    tau_3: Tensor

    def __init__(self, stage: int, *, start_scale: float = 2.6, detach_negatives: bool = False) -> None:
        super().__init__()
        self.stage, self.detach_negatives = stage, detach_negatives
        for name in ("tau",) if stage == 1 else ("tau_1", "tau_2", "tau_3"):
            self.register_parameter(name, nn.Parameter(torch.tensor(float(start_scale))))

    def forward(self, model: HtclModel, audio: Tensor, text: Tensor, *, spread: bool = True) -> dict[str, Tensor]:
        """Return the loss as ``loss``, of stage 2 also its three terms.

        Parameters
        ----------
        model : HtclModel
            Fuses the vectors of stage 2.
        audio, text : Tensor, shape (B, E) or (2 B, E)
            Vectors of the same songs; of stage 2 the triggers, then the songs they lead to.
        spread : bool
            Whether they are this rank's part of a batch; what is returned are then shares.
        """
        rank, n_ranks = world() if spread else (0, 1)

        def compare(one: Tensor, other: Tensor, log_scale: Tensor) -> Tensor:
            return self._compare(one, other, log_scale.exp(), rank, n_ranks)

        audio, text = audio.float(), text.float()
        if self.stage == 1:
            return {"loss": compare(audio, text, self.tau)}
        fused = model.fuse(audio, text).float()
        (one, other), (fused_one, fused_other) = audio.chunk(2), fused.chunk(2)
        there, back = compare(one, fused_other, self.tau_3), compare(other, fused_one, self.tau_3)
        terms = {
            "loss_text": compare(audio, text, self.tau_1),
            "loss_pair": compare(one, other, self.tau_2),
            "loss_fused": (there + back) / 2,
        }
        return {"loss": torch.stack(list(terms.values())).sum(), **terms}

    def _compare(self, one: Tensor, other: Tensor, scale: Tensor, rank: int, n_ranks: int) -> Tensor:
        """Return the symmetric cross-entropy over the cosines of all ranks' vectors; ``one``, ``other`` are (B, E)."""
        one, other = F.normalize(one, dim=1), F.normalize(other, dim=1)
        if n_ranks == 1:
            return contrastive_loss(one, other, logit_scale=scale)
        start, stop = rank * len(one), (rank + 1) * len(one)
        if not self.detach_negatives:
            one, other = gather_with_gradient(one), gather_with_gradient(other)
            return contrastive_loss(one, other, logit_scale=scale, own=slice(start, stop))
        with torch.no_grad():
            all_one, all_other = gather_with_gradient(one), gather_with_gradient(other)
        one = torch.cat([all_one[:start], one, all_one[stop:]])
        other = torch.cat([all_other[:start], other, all_other[stop:]])
        return contrastive_loss(one, other, logit_scale=scale)


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
        """Return loss and terms of a batch; see `HtclObjective`."""
        audio, text = self.vectors(batch)
        with torch.autocast(audio.device.type, enabled=False):
            found: dict[str, Tensor] = self.objective(self.model, audio, text)
        return found


@dataclass(frozen=True)
class SongDataset(Dataset[list[tuple[np.ndarray, np.ndarray]]]):
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

    def __getitem__(self, key: Key) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return frames float32 (T, F), a zero vector on both ends, and token ids (L,) of each song of an item."""
        return [self.song(int(number)) for number in self.rows[key[1]]]

    def song(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return frames and token ids of a song; a `FormatError` if its file cannot be read any more."""
        ids = self.tokenizer.encode(self.songs.texts[number])
        if len(ids) > self.text_length:  # the token that ends a text stays, as in the published code
            ids = [*ids[: self.text_length - 1], ids[-1]]
        return self.mels.read(number, slice(0, self.n_frames + 2)), np.array(ids, np.int64)

    @property
    def collate(self) -> CollateSongs:
        """What makes batches of these items."""
        return CollateSongs(self.tokenizer.pad_id)


@dataclass(frozen=True)
class CollateSongs:
    """Items to a batch: all first songs, then all second ones; a class so that it pickles."""

    pad_id: int

    def __call__(self, items: Sequence[Sequence[tuple[np.ndarray, np.ndarray]]]) -> dict[str, Tensor]:
        """Return ``audio`` (N, T, F), ``text`` and ``text_mask`` (N, L)."""
        songs = [song for column in zip(*items, strict=True) for song in column]
        text, mask = pad([ids for _, ids in songs], self.pad_id)
        audio = torch.from_numpy(np.stack([frames for frames, _ in songs]))
        return {"audio": audio, "text": torch.from_numpy(text), "text_mask": torch.from_numpy(mask)}


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
        measures = {
            **self._losses(
                audio, text, rows, self.config.eval_batch or self.config.batch_size * accelerator.num_processes
            ),
            "mrr_text_to_audio": float(mean_reciprocal_rank(text, audio)),
            "mrr_audio_to_text": float(mean_reciprocal_rank(audio, text)),
            "dimensions": dimensions(audio),
        }
        if self.config.stage == 2:
            measures["mrr_trigger_to_song"] = float(mean_reciprocal_rank(audio[rows[:, 0]], audio[rows[:, 1]]))
        return measures

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

    def _losses(self, audio: Tensor, text: Tensor, rows: Tensor, size: int) -> dict[str, float]:
        """Return loss and terms, means over batches of ``size`` items in a fixed random order."""
        device = next(self.module.parameters()).device
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(self.config.seed))
        totals: dict[str, float] = {}
        for part in order.split(size):
            songs = rows[part].T.flatten()
            one, other = (vectors[songs].to(device) for vectors in (audio, text))
            for name, term in self.module.objective(self.module.model, one, other, spread=False).items():
                totals[name] = totals.get(name, 0.0) + float(term) * len(part) / len(rows)
        return totals

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
    scale, detach = config.start_scale, config.detach_negatives
    module = HtclTrainer(model, HtclObjective(config.stage, start_scale=scale, detach_negatives=detach))
    return HtclTask(config, module, train, evaluation if len(evaluation) else None, text_model)


def _items(config: HtclTraining, songs: Songs) -> tuple[np.ndarray, np.ndarray]:
    """Return the songs (N, 1) or pairs (N, 2) of training and evaluation; more songs may be added to ``songs``.

    Without evaluation data they are split by the hash of the id; of a pair, of both ids in either order, so that no
    pair is on both sides the other way round.
    """
    if config.stage == 1:
        every = np.arange(len(songs), dtype=np.int32)[:, None]
        if config.eval_songs is None:
            train, evaluation = split(songs.ids, config.eval_split)
            return every[train], every[evaluation]
        others = read_songs(config.eval_songs)
        for item_id, text, mel in zip(others.ids, others.texts, others.mels, strict=True):
            songs.add(item_id, text, Path(mel.path))
        songs.problems += others.problems
        named = np.array([item_id in others.numbers for item_id in songs.ids])
        every = np.arange(len(songs), dtype=np.int32)[:, None]
        return every[~named], every[named]
    assert config.pairs is not None
    parts = []
    for path in (config.pairs, config.eval_pairs):
        if path is not None:
            pairs, problems = read_pairs(path, songs)
            check_problems(problems, len(pairs) + len(problems), config.max_bad)
            parts.append(pairs)
    if len(parts) == 2:
        return parts[0], parts[1]
    names = ["\n".join(sorted((songs.ids[one], songs.ids[other]))) for one, other in parts[0]]
    train, evaluation = split(names, config.eval_split)
    return parts[0][train], parts[0][evaluation]
