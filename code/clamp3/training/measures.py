"""What evaluation reports besides the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from clamp3.index.ties import precedes

if TYPE_CHECKING:
    from accelerate import Accelerator

CHUNK = 1024  # queries ranked at a time, so that memory grows with N and not with its square


@torch.no_grad()
def ranks(query: Tensor, reference: Tensor, own: slice | None = None) -> Tensor:
    """Return the rank of row i of ``reference`` for row i of ``query``.

    Parameters
    ----------
    query, reference : float tensor, shape (N, E)
        Row i of both belongs together.
    own : slice, optional
        Queries to rank, all by default.

    Returns
    -------
    int64 tensor, shape (n,)
        By cosine, from 1; ties count against the query (`clamp3.index.ties`), so among equal vectors every rank is N.
    """
    own = own or slice(0, len(query))
    query, reference = nn.functional.normalize(query.float(), dim=1), nn.functional.normalize(reference.float(), dim=1)
    right = (query * reference).sum(1)  # (N,)
    found = [right.new_zeros(0, dtype=torch.int64)]
    for at in range(own.start, own.stop, CHUNK):
        part = slice(at, min(at + CHUNK, own.stop))
        scores = query[part] @ reference.T  # (n, N)
        scores.diagonal(part.start).copy_(right[part])
        found.append(precedes(scores, right[part, None]).sum(1))
    return torch.cat(found)


def mean_reciprocal_rank(query: Tensor, reference: Tensor) -> Tensor:
    """Return the mean of 1 / rank, with arguments as of `ranks`; equal vectors score 1 / N."""
    return (1 / ranks(query, reference)).mean()


def shared_reciprocal_rank(query: Tensor, reference: Tensor, accelerator: Accelerator) -> float:
    """Return `mean_reciprocal_rank`, each rank having ranked its share of the queries on its device.

    Parameters
    ----------
    query, reference : float tensor, shape (N, E)
        The same on every rank.
    accelerator : Accelerator
    """
    from accelerate.utils import gather_object

    rank, n_ranks, device = accelerator.process_index, accelerator.num_processes, accelerator.device
    own = slice(rank * len(query) // n_ranks, (rank + 1) * len(query) // n_ranks)
    found = ranks(query.to(device), reference.to(device), own).cpu()
    parts = gather_object([float((1 / found.double()).sum())])
    return float(sum(parts) / len(query))


@torch.no_grad()
def dimensions(vectors: Tensor) -> float:
    """Return over how many directions vectors (N, D) spread: the participation ratio of their covariance.

    ``(sum of eigenvalues) ** 2 / sum of squared eigenvalues``: D for a round cloud, 1 for a line, 0 for one point.
    A value near 1 during training means that a tower has collapsed; lower the rate or lengthen the warm-up.
    """
    if len(vectors) < 2:
        return 0.0
    centred = (vectors - vectors.mean(0)).double()
    covariance = centred.T @ centred / len(centred)  # (D, D)
    squares = float((covariance**2).sum())
    return float(covariance.trace()) ** 2 / squares if squares > 0 else 0.0
