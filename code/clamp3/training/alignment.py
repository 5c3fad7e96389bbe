"""Alignment of text and music, or of music with music, as a task of the loop; of any family with a joint space."""

from __future__ import annotations

import copy
import logging
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from clamp3.data.views import Pair, views
from clamp3.errors import DataError
from clamp3.training import near
from clamp3.training.alignment_build import MIN_EVALUATION, open_alignment, parts_of
from clamp3.training.batches import epoch_batches
from clamp3.training.config import Clamp3Training
from clamp3.training.distill import distance, teacher_of
from clamp3.training.loading import lengths_of, on_device, sent, shares
from clamp3.training.loss import Objective, gather_with_gradient, of_all_ranks, own_rows, world
from clamp3.training.measures import dimensions, ranks, shared_reciprocal_rank
from clamp3.training.mixing import MixedPairs, mixed
from clamp3.training.negatives import sharing
from clamp3.training.options import CURRENT
from clamp3.training.pair_data import EVALUATION, PairDataset
from clamp3.training.pair_encoder import PairEncoder

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)

MIN_COUNTED = 1000  # pieces; of fewer, a share says little


class AlignmentTask:
    """Model, data and loss of a run; see `clamp3.training.task.ChunkedTask`.

    Parameters
    ----------
    config : Clamp3Training
    encoder : PairEncoder
        The model.
    train, evaluation : PairDataset or MixedPairs
        ``evaluation`` may be None.
    text_model : str, optional
        Name of the tokenizer, for the exported file.
    """

    def __init__(
        self,
        config: Clamp3Training,
        encoder: PairEncoder,
        train: PairDataset | MixedPairs,
        evaluation: PairDataset | MixedPairs | None,
        text_model: str | None = None,
    ) -> None:
        self.config, self.module, self.text_model = config, encoder, text_model
        self.train_data, self.eval_data = train, evaluation
        self.chunk = config.grad_cache_chunk
        self.n_seen = self.n_left_out = 0
        self.collate = train.collate
        # Neither is part of the module: a resumed run makes them again.
        self.teacher = teacher_of(config, encoder) if config.distill else None
        self.near = near.near_of(config, train)
        self._batches: tuple[tuple[int, int, int], list[np.ndarray]] | None = None  # of the newest question

    @property
    def data_digest(self) -> str:
        """Which pieces these are; see `PairDataset.digest`."""
        return "-".join(part.digest for part in (self.train_data, self.eval_data) if part is not None and part.digest)

    def batches(self, epoch: int, rank: int, world_size: int) -> list[np.ndarray]:
        """Return batches of pieces, without incomplete ones, as negatives would be missing; see `Task`.

        At random; or of near pieces, with ``--near``; from several JSONLs in the proportions of ``--mix``.
        """
        if self._batches is None or self._batches[0] != (epoch, rank, world_size):
            data, config = self.train_data, self.config
            sizes = data.sizes if isinstance(data, MixedPairs) else [len(data)]
            items = mixed(sizes, config.mix, epoch=epoch, seed=config.seed) if config.mix else None

            def arrange(order: np.ndarray, rng: np.random.Generator) -> np.ndarray:
                order = order if items is None else items[order]
                return order if self.near is None else self.near.arrange(order, rng)

            n_items = range(len(data) if items is None else len(items))
            size, seed = config.batch_size, config.seed
            found = epoch_batches(
                n_items, size, epoch=epoch, seed=seed, rank=rank, world_size=world_size, arrange=arrange
            )
            self._batches = (epoch, rank, world_size), found
        return self._batches[1]

    def prepare(self, epoch: int, accelerator: Accelerator, poll: Callable[[], None]) -> None:
        """With ``--near current``, find what is near by the model as it is now; see `PreparedTask`."""
        config = self.config
        if config.near != CURRENT:
            return
        path = near.kept(config.out, epoch)
        if path.is_file():
            vectors = np.load(path)
        else:
            found, present = self._encoded(self.train_data, accelerator, poll)
            parts = [near.unit(torch.where(present[view][:, None], found[view].float(), 0.0).numpy()) for view in found]
            vectors = near.unit(np.sum(parts, axis=0)).astype(np.float16)
            if accelerator.is_main_process:
                near.keep(vectors, config.out, epoch)
        self.near, self._batches = near.Near(config.near_group, vectors=vectors.astype(np.float32)), None

    def idle_parameters(self) -> list[nn.Parameter] | None:
        """Return what never has a gradient; None with several pairs, as a batch may lack some; see `SteadyTask`.

        Of a single pair every rank has rows in every step, or the run ends (`_count`).
        """
        return self.module.idle if len(self.train_data.pairs) == 1 else None

    def rate_factor(self, name: str) -> float:
        """Return the rate of a parameter as a multiple of ``learning_rate``; see `RatedTask`."""
        part = name.removeprefix("model.").split(".")[0]
        for tower, rate in self.config.rates.items():
            if part in self.module.model.config.parts(tower):
                return rate / self.config.learning_rate
        return 1.0

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
        here = torch.tensor([lengths_of(batch, view) for view in vectors]).T > 0  # (B, views), on the CPU
        taught = self._taught(vectors, batch)
        present = of_all_ranks(here, next(iter(vectors.values())).device)  # (W * B, views)
        known = dict(zip(vectors, present.T, strict=True))
        vectors = {view: gather_with_gradient(rows) for view, rows in vectors.items()}
        vectors = self.module.comparable(vectors, known)
        rows = [(pair, *paired(vectors, known, pair)) for pair in self.train_data.pairs]
        self._count(torch.stack([both for *_, both in rows]).any(0), len(here))
        with torch.no_grad():
            labels = gather_with_gradient(batch["labels"]) if "labels" in batch else None  # (W * B, K)
        losses, measures, compared = [], {}, 0
        for pair, one, other, both in rows:
            if len(one):
                own = own_rows(both)
                alike = None if labels is None else sharing(*[_rows(labels, both)] * 2).fill_diagonal_(False)
                losses.append(self.module.objective(one, other, own, alike))
                share = world()[1] / len(one)  # the mean over ranks is then the mean over all rows
                measures[self._measure("batch_mrr", pair)] = (1 / ranks(one, other, own)).sum() * share
                compared = max(compared, len(one))
        measures |= {"compared": torch.tensor(float(compared)), **_learned(self.module.objective)}
        loss = torch.stack(losses).mean()
        if taught is not None:
            loss, measures["loss_distill"] = loss + self.config.distill * taught, taught.detach()
        return loss, measures

    def _taught(self, vectors: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor | None:
        """Return this rank's share of how far the vectors of towers that train are from the teacher's, if there is one.

        It is the mean over the views of the mean over their rows.
        """
        if self.teacher is None:
            return None
        theirs = self.teacher.vectors(batch)
        learned = [view for view in vectors if views()[view].tower not in self.module.frozen]
        parts = [distance(vectors[view], theirs[view], batch[f"{view}_mask"].any(1)) for view in learned]
        return torch.stack(parts).mean()

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
        data = self.eval_data
        if data is None or not len(data):
            return {}
        vectors, present = self._encoded(data, accelerator, poll)
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
                measures[f"mrr_{name}_to_{target}"] = shared_reciprocal_rank(first, second, accelerator)
        if not losses:
            return {}
        measures |= {"loss": sum(losses) / len(losses), "compared": compared}
        return {**measures, **{f"{view}_dimensions": dimensions(vectors[view][present[view]]) for view in data.views}}

    @torch.no_grad()
    def _encoded(
        self, data: PairDataset | MixedPairs, accelerator: Accelerator, poll: Callable[[], None]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the vectors (N, E) of a whole set by view, on the CPU of every rank, and which items have the view."""
        from accelerate.utils import gather_object

        self.module.eval()
        order = sorted(range(len(data)), key=lambda index: data.lengths[index])
        groups = [order[at : at + 64] for at in range(0, len(order), 64)]
        found: list[tuple[list[int], dict[str, Tensor], dict[str, Tensor]]] = []
        for group in shares(groups, accelerator, poll):
            batch = self.collate([data[EVALUATION, index] for index in group])
            batch = on_device(batch, accelerator.device)
            vectors = self.module(batch)
            present = {view: torch.tensor(lengths_of(batch, view)) > 0 for view in vectors}
            vectors = self.module.comparable(vectors, present)
            found.append((group, _on_cpu(vectors), _on_cpu(present)))
        found = gather_object(found)
        back = torch.tensor([index for group, _, _ in found for index in group]).argsort()
        vectors = {view: torch.cat([part[1][view] for part in found])[back] for view in data.views}
        present = {view: torch.cat([part[2][view] for part in found])[back] for view in data.views}
        return vectors, present

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
        Which rows have the view; on the CPU.
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
            mine = sent(here.tolist(), rows.device).bool()
            rows, here = torch.where(mine[:, None], rows, vectors[part]), here | present[part]
        return rows, here

    (one, here), (other, there) = rows_of(pair[0]), rows_of(pair[1])
    both = here & there
    return _rows(one, both), _rows(other, both), both


def _rows(values: Tensor, which: Tensor) -> Tensor:
    """Return some rows of a tensor on any device, by a mask on the CPU."""
    return values if which.all() else values[sent(which.nonzero().flatten().tolist(), values.device)]


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
    train, evaluation = parts_of(opened, config)
    if accelerator.is_main_process:
        logger.info("%d training pieces, %d evaluation pieces", len(train), len(evaluation))
        if 0 < len(evaluation) < MIN_EVALUATION:
            logger.warning(
                "%d evaluation pieces say little about which epoch is best: %d or more by --eval_jsonl or --eval_split",
                len(evaluation),
                MIN_EVALUATION,
            )
    return AlignmentTask(config, opened.encoder, train, evaluation if len(evaluation) else None, opened.text_model)
