"""Alignment of text and symbolic music as a task of the loop."""

from __future__ import annotations

import contextlib
import copy
import logging
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from clamp3.errors import ConfigError
from clamp3.models.towers import Clamp3Model
from clamp3.training.batches import epoch_batches, length_parts
from clamp3.training.build import clamp3_model, text_tokenizer
from clamp3.training.config import Clamp3Training
from clamp3.training.data import EVALUATION, CollatePairs, PairDataset, Record, read_jsonl
from clamp3.training.loss import contrastive_loss, gather_with_gradient
from clamp3.training.measures import dimensions, mean_reciprocal_rank
from clamp3.training.pack import PatchPack, check_problems, open_pack
from clamp3.training.splits import split
from clamp3.training.text import evaluation_lines

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)


class PairEncoder(nn.Module):
    """Both towers in one forward, so that DistributedDataParallel sees one call per step.

    Parameters
    ----------
    model : Clamp3Model
    frozen : sequence of str
        Towers ("text", "symbolic", "audio") that are not trained: no gradient, no dropout.
    sub_batches : int
        Length-sorted parts a batch is encoded in. Vectors do not depend on it; padding is saved.
    standardise : bool
        Keep running statistics for `comparable`.
    """

    def __init__(
        self, model: Clamp3Model, *, frozen: Sequence[str] = (), sub_batches: int = 1, standardise: bool = False
    ) -> None:
        super().__init__()
        self.model, self.frozen, self.sub_batches = model, tuple(frozen), sub_batches
        width = model.config.hidden_size
        self.norms = nn.ModuleDict(
            {side: nn.BatchNorm1d(width, affine=False) for side in ("text", "symbolic")} if standardise else {}
        )
        for name in self.frozen:
            for part in ("model", "proj"):
                model.get_submodule(f"{name}_{part}").requires_grad_(False)

    def train(self, mode: bool = True) -> PairEncoder:
        """Set the mode of the trained towers; frozen ones stay in evaluation mode."""
        super().train(mode)
        for name in self.frozen:
            for part in ("model", "proj"):
                self.model.get_submodule(f"{name}_{part}").eval()
        return self

    def _features(self, encode: Callable[[Tensor, Tensor], Tensor], values: Tensor, mask: Tensor, name: str) -> Tensor:
        lengths = mask.sum(1).tolist()
        parts = length_parts(lengths, self.sub_batches)
        with torch.no_grad() if name in self.frozen else contextlib.nullcontext():
            found = []
            for part in parts:
                longest = max(lengths[index] for index in part)
                rows = torch.tensor(part, device=values.device)
                found.append(encode(values[rows, :longest], mask[rows, :longest]))
            order = torch.tensor([index for part in parts for index in part], device=values.device)
            return torch.cat(found)[order.argsort()]  # (B, E), in the order of the batch

    def forward(self, ids: Tensor, text_mask: Tensor, patches: Tensor, music_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return text and music vectors, (B, E) each."""
        text = self._features(self.model.text_features, ids, text_mask, "text")
        music = self._features(self.model.symbolic_features, patches, music_mask, "symbolic")
        return text, music

    def comparable(self, vectors: Tensor, side: str) -> Tensor:
        """Return vectors (B, E) of the global batch as the loss compares them.

        As they are (released), or standardised per dimension and of length 1. The latter keeps small towers that
        start at random from mapping everything to one point, where the gradient of the released loss vanishes.
        """
        if side not in self.norms:
            return vectors
        return nn.functional.normalize(self.norms[side](vectors.float()), dim=1)

    @torch.no_grad()
    def exported(self) -> Clamp3Model:
        """Return the model; standardisation becomes part of copied projections, so that it is a plain CLaMP 3."""
        if not self.norms:
            return self.model
        model = copy.deepcopy(self.model)
        for side, norm in self.norms.items():
            assert isinstance(norm, nn.BatchNorm1d) and norm.running_mean is not None and norm.running_var is not None
            scale, projection = (norm.running_var + norm.eps).rsqrt(), model.get_submodule(f"{side}_proj")
            assert isinstance(projection, nn.Linear)
            projection.weight.mul_(scale[:, None])
            projection.bias.sub_(norm.running_mean).mul_(scale)
        return model


class Clamp3Task:
    """Model, data and loss of a run; see ``clamp3.training.loop.Task``."""

    def __init__(
        self, config: Clamp3Training, encoder: PairEncoder, train: PairDataset, evaluation: PairDataset | None
    ) -> None:
        self.config, self.module = config, encoder
        self.train_data, self.eval_data = train, evaluation
        self.collate_pairs = CollatePairs(train.tokenizer.pad_id)

    def collate(self, items: Sequence[Any]) -> dict[str, Tensor]:
        """Pad a batch to its longest text and score."""
        return self.collate_pairs(items)

    def batches(self, epoch: int, rank: int, world_size: int) -> list[list[int]]:
        """Return batches of pieces at random; incomplete ones are left out, as negatives would be missing."""
        return epoch_batches(
            self.train_data.lengths,
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
        """Return the contrastive loss of the global batch."""
        text, music = wrapped(batch["ids"], batch["text_mask"], batch["patches"], batch["music_mask"])
        text, music = (gather_with_gradient(vectors) for vectors in (text, music))
        text, music = self.module.comparable(text, "text"), self.module.comparable(music, "symbolic")
        loss = contrastive_loss(text, music, logit_scale=self.config.logit_scale)
        return loss, {"batch_mrr": mean_reciprocal_rank(text.detach(), music.detach())}

    @torch.no_grad()
    def evaluate(self, wrapped: nn.Module, accelerator: Accelerator) -> dict[str, float]:
        """Return the loss over batches and the MRR, both ways, over the whole evaluation set."""
        from accelerate.utils import gather_object

        data = self.eval_data
        if data is None or not len(data):
            return {}
        self.module.eval()
        order = sorted(range(len(data)), key=lambda index: data.lengths[index])
        groups = [order[at : at + 64] for at in range(0, len(order), 64)]
        found: list[tuple[list[int], Tensor, Tensor]] = []
        for group in groups[accelerator.process_index :: accelerator.num_processes]:
            batch = self.collate([data[EVALUATION, index] for index in group])
            batch = {name: value.to(accelerator.device) for name, value in batch.items()}
            text, music = self.module(batch["ids"], batch["text_mask"], batch["patches"], batch["music_mask"])
            text, music = self.module.comparable(text, "text"), self.module.comparable(music, "symbolic")
            found.append((group, text.float().cpu(), music.float().cpu()))
        found = gather_object(found)
        back = torch.tensor([index for group, _, _ in found for index in group]).argsort()
        text, music = torch.cat([part[1] for part in found])[back], torch.cat([part[2] for part in found])[back]
        # Neighbours in a JSONL are often alike: batches are drawn in a fixed random order.
        mixed = list(range(len(data)))
        random.Random(f"evaluation/{self.config.seed}").shuffle(mixed)
        size, total = self.config.batch_size * accelerator.num_processes, 0.0
        for at in range(0, len(mixed), size):
            rows = mixed[at : at + size]
            total += float(contrastive_loss(text[rows], music[rows], logit_scale=self.config.logit_scale)) * len(rows)
        return {
            "loss": total / len(data),
            "mrr_text_to_music": float(mean_reciprocal_rank(text, music)),
            "mrr_music_to_text": float(mean_reciprocal_rank(music, text)),
            "text_dimensions": dimensions(text),
            "music_dimensions": dimensions(music),
        }

    def export(self, path: Path, info: dict[str, Any]) -> None:
        """Write the model as safetensors."""
        from clamp3.models.weights import save_safetensors

        model = self.module.exported()
        save_safetensors(model, model.config, path, info=info)


Row = tuple[str, dict[str, Any] | None, Path]


def _files(fields: dict[str, Any], folder: Path) -> list[Path]:
    """Return the symbolic files an object names, relative to the JSONL's folder."""
    named = fields.get("filepaths")
    named = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    return [folder / name for name in named if isinstance(name, str) and name.lower().endswith((".abc", ".mtf"))]


def _records(rows: Sequence[Row], pack: PatchPack, number: dict[Path, int]) -> tuple[list[Record], list[str]]:
    """Return usable records, and a reason for every other one."""
    records, problems = [], []
    for place, fields, folder in rows:
        if fields is None:
            problems.append(f"{place}: no JSON object.")
            continue
        paths = _files(fields, folder)
        indices = [number[path] for path in paths]
        usable = [index for index in indices if index not in pack.problems]
        if not usable:
            why = pack.problems[indices[0]] if indices else "no .abc or .mtf in filepaths."
            problems.append(f"{place}: {why}")
        elif not evaluation_lines(fields):
            problems.append(f"{place}: no text.")
        else:
            scores = [number[p] for p in paths if p.suffix.lower() == ".abc" and number[p] in usable]
            item_id = str(fields.get("id") or fields["filepaths"])
            records.append(Record(item_id, fields, tuple(usable), (scores or usable)[0]))
    return records, problems


def make_clamp3_task(config: Clamp3Training, accelerator: Accelerator) -> Clamp3Task:
    """Read the data and build the model of an alignment run.

    Raises
    ------
    DataError
        If the JSONL cannot be read or too many of its objects cannot be used.
    WeightsError
        If weights that are asked for are absent.
    """
    if config.train_jsonl is None:
        raise ConfigError("Name the training data: --train_jsonl FILE (or CLAMP3_TRAIN_JSONL in code/config.py).")
    sides: list[list[Row]] = []
    for path in (config.train_jsonl, config.eval_jsonl):
        sides.append([(*row, path.parent) for row in read_jsonl(path)] if path else [])
    paths = sorted({file for side in sides for _, fields, folder in side if fields for file in _files(fields, folder)})
    with accelerator.main_process_first():
        pack = open_pack(paths, config.pack or config.out / "pack")
    number = {path: index for index, path in enumerate(paths)}
    train, problems = _records(sides[0], pack, number)
    check_problems(problems, len(sides[0]), config.max_bad)
    if config.eval_jsonl:
        evaluation, problems = _records(sides[1], pack, number)
        check_problems(problems, len(sides[1]), config.max_bad)
    else:
        kept, held_out = split([record.item_id for record in train], config.eval_split)
        train, evaluation = [train[i] for i in kept], [train[i] for i in held_out]
    if accelerator.is_main_process:
        logger.info("CLaMP 3: %d training pieces, %d evaluation pieces", len(train), len(evaluation))
    tokenizer = text_tokenizer(config)
    model, frozen = clamp3_model(config)
    encoder = PairEncoder(model, frozen=frozen, sub_batches=config.sub_batches, standardise=config.standardise)

    def dataset(records: list[Record]) -> PairDataset:
        return PairDataset(
            records,
            pack,
            tokenizer,
            limit=config.crop_length,
            text_length=config.text_length,
            seed=config.seed,
            text_dropout=config.text_dropout,
            line_keep=config.line_keep,
            instrument_removal=config.instrument_removal,
        )

    return Clamp3Task(config, encoder, dataset(train), dataset(evaluation) if evaluation else None)
