"""The gradient of a large batch in the memory of a small one (gradient caching).

Gao et al., "Scaling deep contrastive learning batch size under memory limited setup", arXiv 2101.06983: the loss
couples the pieces of a batch only through their vectors, so a batch is embedded in chunks without a graph, the
gradient of the loss with respect to the vectors is taken, and the chunks are embedded again, one at a time, to
carry it on to the weights. Twice the forward passes; the memory of one chunk; the gradient of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from clamp3.training.checkpoint import rng_state, set_rng_state

Vectors = dict[str, Tensor]


def chunks(batch: dict[str, Tensor], size: int) -> list[dict[str, Tensor]]:
    """Cut every tensor of a batch into parts of ``size`` rows.

    Parameters
    ----------
    batch : dict of str to Tensor
    size : int
    """
    n_rows = len(next(iter(batch.values())))
    return [{name: value[at : at + size] for name, value in batch.items()} for at in range(0, n_rows, size)]


def cached_backward(
    embed: Callable[[dict[str, Tensor]], Vectors],
    compare: Callable[[Vectors], tuple[Tensor, dict[str, Tensor]]],
    parts: list[dict[str, Tensor]],
    backward: Callable[[Tensor], None],
) -> tuple[Tensor, dict[str, Tensor]]:
    """Add the gradient of a whole batch's loss to the parameters, one chunk in memory at a time.

    Parameters
    ----------
    embed : callable
        Returns the vectors of a chunk by name, each (n, D). Dropout is drawn alike both times.
    compare : callable
        Returns loss and measures from the vectors of the whole batch. Called once; what it learns of its own
        gets its gradient too.
    parts : list of dict
        The batch in chunks.
    backward : callable
        Calls ``backward`` on a loss, scaled as the precision needs it.

    Returns
    -------
    tuple
        What ``compare`` returned.
    """
    states, found = [], []
    for part in parts:
        states.append(rng_state())
        with torch.no_grad():
            found.append(embed(part))
    vectors = {name: torch.cat([part[name] for part in found]).requires_grad_() for name in found[0]}
    loss, measures = compare(vectors)
    backward(loss)
    after, at = rng_state(), 0
    for part, state in zip(parts, states, strict=True):
        set_rng_state(state)
        again = embed(part)
        n_rows = len(next(iter(again.values())))
        gradients = {name: grad for name in again if (grad := vectors[name].grad) is not None}
        learned = [name for name in gradients if again[name].requires_grad]
        torch.autograd.backward(
            [again[name] for name in learned], [gradients[name][at : at + n_rows] for name in learned]
        )
        at += n_rows
    set_rng_state(after)
    return loss.detach(), measures


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its mean over all ranks; where no rank has one there is still none.

    For steps that went round DistributedDataParallel: several backward passes, of which some may miss a tower.
    """
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        return
    parameters = list(parameters)
    device = parameters[0].device
    present = torch.tensor([p.grad is not None for p in parameters], dtype=torch.int32, device=device)
    torch.distributed.all_reduce(present)
    learned = [p for p, n in zip(parameters, present.tolist(), strict=True) if n]
    for parameter in learned:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    for bucket in _buckets(learned):
        flat = torch.cat([p.grad.reshape(-1) for p in bucket if p.grad is not None])
        torch.distributed.all_reduce(flat)
        flat /= torch.distributed.get_world_size()
        parts = flat.split([p.numel() for p in bucket])
        for parameter, part in zip(bucket, parts, strict=True):
            assert parameter.grad is not None
            parameter.grad.copy_(part.view_as(parameter))


def _buckets(parameters: list[nn.Parameter], limit: int = 2**23) -> list[list[nn.Parameter]]:
    """Group parameters of one type up to a number of values, so that small ones travel together."""
    buckets: list[list[nn.Parameter]] = []
    size = 0
    for parameter in parameters:
        if not buckets or size + parameter.numel() > limit or buckets[-1][0].dtype != parameter.dtype:
            buckets.append([])
            size = 0
        buckets[-1].append(parameter)
        size += parameter.numel()
    return buckets
