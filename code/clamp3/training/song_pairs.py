"""What the tasks that train on pairs of songs share: which pairs, parts for evaluation, and its measures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from clamp3.data.patch_pack import check_problems
from clamp3.data.songs import Songs, read_pairs
from clamp3.data.splits import split
from clamp3.training.measures import dimensions, mean_reciprocal_rank
from clamp3.training.song_loss import Fusing, HtclObjective

if TYPE_CHECKING:
    from clamp3.training.config import RunConfig


def song_pairs(train: Path, evaluation: Path | None, songs: Songs, config: RunConfig) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs (N, 2) of training and of evaluation.

    Without evaluation data they are split by the hash of both ids in either order, so that no pair is on both sides
    the other way round.

    Parameters
    ----------
    train, evaluation : Path
        Tables of pairs.
    songs : Songs
    config : RunConfig
        ``eval_split`` and ``max_bad`` count.

    Raises
    ------
    DataError, ConfigError
        If a table cannot be read, or too many of its rows cannot be used.
    """
    parts = []
    for path in (train, evaluation):
        if path is not None:
            pairs, problems = read_pairs(path, songs)
            check_problems(problems, len(pairs) + len(problems), config.max_bad)
            parts.append(pairs)
    if len(parts) == 2:
        return parts[0], parts[1]
    names = ["\n".join(sorted((songs.ids[one], songs.ids[other]))) for one, other in parts[0]]
    kept, held_out = split(names, config.eval_split)
    return parts[0][kept], parts[0][held_out]


@torch.no_grad()
def song_measures(
    objective: HtclObjective,
    model: Fusing,
    music: Tensor,
    text: Tensor,
    rows: Tensor,
    *,
    songs: Sequence[int],
    batch_size: int,
    seed: int,
    name: str = "audio",
) -> dict[str, float]:
    """Return the loss within batches, and MRRs over the whole set.

    Parameters
    ----------
    objective : HtclObjective
    model : Fusing
    music, text : Tensor, shape (N, E)
        Vectors of the distinct songs.
    rows : int64 tensor, shape (P, 1) or (P, 2)
        Songs, or pairs of songs.
    songs : sequence of int
        Numbers of the songs, for what is no negative.
    batch_size, seed : int
        Batches are drawn in a fixed random order.
    name : str
        Of the music, in the names of the measures.

    Returns
    -------
    dict
        ``loss`` and its terms; ``mrr_text_to_<name>`` and back rank the distinct songs, ``mrr_trigger_to_song`` the
        second songs of all pairs.
    """
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    numbers, device = torch.tensor(songs, dtype=torch.int64), next(objective.parameters()).device
    totals: dict[str, float] = {}
    for part in order.split(batch_size):
        places = rows[part].T.flatten()
        found = objective(
            model, music[places].to(device), text[places].to(device), songs=numbers[places].to(device), spread=False
        )
        for term, value in found.items():
            totals[term] = totals.get(term, 0.0) + float(value) * len(part) / len(rows)
    measures = {
        **totals,
        f"mrr_text_to_{name}": float(mean_reciprocal_rank(text, music)),
        f"mrr_{name}_to_text": float(mean_reciprocal_rank(music, text)),
        "dimensions": dimensions(music),
    }
    if rows.shape[1] == 2:
        measures["mrr_trigger_to_song"] = float(mean_reciprocal_rank(music[rows[:, 0]], music[rows[:, 1]]))
    return measures
