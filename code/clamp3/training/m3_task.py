"""M3 pre-training as a task of the loop: hide patches, rebuild their characters."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from clamp3.data.patch_pack import PatchPack, check_problems, list_symbolic, open_pack
from clamp3.data.splits import split
from clamp3.errors import ConfigError
from clamp3.models.m3 import M3Model
from clamp3.models.towers import masked_mean
from clamp3.training.batches import epoch_batches
from clamp3.training.build import m3_model
from clamp3.training.config import M3Training
from clamp3.training.loading import shares
from clamp3.training.measures import dimensions
from clamp3.training.pair_data import EVALUATION, M3Dataset, collate_m3
from clamp3.training.ranks import main_first

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)


def n_characters(patches: Tensor, selected: Tensor) -> Tensor:
    """Return how many characters the decoder is asked for: all but the first of a patch, pads left out.

    Parameters
    ----------
    patches : int tensor, shape (B, L, P)
    selected : bool tensor, shape (B, L)
        Which patches are decoded.
    """
    return (patches[selected][:, 1:] != 0).sum()


class M3Task:
    """Model, data and loss of a run; see `clamp3.training.task.Task`.

    It needs no gradient caching: nothing couples the pieces, so ``--accumulate`` does what that would.

    Parameters
    ----------
    config : M3Training
    model : M3Model
    train, evaluation : M3Dataset
        ``evaluation`` may be None.
    """

    def __init__(self, config: M3Training, model: M3Model, train: M3Dataset, evaluation: M3Dataset | None) -> None:
        self.config, self.module = config, model
        self.train_data, self.eval_data = train, evaluation
        self.collate = collate_m3

    @property
    def data_digest(self) -> str:
        """Which files these are, wherever they lie: a checksum of their lengths in order."""
        parts = [part for part in (self.train_data, self.eval_data) if part is not None]
        return "-".join(f"{zlib.crc32(part.lengths.tobytes()):08x}" for part in parts)

    def batches(self, epoch: int, rank: int, world_size: int) -> Sequence[np.ndarray]:
        """Return batches of pieces of like length; arguments as of `Task.batches`."""
        return epoch_batches(
            self.train_data.lengths, self.config.batch_size, epoch=epoch, seed=self.config.seed, rank=rank,
            world_size=world_size, bucket=True,
        )  # fmt: skip

    def train(self) -> None:
        """Turn dropout on."""
        self.module.train()

    def loss(self, wrapped: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean loss per character of the global batch (its share with several ranks); see `Task.loss`."""
        loss = wrapped(batch["patches"], batch["mask"], batch["selected"], batch["corrupted"])
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            world_size = torch.distributed.get_world_size()
            mine = n_characters(batch["patches"], batch["selected"]).to(loss.dtype)
            total = mine.clone()
            torch.distributed.all_reduce(total)
            loss = loss * (mine * world_size / total.clamp(min=1))
        return loss, {"patches": batch["mask"].sum()}

    @torch.no_grad()
    def evaluate(self, accelerator: Accelerator, poll: Callable[[], None]) -> dict[str, float]:
        """Return the mean loss per character with nothing corrupted, as released; see `Task`.

        ``dimensions`` says over how many directions the pieces' mean vectors spread: near 1 the encoder has
        collapsed, and what the loss shows is the decoder alone.
        """
        from accelerate.utils import gather_object

        data = self.eval_data
        if data is None or not len(data):
            return {}
        self.module.eval()
        order = sorted(range(len(data)), key=lambda index: data.lengths[index])
        size = self.config.batch_size
        groups = [order[at : at + size] for at in range(0, len(order), size)]
        vectors: list[Tensor] = []
        total, n_decoded = 0.0, 0  # not on the device: MPS has no float64
        for group in shares(groups, accelerator, poll):
            batch = self.collate([data[EVALUATION, index] for index in group])
            batch = {name: value.to(accelerator.device) for name, value in batch.items()}
            count = int(n_characters(batch["patches"], batch["selected"]))
            loss = self.module(batch["patches"], batch["mask"], batch["selected"], batch["corrupted"])
            total, n_decoded = total + float(loss) * count, n_decoded + count
            with accelerator.autocast():
                hidden = self.module.encoder(batch["corrupted"], batch["mask"])
            vectors.append(masked_mean(hidden.float(), batch["mask"]).cpu())
        sums = gather_object([(total, n_decoded)])
        mean = sum(part for part, _ in sums) / max(sum(count for _, count in sums), 1)
        return {"loss": mean, "dimensions": dimensions(torch.cat(gather_object(vectors)))}

    def export(self, path: Path, info: dict[str, Any]) -> None:
        """Write the model as safetensors; arguments as of `Task.export`."""
        from clamp3.models.weights import save_safetensors

        save_safetensors(self.module, self.module.config, path, info=info)


def _usable(pack: PatchPack, indices: Sequence[int]) -> list[int]:
    return [index for index in indices if index not in pack.problems]


def make_m3_task(config: M3Training, accelerator: Accelerator) -> M3Task:
    """Read the data and build the model of an M3 run.

    Parameters
    ----------
    config : M3Training
    accelerator : Accelerator
        One rank packs the data, the others wait.

    Raises
    ------
    ConfigError
        If no folder is named.
    DataError
        If there are no files, or too many that cannot be used.
    """
    if not config.data:
        raise ConfigError("Name the training data: --data FOLDER (or M3_TRAIN_FOLDERS in code/config.py).")
    train_files, eval_files = list_symbolic(config.data), list_symbolic(config.eval_data)
    paths = train_files + [path for path in eval_files if path not in set(train_files)]
    check_problems([], len(train_files), config.max_bad)
    pack = main_first(accelerator, lambda: open_pack(paths, config.pack or config.out / "pack"))
    check_problems(list(pack.problems.values()), len(paths), config.max_bad)
    if eval_files:
        named = set(eval_files)
        train, evaluation = (
            [i for i, p in enumerate(paths) if p not in named],
            [i for i, p in enumerate(paths) if p in named],
        )
    else:
        # Renderings of one piece share a stem and stay in one part.
        train, evaluation = split([path.stem for path in paths], config.eval_split)
    train, evaluation = _usable(pack, train), _usable(pack, evaluation)
    check_problems([], len(train), config.max_bad)
    if accelerator.is_main_process:
        logger.info("M3: %d training files, %d evaluation files", len(train), len(evaluation))

    model = m3_model(config)

    def dataset(files: list[int], decode_limit: int) -> M3Dataset:
        return M3Dataset(
            pack,
            files,
            limit=min(config.crop_length, model.config.encoder.max_length),
            mask_ratio=config.mask_ratio,
            decode_limit=decode_limit,
            seed=config.seed,
        )

    train_data = dataset(train, config.decode_limit)
    return M3Task(config, model, train_data, dataset(evaluation, 0) if evaluation else None)
