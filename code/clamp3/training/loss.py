"""Losses over pairs: CLaMP 3's symmetric cross-entropy over raw dot products, and two options beside it.

The published loss neither normalises nor scales: the length of the vectors acts as the temperature
(sanderwood/clamp3 ``code/utils.py`` lines 24-136, ``config.py`` line 55).

With several ranks each one holds n of the N pairs. It gathers the vectors of all and compares its own n rows
with all N columns, in both directions: n x N logits in place of N x N, and together the same loss and gradient.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clamp3.errors import DataError

MAX_SCALE = 100.0  # CLIP's limit of the learned scale (arXiv 2103.00020, section 2.5)


def world() -> tuple[int, int]:
    """Return (rank, world size) of this process; (0, 1) outside torch.distributed."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


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
        torch.distributed.all_reduce(total)  # every rank's loss depends on the vectors of all
        start = torch.distributed.get_rank() * ctx.rows
        return total[start : start + ctx.rows]


def gather_with_gradient(local: Tensor) -> Tensor:
    """Return the rows of all ranks in rank order, shape (W * B, D); the input itself with one process.

    The gradient each rank gets is that of the sum of all ranks' losses, hence W times that of their mean, the
    full-batch loss; the averaging of DistributedDataParallel divides by W: parameters move as in one process.
    """
    if world()[1] == 1:
        return local
    if torch.is_grad_enabled() and not local.requires_grad:
        local = local.detach().requires_grad_()  # every rank must take part in the exchange of the backward pass
    return _GatherWithGradient.apply(local)


def of_all_ranks(here: Tensor, device: torch.device) -> Tensor:
    """Return rows of truth values of all ranks in rank order, on the CPU: one wait for the device, with one rank none.

    Parameters
    ----------
    here : bool tensor, shape (B, ...)
        This rank's, on the CPU.
    device : device
        What the ranks exchange lies there.
    """
    if world()[1] == 1:
        return here
    with torch.no_grad():
        return gather_with_gradient(here.to(device, torch.uint8)).cpu().bool()


def own_rows(present: Tensor) -> slice:
    """Return where this rank's rows lie among those present, of all ranks' rows in rank order.

    Parameters
    ----------
    present : bool tensor, shape (W * B,)
        Which of the gathered rows take part.
    """
    rank, world_size = world()
    share = len(present) // world_size
    start = int(present[: rank * share].sum())
    return slice(start, start + int(present[rank * share : (rank + 1) * share].sum()))


def contrastive_loss(
    text: Tensor,
    music: Tensor,
    *,
    logit_scale: float | Tensor = 1.0,
    own: slice | None = None,
    left_out: Tensor | None = None,
) -> Tensor:
    """Return the mean of the text → music and music → text cross-entropies.

    Parameters
    ----------
    text, music : float tensor, shape (N, D)
        Row i of both is one pair; every other row is a negative. Taken as they are, not normalised.
    logit_scale : float or tensor of shape ()
        Factor on the dot products.
    own : slice, optional
        This rank's pairs (`own_rows`), all by default. The loss is then its share: the mean over ranks is the loss
        of the whole batch.
    left_out : bool tensor, shape (N, N), optional
        Combinations of a text (row) and music (column) that are no negatives, though no pair; False on the diagonal.

    Returns
    -------
    float32 tensor, shape ()

    Raises
    ------
    DataError
        If the shapes differ or there is no pair.
    """
    mine, target = _own(text, music, own)
    text, music = text.float(), music.float()
    there = logit_scale * text[mine] @ music.T  # (n, N)
    back = logit_scale * music[mine] @ text.T  # (n, N)
    if left_out is not None:
        there = there.masked_fill(left_out[mine], -torch.inf)
        back = back.masked_fill(left_out.T[mine], -torch.inf)
    total = F.cross_entropy(there, target, reduction="sum") + F.cross_entropy(back, target, reduction="sum")
    return total / 2 * _share(len(text), own)


def sigmoid_loss(
    text: Tensor,
    music: Tensor,
    *,
    logit_scale: Tensor,
    bias: Tensor,
    own: slice | None = None,
    left_out: Tensor | None = None,
) -> Tensor:
    """Return the binary cross-entropy of "are these a pair?", summed over all combinations, per pair.

    Parameters
    ----------
    text, music : float tensor, shape (N, D)
        Of length 1.
    logit_scale, bias : tensor, shape ()
    own, left_out
        See `contrastive_loss`.

    References
    ----------
    Zhai et al., "Sigmoid loss for language image pre-training", arXiv 2303.15343, algorithm 1.
    """
    mine, target = _own(text, music, own)
    logits = logit_scale * text[mine].float() @ music.float().T + bias  # (n, N)
    signs = torch.full_like(logits, -1.0).scatter_(1, target[:, None], 1.0)
    found = F.logsigmoid(signs * logits)
    if left_out is not None:
        found = found.masked_fill(left_out[mine], 0)
    return -found.sum() * _share(len(text), own)


def _own(text: Tensor, music: Tensor, own: slice | None) -> tuple[slice, Tensor]:
    """Return this rank's rows, and the column of the partner of each."""
    if text.shape != music.shape or text.dim() != 2 or len(text) == 0:
        raise DataError(f"Text and music need the same shape (B, D), got {tuple(text.shape)} and {tuple(music.shape)}.")
    own = own or slice(0, len(text))
    return own, torch.arange(own.start, own.stop, device=text.device)


def _share(n_pairs: int, own: slice | None) -> float:
    """Return the factor that makes a sum over own rows a share whose mean over ranks is the mean over all pairs."""
    return (world()[1] if own else 1) / n_pairs


class Objective(nn.Module):
    """A loss with what it learns of its own.

    Parameters
    ----------
    kind : {"infonce", "cosine", "sigmoid"}
        ``infonce``: the published loss, `contrastive_loss` on vectors as they are; nothing is learned here.
        ``cosine``: `contrastive_loss` on vectors of length 1 with a learned scale, at first 1 / 0.07 and at most 100
        (CLIP, arXiv 2103.00020). ``sigmoid``: `sigmoid_loss` on vectors of length 1 with a learned scale, at first 10,
        and a learned bias, at first -10 (SigLIP, arXiv 2303.15343).
    logit_scale : float
        Constant scale of ``infonce``.
    start_scale, start_bias : float, optional
        Where those that are learned start, in place of the published values.
    """

    def __init__(
        self,
        kind: str = "infonce",
        logit_scale: float = 1.0,
        *,
        start_scale: float | None = None,
        start_bias: float | None = None,
    ) -> None:
        super().__init__()
        self.kind, self.logit_scale = kind, logit_scale
        if kind != "infonce":
            published = 10.0 if kind == "sigmoid" else 1 / 0.07
            self.log_scale = nn.Parameter(torch.tensor(math.log(published if start_scale is None else start_scale)))
        if kind == "sigmoid":
            self.bias = nn.Parameter(torch.tensor(-10.0 if start_bias is None else start_bias))

    def learned(self) -> dict[str, Tensor]:
        """Return what is learned, by name: ``scale``, and ``bias`` of the sigmoid loss."""
        found = (
            {} if self.kind == "infonce" else {"scale": self.log_scale.detach().clamp(max=math.log(MAX_SCALE)).exp()}
        )
        return found | ({"bias": self.bias.detach()} if self.kind == "sigmoid" else {})

    def forward(self, text: Tensor, music: Tensor, own: slice | None = None, left_out: Tensor | None = None) -> Tensor:
        """Return the loss of a batch, or of this rank's rows of it; see `contrastive_loss`."""
        if self.kind == "infonce":
            return contrastive_loss(text, music, logit_scale=self.logit_scale, own=own, left_out=left_out)
        text, music = F.normalize(text.float(), dim=1), F.normalize(music.float(), dim=1)
        with torch.no_grad():  # on the value, not in the graph: a clamped scale must be able to fall again
            self.log_scale.clamp_(max=math.log(MAX_SCALE))
        if self.kind == "cosine":
            return contrastive_loss(text, music, logit_scale=self.log_scale.exp(), own=own, left_out=left_out)
        return sigmoid_loss(text, music, logit_scale=self.log_scale.exp(), bias=self.bias, own=own, left_out=left_out)
