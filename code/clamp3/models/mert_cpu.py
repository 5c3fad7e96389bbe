"""MERT's convolutions in the forms that suit a CPU: the same numbers to 1e-5, in fewer and cheaper operations.

With rows of (time, channels) a strided convolution is two matrix products without copies. The group norm after the
first convolution, which has one channel in, follows from the mean and covariance of ten samples. The convolution over
positions, 128 taps wide, costs a sixth as a product of spectra.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clamp3.models.packed import FrozenLinear, pack


def suit_cpu(network: Any, dtype: torch.dtype = torch.float32) -> None:
    """Give a HuBERT in eval mode its type, and replace the layers whose forms are known; others are left as they are.

    Parameters
    ----------
    network : HubertModel
        float32, on the CPU; changed in place.
    dtype : torch.dtype
        Of its arithmetic.
    """
    positions = network.encoder.pos_conv_embed
    if PositionsByFourier.fits(positions):
        network.encoder.pos_conv_embed = PositionsByFourier(positions)  # from float32 weights whatever the type
    network.to(dtype)
    if ConvolutionsAsProducts.fits(network.feature_extractor):
        network.feature_extractor = ConvolutionsAsProducts(network.feature_extractor)
    for layer in network.encoder.layers:
        wide = layer.feed_forward
        if type(wide.intermediate_act_fn).__name__ == "GELUActivation":
            dense = wide.intermediate_dense
            wide.intermediate_dense = FrozenLinear(dense.weight, dense.bias, gelu=True)
            wide.intermediate_act_fn = nn.Identity()
    pack(network)


class ConvolutionsAsProducts(nn.Module):
    """Replace transformers' ``HubertFeatureEncoder`` of an architecture with group norm and without biases.

    Parameters
    ----------
    encoder : HubertFeatureEncoder
        Whose weights are taken over.
    """

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        layers = list(encoder.conv_layers)
        first = layers[0].conv
        self.taps, self.stride = first.weight.detach()[:, 0].T.contiguous(), first.stride[0]  # (K, C)
        self.norm = layers[0].layer_norm
        self.others = [StridedProduct(layer.conv.weight, layer.conv.stride[0]) for layer in layers[1:]]

    @staticmethod
    def fits(encoder: Any) -> bool:
        """Whether the layers are such as are computed here."""
        layers = list(encoder.conv_layers)
        norms = [isinstance(getattr(layer, "layer_norm", None), nn.GroupNorm) for layer in layers]
        kernels = [(layer.conv.kernel_size[0], layer.conv.stride[0]) for layer in layers]
        return (
            norms == [True, *[False] * (len(layers) - 1)]
            and all(stride <= kernel <= 2 * stride for kernel, stride in kernels)
            and all(layer.conv.bias is None for layer in layers)
            and all(type(layer.activation).__name__ == "GELUActivation" for layer in layers)
        )

    def forward(self, samples: Tensor) -> Tensor:
        """Return (B, C, T) features of (B, N) samples."""
        return torch.stack([self._one(row) for row in samples]).transpose(1, 2)

    def _one(self, samples: Tensor) -> Tensor:
        """Return (T, C) features of one chunk, shape (N,)."""
        rows = torch.ops.aten.gelu_(self._first(samples))  # in place: up to 50 MB each
        for product in self.others:
            rows = torch.ops.aten.gelu_(product(rows))
        return rows

    def _first(self, samples: Tensor) -> Tensor:
        """Return the first convolution after its group norm, (T, C)."""
        taps = self.taps
        patches = samples.unfold(0, len(taps), self.stride).contiguous()  # (T, K)
        exact = patches.double()
        centre = exact.mean(0)
        covariance = exact.T @ exact / len(exact) - torch.outer(centre, centre)
        weights = taps.double()
        spread = ((covariance @ weights) * weights).sum(0).clamp_min(0)  # variance of each channel
        scale = self.norm.weight.double() * (spread + self.norm.eps).rsqrt()
        shift = self.norm.bias.double() - centre @ weights * scale
        return torch.addmm(shift.to(samples.dtype), patches, (weights * scale).to(samples.dtype))


class PositionsByFourier(nn.Module):
    """Replace transformers' ``HubertPositionalConvEmbedding``, its weight norm multiplied out.

    Parameters
    ----------
    positions : HubertPositionalConvEmbedding
        Whose weights are taken over.
    """

    def __init__(self, positions: Any) -> None:
        super().__init__()
        self._weight = positions.conv.weight.detach().float()  # (D, D / groups, K)
        self._bias = positions.conv.bias.detach().float()
        self._groups, self._padding = positions.conv.groups, positions.conv.padding[0]
        self._spectra: dict[int, Tensor] = {}

    @staticmethod
    def fits(positions: Any) -> bool:
        """Whether the layer is one that is computed here."""
        return positions.batch_norm is None and type(positions.activation).__name__ == "GELUActivation"

    def forward(self, hidden: Tensor) -> Tensor:
        """Return (B, T, D) position embeddings of (B, T, D) hidden states; computed in float32."""
        n_items, n_steps, width = hidden.shape
        size = 1 << (n_steps + self._weight.shape[2] - 2).bit_length()  # no sum wraps around
        padded = F.pad(hidden.float().transpose(1, 2), (self._padding, size - n_steps - self._padding))
        spectrum = torch.fft.rfft(padded).view(n_items, self._groups, width // self._groups, -1)
        inputs = spectrum.permute(3, 1, 2, 0).flatten(0, 1)  # (frequencies * groups, D / groups, B)
        outputs = torch.bmm(self._spectrum(size), inputs).view(size // 2 + 1, width, n_items)
        moved = torch.fft.irfft(outputs.permute(2, 1, 0), n=size)[..., :n_steps] + self._bias[:, None]
        return F.gelu(moved).transpose(1, 2).to(hidden.dtype)

    def _spectrum(self, size: int) -> Tensor:
        """Return the conjugate spectra of the taps, (frequencies * groups, outputs, inputs), kept for each size."""
        if size not in self._spectra:
            spectra = torch.fft.rfft(self._weight.unflatten(0, (self._groups, -1)), n=size)
            torch.view_as_real(spectra)[..., 1].neg_()  # 75 MB at the published size, hence in place
            self._spectra[size] = spectra.permute(3, 0, 1, 2).flatten(0, 1).contiguous()
        return self._spectra[size]


class StridedProduct:
    """A convolution of rows as matrix products: what a step covers, plus what a window has beyond it.

    Parameters
    ----------
    weight : Tensor, shape (D, C, K)
        Of a convolution without bias.
    stride : int
        At most K, and at least half of it.
    """

    def __init__(self, weight: Tensor, stride: int) -> None:
        width, n_channels, self._n_taps = weight.shape
        self._stride, self._step = stride, stride * n_channels
        self._n_far = (self._n_taps - stride) * n_channels
        taps = weight.detach().transpose(1, 2).reshape(width, -1)  # (D, K * C)
        self._near = FrozenLinear(taps[:, : self._step].contiguous())
        self._far = FrozenLinear(taps[:, self._step :].contiguous()) if self._n_far else None

    def __call__(self, rows: Tensor) -> Tensor:
        """Return (T, D) of contiguous (L, C) rows."""
        n_out = (len(rows) - self._n_taps) // self._stride + 1
        near = rows.as_strided((n_out, self._step), (self._step, 1), rows.storage_offset())
        if self._far is None:
            return self._near(near)
        far = rows.as_strided((n_out, self._n_far), (self._step, 1), rows.storage_offset() + self._step)
        return self._far.plus(far, self._near(near))
