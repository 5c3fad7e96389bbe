"""A frozen teacher, whose vectors those of a run are drawn to: the weights a run starts from, or another model's."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from clamp3.errors import ConfigError
from clamp3.training.build import crop_lengths
from clamp3.training.config import Clamp3Training
from clamp3.training.loss import gather_with_gradient, world
from clamp3.training.pair_encoder import PairEncoder


class Teacher:
    """A frozen model; no part of the run's module: it is neither trained nor saved, but made again by a resumed run.

    Parameters
    ----------
    encoder : PairEncoder
        Is copied.
    """

    def __init__(self, encoder: PairEncoder) -> None:
        self._encoder = copy.deepcopy(encoder).eval().requires_grad_(False)

    @torch.no_grad()
    def vectors(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return vectors (B, E) by view."""
        found: dict[str, Tensor] = self._encoder.to(next(iter(batch.values())).device)(batch)
        return found


def distance(mine: Tensor, theirs: Tensor, here: Tensor) -> Tensor:
    """Return this rank's share of the mean of 1 - cosine: its mean over ranks is the mean over all rows.

    Parameters
    ----------
    mine, theirs : Tensor, shape (B, E)
    here : bool tensor, shape (B,)
        Which rows count.
    """
    with torch.no_grad():
        n_rows = gather_with_gradient(here.sum()[None]).sum().clamp(min=1)
    apart = 1 - F.cosine_similarity(mine.float(), theirs.float(), dim=1)
    return torch.where(here, apart, 0.0).sum() * world()[1] / n_rows


def teacher_of(config: Clamp3Training, encoder: PairEncoder) -> Teacher:
    """Return the teacher of a run.

    Parameters
    ----------
    config : Clamp3Training
        ``teacher`` names it; else the encoder as it is teaches.
    encoder : PairEncoder
        What is to be trained.

    Raises
    ------
    ConfigError
        If the teacher cannot read what the run reads, or has vectors of another width.
    """
    if not config.teacher:
        return Teacher(encoder)
    from clamp3.models.weights import load_model

    lengths, student = crop_lengths(config, encoder.model), encoder.model.config
    loaded = load_model(config.teacher, tuple(lengths))
    model, sizes = loaded.model, loaded.config
    if sizes.hidden_size != student.hidden_size:
        raise ConfigError(
            f"--teacher {config.teacher} has vectors of {sizes.hidden_size} numbers, this model of "
            f"{student.hidden_size}; give it --hidden_size {sizes.hidden_size}."
        )
    for tower, length in lengths.items():
        if sizes.length(tower) < length:
            raise ConfigError(
                f"--teacher {config.teacher}: its {tower} tower takes {sizes.length(tower)} positions, this run crops "
                f"to {length}."
            )
    read = {"text": ("text.vocab_size", "text.pad_id"), "audio": ("feature_width",)}
    for what in (what for tower in lengths for what in read.get(tower, ())):
        ours, theirs = (_size(part, what) for part in (student, sizes))
        if ours != theirs:
            raise ConfigError(f"--teacher {config.teacher} reads other inputs: {what} {theirs}, not {ours}.")
    return Teacher(PairEncoder(model, frozen=tuple(lengths)))


def _size(config: object, name: str) -> object:
    for part in name.split("."):
        config = getattr(config, part, None)
    return config
