"""Model and data of an alignment run, opened: what its tasks are made of."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clamp3.data.patch_pack import check_problems
from clamp3.data.record_store import Records, Store, Wanted, open_store
from clamp3.data.splits import split_hashes
from clamp3.data.views import towers_of
from clamp3.errors import ConfigError, DataError
from clamp3.training.build import alignment_model, crop_lengths, text_tokenizer
from clamp3.training.config import Clamp3Training
from clamp3.training.loss import Objective
from clamp3.training.mixing import MixedPairs
from clamp3.training.negatives import check_kinds
from clamp3.training.pair_data import PairDataset
from clamp3.training.pair_encoder import PairEncoder
from clamp3.training.presets import start_of_loss
from clamp3.training.ranks import main_first

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)

MIN_EVALUATION = 32  # pieces; ranks among fewer are mostly luck


@dataclass(frozen=True)
class Opened:
    """The model and the indexed records of a run.

    Attributes
    ----------
    encoder : PairEncoder
    stores : list of Store
        Of ``train_jsonl`` and every ``more_jsonl``.
    held_out : Store or None
        Of ``eval_jsonl``.
    dataset : callable
        From some of their records to items.
    text_model : str
        What names the tokenizer from anywhere.
    """

    encoder: PairEncoder
    stores: list[Store]
    held_out: Store | None
    dataset: Callable[[Records], PairDataset]
    text_model: str


def open_alignment(config: Clamp3Training, accelerator: Accelerator) -> Opened:
    """Build the model and index the records; arguments as of `clamp3.training.alignment.make_alignment_task`."""
    if config.train_jsonl is None:
        raise ConfigError("Name the training data: --train_jsonl FILE (or CLAMP3_TRAIN_JSONL in code/config.py).")
    paths = [config.train_jsonl, *config.more_jsonl]
    for path in (*paths, config.eval_jsonl):  # before weights are downloaded
        if path is not None and not path.is_file():
            raise DataError(f"{path} cannot be read: no such file.")
    model, frozen = alignment_model(config)
    pairs, towers = config.compared, towers_of(config.compared)
    text_model, tokenizer = text_tokenizer(config, model, needed="text" in towers)
    width: int = getattr(model.config, "feature_width", 0) if "audio" in towers else 0
    wanted = Wanted(pairs, width, config.texts, config.shards)
    stores = [_open(path, config, wanted, accelerator) for path in paths]
    held_out = _open(config.eval_jsonl, config, wanted, accelerator) if config.eval_jsonl else None
    encoder = PairEncoder(
        model,
        frozen=frozen,
        sub_batches=config.sub_batches,
        standardise=towers if config.standardise else (),
        objective=_objective(config),
        last_layers={tower: int(number) for tower, number in config.last_layers.items()},
    )
    limits = crop_lengths(config, model)

    check_kinds(config.label_kinds, (store.record(at) for store in stores for at in range(min(len(store), 1000))))

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
            mask=config.label_kinds,
        )

    return Opened(encoder, stores, held_out, dataset, text_model)


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


def parts_of(opened: Opened, config: Clamp3Training) -> list[PairDataset | MixedPairs]:
    """Return what is trained on and what is held out; a piece that is in several JSONLs is on one side.

    Parameters
    ----------
    opened : Opened
    config : Clamp3Training
        ``eval_split`` counts.
    """
    sizes = [len(store) for store in opened.stores]
    every = np.arange(sum(sizes), dtype=np.int32)
    if opened.held_out is not None:
        held_out = opened.dataset(Records(opened.held_out, np.arange(len(opened.held_out), dtype=np.int32)))
        chosen = [every]
    else:
        hashes = np.concatenate([store.hashes.all() for store in opened.stores])
        chosen = list(split_hashes(hashes, config.eval_split, least=MIN_EVALUATION))
    found: list[PairDataset | MixedPairs] = []
    for part in chosen:
        starts = np.cumsum([0, *sizes])
        cuts = np.split(part, np.searchsorted(part, starts[1:-1]))
        sets = [opened.dataset(Records(store, (cut - start).astype(np.int32)))
                for store, cut, start in zip(opened.stores, cuts, starts, strict=False)]  # fmt: skip
        found.append(sets[0] if len(sets) == 1 else MixedPairs(sets))
    return found if opened.held_out is None else [*found, held_out]
