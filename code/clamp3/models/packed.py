"""Frozen networks on a CPU: their matrix products by oneDNN, with weights laid out for it once.

torch hands float32 products to MKL, which on AMD processors reaches less than half of what oneDNN does with packed
weights; on Intel processors packing saves the copies that MKL makes in every call. In bfloat16 torch uses oneDNN
already, and packing spares it the same copies. Whether a layer is packed depends on the library and the type of its
numbers only, so that a machine always computes the same bits; sums run in another order than torch's, which changes
the last digits.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_TYPES = (torch.float32, torch.bfloat16)
_ROWS = 512  # positions that the layout is made for; any other number works


def can_pack(dtype: torch.dtype = torch.float32) -> bool:
    """Whether this build of torch has the operators, and oneDNN computes in ``dtype`` here."""
    return bool(
        dtype in _TYPES
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
        and all(hasattr(torch.ops.mkldnn, name) for name in ("_reorder_linear_weight", "_linear_pointwise"))
        and (dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )


class FrozenLinear(nn.Module):
    """A linear layer without gradients, on the CPU; from its second use its weight is kept in oneDNN's layout.

    Parameters
    ----------
    weight : Tensor, shape (n_outputs, n_inputs)
    bias : Tensor, shape (n_outputs,), optional
    gelu : bool
        Apply the exact GELU to the result, in the same pass over memory if packed.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, gelu: bool = False) -> None:
        super().__init__()
        # Plain attributes: a packed weight is no parameter that could be saved or trained.
        self._weight, self._bias = weight.detach(), None if bias is None else bias.detach()
        self._gelu, self._packable, self._used = gelu, can_pack(weight.dtype), False

    def forward(self, x: Tensor) -> Tensor:
        """Return (…, n_outputs) of (…, n_inputs)."""
        if not self._packable:
            out = F.linear(x, self._weight, self._bias)
            return F.gelu(out) if self._gelu else out
        activation, algorithm = ("gelu", "none") if self._gelu else ("none", "")
        product = torch.ops.mkldnn._linear_pointwise.default
        return cast(Tensor, product(x, self._laid_out(x), self._bias, activation, [], algorithm))

    def _laid_out(self, x: Tensor) -> Tensor:
        # Of several rows, oneDNN computes the same with a plain weight, laying it out as it goes; packing all weights
        # first would delay the first vector of a process, often its only one. (Threads may come here together.)
        weight = self._weight
        if (self._used or x.numel() == x.shape[-1]) and weight.layout is torch.strided:
            weight = self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS)
        self._used = True
        return weight

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """Return the product, without GELU, added to another tensor.

        Parameters
        ----------
        x : Tensor, shape (…, n_inputs)
        other : Tensor, shape (…, n_outputs)

        Returns
        -------
        Tensor, shape (…, n_outputs)
        """
        if not self._packable:
            return other + F.linear(x, self._weight, self._bias)
        return cast(Tensor, torch.ops.mkldnn._linear_pointwise.binary(x, other, self._laid_out(x), self._bias, "add"))


def pack(network: nn.Module, *, fused: tuple[type[nn.Module], ...] = ()) -> None:
    """Replace the linear layers of a frozen network on the CPU where that can be done; others stay.

    Parameters
    ----------
    network : Module
        In eval mode; changed in place.
    fused : tuple of type
        Modules that are a linear layer ``dense`` followed by a GELU; they become one operation.
    """
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            dense = child.dense if isinstance(child, fused) else child
            if type(dense) is nn.Linear and dense.weight.device.type == "cpu" and can_pack(dense.weight.dtype):
                setattr(parent, name, FrozenLinear(dense.weight, dense.bias, gelu=isinstance(child, fused)))
