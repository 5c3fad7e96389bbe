"""What evaluation reports besides the loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def mean_reciprocal_rank(query: Tensor, reference: Tensor) -> Tensor:
    """Return the mean of 1 / rank of row i of ``reference`` for row i of ``query``.

    Parameters
    ----------
    query, reference : float tensor, shape (N, E)
        Row i of both belongs together.

    Returns
    -------
    float tensor, shape ()
        By cosine; ranks start at 1 and ties count against the query, so equal vectors score 1 / N.
    """
    query, reference = nn.functional.normalize(query.float(), dim=1), nn.functional.normalize(reference.float(), dim=1)
    scores = query @ reference.T  # (N, N)
    return (1 / (scores >= scores.diagonal()[:, None]).sum(1)).mean()


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
