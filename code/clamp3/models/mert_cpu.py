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


def suit_cpu(network: Any) -> None:
    """Replace the convolutions of a HuBERT in eval mode where their forms are known, and leave them where not."""
    if ConvolutionsAsProducts.fits(network.feature_extractor):
        network.feature_extractor = ConvolutionsAsProducts(network.feature_extractor)
    if PositionsByFourier.fits(network.encoder.pos_conv_embed):
        network.encoder.pos_conv_embed = PositionsByFourier(network.encoder.pos_conv_embed)


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
        self.strides = [layer.conv.stride[0] for layer in layers]
        for place, layer in enumerate(layers):
            taps = layer.conv.weight.detach().permute(2, 1, 0).contiguous()  # (K, C in, C out)
            self.register_buffer(f"taps{place}", taps, persistent=False)
        self.norm = layers[0].layer_norm

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
        for place, stride in enumerate(self.strides[1:], start=1):
            rows = torch.ops.aten.gelu_(strided_product(rows, self.get_buffer(f"taps{place}"), stride))
        return rows

    def _first(self, samples: Tensor) -> Tensor:
        """Return the first convolution after its group norm, (T, C)."""
        taps = self.get_buffer("taps0")[:, 0]  # (K, C)
        patches = samples.unfold(0, len(taps), self.strides[0]).contiguous()  # (T, K)
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


def strided_product(rows: Tensor, taps: Tensor, stride: int) -> Tensor:
    """Return a convolution over time as one or two matrix products.

    Parameters
    ----------
    rows : Tensor, shape (L, C)
        Samples of C channels.
    taps : Tensor, shape (K, C, D)
        Kernel, with ``stride <= K <= 2 * stride``.
    stride : int

    Returns
    -------
    Tensor, shape (T, D)
    """
    n_taps, n_channels, width = taps.shape
    n_out = (len(rows) - n_taps) // stride + 1
    step = stride * n_channels
    near = rows.as_strided((n_out, step), (step, 1), rows.storage_offset())
    out = near @ taps[:stride].reshape(step, width)
    if n_taps > stride:
        n_far = (n_taps - stride) * n_channels
        far = rows.as_strided((n_out, n_far), (step, 1), rows.storage_offset() + step)
        out.addmm_(far, taps[stride:].reshape(n_far, width))
    return out
