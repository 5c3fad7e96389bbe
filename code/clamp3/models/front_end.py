"""The learned front end of checkpoints with ``front_end: mel``: log-mel chunks to vectors of the audio tower.

After HTCL's audio encoder (Pan et al., arXiv 2505.23298): strided convolutions with LayerNorm and GELU, a mean over
time, a linear layer. Nothing reaches beyond a chunk, so a chunk's vector depends on no other chunk and no other file.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clamp3.models.config import FrontEndConfig


class MelFrontEnd(nn.Module):
    """Turn (B, T, n_frames * n_bins) rows of `clamp3.formats.mel.log_mel` into (B, T, D) vectors.

    Parameters
    ----------
    config : FrontEndConfig
        Of kind mel.
    width : int
        D, width of the audio tower.
    """

    def __init__(self, config: FrontEndConfig, width: int) -> None:
        super().__init__()
        self.n_frames, self.n_bins = config.n_frames, config.n_bins
        widths = [config.n_bins, *[config.channels] * len(config.kernels)]
        self.convs = nn.ModuleList(
            nn.Conv1d(widths[i], widths[i + 1], kernel, stride=stride, padding=kernel // 2)
            for i, (kernel, stride) in enumerate(zip(config.kernels, config.strides, strict=True))
        )
        self.norms = nn.ModuleList(nn.LayerNorm(config.channels) for _ in config.kernels)
        self.output = nn.Linear(config.channels, width)

    @torch.no_grad()
    def draw(self, generator: torch.Generator | None = None) -> None:
        """Draw the convolutions' weights so that signals keep their size; modules on the meta device are left alone."""
        for conv in cast("list[nn.Conv1d]", list(self.convs)):
            if not conv.weight.is_meta:
                conv.weight.normal_(std=1 / math.sqrt(conv.in_channels * conv.kernel_size[0]), generator=generator)
                if conv.bias is not None:
                    conv.bias.zero_()

    def forward(self, chunks: Tensor) -> Tensor:
        """Return (B, T, D) vectors of (B, T, n_frames * n_bins) chunks."""
        frames = chunks.reshape(-1, self.n_frames, self.n_bins)  # (B*T, F, bins)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            frames = F.gelu(norm(conv(frames.transpose(1, 2)).transpose(1, 2)))  # (B*T, F', C)
        return self.output(frames.mean(1)).unflatten(0, chunks.shape[:2])
