"""Alignment of text and music, or of music with music, as a task of the loop; of any family with a joint space."""

from __future__ import annotations

import copy
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from clamp3.data.patch_pack import check_problems
from clamp3.data.record_store import Records, Store, Wanted, open_store
from clamp3.data.splits import split_hashes
from clamp3.data.views import Pair, towers_of, views
from clamp3.errors import ConfigError, DataError
from clamp3.training.batches import epoch_batches
from clamp3.training.build import alignment_model, text_tokenizer
from clamp3.training.config import Clamp3Training
from clamp3.training.loading import shares
from clamp3.training.loss import Objective, gather_with_gradient, own_rows, world
from clamp3.training.measures import dimensions, mean_reciprocal_rank, ranks
from clamp3.training.pair_data import EVALUATION, PairDataset
from clamp3.training.pair_encoder import PairEncoder
from clamp3.training.presets import start_of_loss
from clamp3.training.ranks import main_first

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)

MIN_COUNTED = 1000  # pieces; of fewer, a share says little
MIN_EVALUATION = 32  # pieces; ranks among fewer are mostly luck


class AlignmentTask:
    """Model, data and loss of a run; see `clamp3.training.task.ChunkedTask`.

    Parameters
    ----------
    config : Clamp3Training
    encoder : PairEncoder
        The model.
    train, evaluation : PairDataset
        ``evaluation`` may be None.
    text_model : str, optional
        Name of the tokenizer, for the exported file.
    """

    def __init__(
        self,
        config: Clamp3Training,
        encoder: PairEncoder,
        train: PairDataset,
        evaluation: PairDataset | None,
        text_model: str | None = None,
    ) -> None:
        self.config, self.module, self.text_model = config, encoder, text_model
        self.train_data, self.eval_data = train, evaluation
        self.chunk = config.grad_cache_chunk
        self.n_seen = self.n_left_out = 0
        self.collate = train.collate

    @property
    def data_digest(self) -> str:
        """Which pieces these are; see `PairDataset.digest`."""
        return "-".join(part.digest for part in (self.train_data, self.eval_data) if part is not None and part.digest)

    def batches(self, epoch: int, rank: int, world_size: int) -> list[np.ndarray]:
        """Return batches of pieces at random, without incomplete ones, as negatives would be missing; see `Task`."""
        return epoch_batches(
            range(len(self.train_data)),
            self.config.batch_size,
            epoch=epoch,
            seed=self.config.seed,
            rank=rank,
            world_size=world_size,
        )

    def train(self) -> None:
        """Turn dropout on, in the trained towers."""
        self.module.train()

    def loss(self, wrapped: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the contrastive loss of the global batch, the mean over its pairs of views; see `Task.loss`.

        Raises
        ------
        DataError
            If not one piece of the batch could be read.
        """
        return self.compare(wrapped(batch), batch)

    def compare(self, vectors: dict[str, Tensor], batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return loss and measures.

        Parameters
        ----------
        vectors : dict of str to Tensor, shape (B, E)
            This rank's, by view.
        batch : mapping of str to Tensor
            Its masks say which pieces have a view.
        """
        here = torch.stack([batch[f"{view}_mask"].any(1) for view in vectors], dim=1)  # (B, views)
        present = gather_with_gradient(here.float()).detach() > 0  # (W * B, views)
        known = dict(zip(vectors, present.T, strict=True))
        vectors = {view: gather_with_gradient(rows) for view, rows in vectors.items()}
        vectors = self.module.comparable(vectors, known)
        rows = [(pair, *paired(vectors, known, pair)) for pair in self.train_data.pairs]
        self._count(torch.stack([both for *_, both in rows]).any(0), len(here))
        losses, measures, compared = [], {}, 0
        for pair, one, other, both in rows:
            if len(one):
                own = own_rows(both)
                losses.append(self.module.objective(one, other, own))
                share = world()[1] / len(one)  # the mean over ranks is then the mean over all rows
                measures[self._measure("batch_mrr", pair)] = (1 / ranks(one, other, own)).sum() * share
                compared = max(compared, len(one))
        measures |= {"compared": torch.tensor(float(compared)), **_learned(self.module.objective)}
        return torch.stack(losses).mean(), measures

    def _count(self, used: Tensor, n_rows: int) -> None:
        """Stop if too many pieces (W * B,) had a file that could not be read any more; on every rank alike."""
        if not used.unflatten(0, (-1, n_rows)).any(1).all():
            raise DataError("No piece of a batch could be read; the log names the files. Are the data still there?")
        self.n_seen, self.n_left_out = self.n_seen + len(used), self.n_left_out + int((~used).sum())
        if self.n_left_out > self.config.max_bad * max(self.n_seen, MIN_COUNTED):
            raise DataError(
                f"{self.n_left_out} of {self.n_seen} pieces had a file that could not be read any more, more than "
                f"--max_bad {self.config.max_bad:g}; the log names the files."
            )

    def _measure(self, name: str, pair: Pair) -> str:
        """Return the name of a measure; it says of which pair where there are several."""
        return name if len(self.train_data.pairs) == 1 else f"{name}_{'_'.join(pair)}"

    @torch.no_grad()
    def evaluate(self, accelerator: Accelerator, poll: Callable[[], None]) -> dict[str, float]:
        """Return loss and accuracy within batches and, per pair, the MRR both ways over the whole set; see `Task`."""
        from accelerate.utils import gather_object

        data = self.eval_data
        if data is None or not len(data):
            return {}
        self.module.eval()
        order = sorted(range(len(data)), key=lambda index: data.lengths[index])
        groups = [order[at : at + 64] for at in range(0, len(order), 64)]
        found: list[tuple[list[int], dict[str, Tensor], dict[str, Tensor]]] = []
        for group in shares(groups, accelerator, poll):
            batch = self.collate([data[EVALUATION, index] for index in group])
            batch = {name: value.to(accelerator.device) for name, value in batch.items()}
            vectors = self.module(batch)
            present = {view: batch[f"{view}_mask"].any(1) for view in vectors}
            vectors = self.module.comparable(vectors, present)
            found.append((group, _on_cpu(vectors), _on_cpu(present)))
        found = gather_object(found)
        back = torch.tensor([index for group, _, _ in found for index in group]).argsort()
        vectors = {view: torch.cat([part[1][view] for part in found])[back] for view in data.views}
        present = {view: torch.cat([part[2][view] for part in found])[back] for view in data.views}
        measures: dict[str, float] = {}
        losses, compared = [], 0
        for pair in data.pairs:
            one, other, _ = paired(vectors, present, pair)
            if not len(one):
                continue
            size = self.config.eval_batch or self.config.batch_size * accelerator.num_processes
            loss, accuracy = self._batched(one, other, size)
            compared = max(compared, min(size, len(one)))
            losses.append(loss)
            measures[self._measure("batch_accuracy", pair)] = accuracy
            for first, second, (name, target) in ((one, other, pair), (other, one, pair[::-1])):
                measures[f"mrr_{name}_to_{target}"] = float(mean_reciprocal_rank(first, second))
        if not losses:
            return {}
        measures |= {"loss": sum(losses) / len(losses), "compared": compared}
        return {**measures, **{f"{view}_dimensions": dimensions(vectors[view][present[view]]) for view in data.views}}

    def _batched(self, one: Tensor, other: Tensor, size: int) -> tuple[float, float]:
        """Return loss, and share of rows whose partner comes first, both ways, within batches.

        They are drawn in a fixed random order, as neighbours in a JSONL are often alike.
        """
        mixed = list(range(len(one)))
        random.Random(f"evaluation/{self.config.seed}").shuffle(mixed)
        objective, loss, n_first = copy.deepcopy(self.module.objective).cpu(), 0.0, 0
        for at in range(0, len(mixed), size):
            first, second = one[mixed[at : at + size]], other[mixed[at : at + size]]
            loss += float(objective(first, second)) * len(first)
            n_first += int((ranks(first, second) == 1).sum() + (ranks(second, first) == 1).sum())
        return loss / len(mixed), n_first / (2 * len(mixed))

    def export(self, path: Path, info: dict[str, Any]) -> None:
        """Write the model as safetensors, with the name of its tokenizer; arguments as of `Task.export`."""
        from clamp3.models.weights import save_safetensors

        model = self.module.exported()
        if self.text_model and "text" in model.config.towers:
            info = {**info, "text_model": self.text_model}
        if learned := _learned(self.module.objective):  # a next stage starts from there
            info = {**info, "objective": {name: float(value) for name, value in learned.items()}}
        save_safetensors(model, model.config, path, info=info)


def _learned(objective: nn.Module) -> dict[str, Tensor]:
    return objective.learned() if isinstance(objective, Objective) else {}


def _on_cpu(rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {view: values.cpu() for view, values in rows.items()}


def paired(vectors: Mapping[str, Tensor], present: Mapping[str, Tensor], pair: Pair) -> tuple[Tensor, Tensor, Tensor]:
    """Return the rows of both views of a pair that have both.

    Parameters
    ----------
    vectors : mapping of str to Tensor, shape (N, E)
        By view. A view that stands for others, as ``symbolic`` does, may be absent: it is the first of them that a
        row has.
    present : mapping of str to Tensor, shape (N,), bool
        Which rows have the view.
    pair : (str, str)

    Returns
    -------
    one, other : Tensor, shape (n, E)
    both : Tensor, shape (N,), bool
        Which rows they are.
    """

    def rows_of(view: str) -> tuple[Tensor, Tensor]:
        if view in vectors:
            return vectors[view], present[view]
        first, *others = views()[view].parts
        rows, here = vectors[first], present[first]
        for part in others:
            rows, here = torch.where(here[:, None], rows, vectors[part]), here | present[part]
        return rows, here

    (one, here), (other, there) = rows_of(pair[0]), rows_of(pair[1])
    both = here & there
    return one[both], other[both], both


def make_alignment_task(config: Clamp3Training, accelerator: Accelerator) -> AlignmentTask:
    """Read the data and build the model of an alignment run.

    Parameters
    ----------
    config : Clamp3Training
    accelerator : Accelerator
        One rank indexes the data, the others wait.

    Raises
    ------
    ConfigError
        If no JSONL is named.
    DataError
        If the JSONL cannot be read or too many of its objects cannot be used.
    WeightsError
        If weights that are asked for are absent.
    """
    opened = open_alignment(config, accelerator)
    if config.eval_jsonl:
        train, evaluation = (Records(store, np.arange(len(store), dtype=np.int32)) for store in opened.stores)
    else:
        store = opened.stores[0]
        parts = split_hashes(store.hashes.all(), config.eval_split, least=MIN_EVALUATION)
        train, evaluation = (Records(store, part) for part in parts)
    if accelerator.is_main_process:
        logger.info("%d training pieces, %d evaluation pieces", len(train), len(evaluation))
        if 0 < len(evaluation) < MIN_EVALUATION:
            logger.warning(
                "%d evaluation pieces say little about which epoch is best: %d or more by --eval_jsonl or --eval_split",
                len(evaluation),
                MIN_EVALUATION,
            )
    held_out = opened.dataset(evaluation) if evaluation else None
    return AlignmentTask(config, opened.encoder, opened.dataset(train), held_out, opened.text_model)


@dataclass(frozen=True)
class Opened:
    """The model and the indexed records of a run.

    Attributes
    ----------
    encoder : PairEncoder
    stores : list of Store
        Of ``train_jsonl`` and, if there is one, ``eval_jsonl``.
    dataset : callable
        From some of their records to items.
    text_model : str
        What names the tokenizer from anywhere.
    """

    encoder: PairEncoder
    stores: list[Store]
    dataset: Callable[[Records], PairDataset]
    text_model: str


def open_alignment(config: Clamp3Training, accelerator: Accelerator) -> Opened:
    """Build the model and index the records of a run, with errors and arguments as of `make_alignment_task`."""
    if config.train_jsonl is None:
        raise ConfigError("Name the training data: --train_jsonl FILE (or CLAMP3_TRAIN_JSONL in code/config.py).")
    for path in (config.train_jsonl, config.eval_jsonl):  # before weights are downloaded
        if path is not None and not path.is_file():
            raise DataError(f"{path} cannot be read: no such file.")
    model, frozen = alignment_model(config)
    pairs, towers = config.compared, towers_of(config.compared)
    text_model, tokenizer = text_tokenizer(config, model, needed="text" in towers)
    width: int = getattr(model.config, "feature_width", 0) if "audio" in towers else 0
    wanted = Wanted(pairs, width, config.texts, config.shards)
    stores = [_open(path, config, wanted, accelerator) for path in (config.train_jsonl, config.eval_jsonl) if path]
    encoder = PairEncoder(
        model,
        frozen=frozen,
        sub_batches=config.sub_batches,
        standardise=towers if config.standardise else (),
        objective=_objective(config),
    )

    limits = {tower: model.config.length(tower) for tower in towers}
    for tower, length in (("text", config.text_length), ("symbolic", config.crop_length)):
        if tower in limits:
            limits[tower] = min(limits[tower], length)

    def dataset(records: Records) -> PairDataset:
        return PairDataset(
            records,
            records.store.music,
            tokenizer,
            limits=limits,
            seed=config.seed,
            pairs=pairs,
            texts=config.texts,
            text_dropout=config.text_dropout,
            line_keep=config.line_keep,
            instrument_removal=config.instrument_removal,
        )

    return Opened(encoder, stores, dataset, text_model)


def _objective(config: Clamp3Training) -> Objective:
    start = start_of_loss(config)
    if start is None:
        return Objective(config.loss, config.logit_scale)
    return Objective(config.loss, config.logit_scale, start_scale=start.scale, start_bias=start.bias)


def _open(path: Path, config: Clamp3Training, wanted: Wanted, accelerator: Accelerator) -> Store:
    """Return the indexed records of a JSONL, having said what of it cannot be used."""
    store = main_first(accelerator, lambda: open_store(path, config.pack or config.out / "pack", wanted))
    if store.n_other:
        logger.warning("%s: %d records name no %s", path.name, store.n_other, wanted.in_words)
    if not len(store) + store.n_problems:
        raise DataError(f"{path.name}: none of its {store.n_other} records names a {wanted.in_words}.")
    check_problems(store.problems, len(store) + store.n_problems, config.max_bad, n_problems=store.n_problems)
    return store
