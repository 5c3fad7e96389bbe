"""The contrastive loss of CLaMP 3: symmetric cross-entropy over raw dot products.

No normalisation and a constant scale of 1: the length of the vectors acts as the temperature
(sanderwood/clamp3 ``code/utils.py`` lines 24-136, ``config.py`` line 55).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clamp3.errors import DataError


class _GatherWithGradient(torch.autograd.Function):
    """Concatenate equal-sized tensors of all ranks; the gradient returns to the rank that sent each row."""

    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        ctx.rows = local.shape[0]
        parts = [torch.empty_like(local) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(parts, local.contiguous())
        return torch.cat(parts)  # (W * B, D)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        torch.distributed.all_reduce(total)  # every rank holds the whole loss, so its gradients add up
        start = torch.distributed.get_rank() * ctx.rows
        return total[start : start + ctx.rows]


def gather_with_gradient(local: Tensor) -> Tensor:
    """Return the rows of all ranks in rank order, shape (W * B, D); the input itself with one process.

    The gradient each rank gets is W times that of the full-batch loss, which the averaging of
    DistributedDataParallel divides by W again: parameters move as in one process with the full batch.
    """
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    if not distributed or torch.distributed.get_world_size() == 1:
        return local
    return _GatherWithGradient.apply(local)


def contrastive_loss(text: Tensor, music: Tensor, *, logit_scale: float = 1.0) -> Tensor:
    """Return the mean of the text → music and music → text cross-entropies.

    Parameters
    ----------
    text, music : float tensor, shape (B, D)
        Row i of both is one pair; every other row is a negative. Taken as they are, not normalised.
    logit_scale : float
        Factor on the dot products.

    Returns
    -------
    float32 tensor, shape ()

    Raises
    ------
    DataError
        If the shapes differ or there is no pair.
    """
    if text.shape != music.shape or text.dim() != 2 or len(text) == 0:
        raise DataError(f"Text and music need the same shape (B, D), got {tuple(text.shape)} and {tuple(music.shape)}.")
    logits = logit_scale * text.float() @ music.float().T  # (B, B)
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
