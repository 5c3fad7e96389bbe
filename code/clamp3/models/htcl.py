"""HTCL: an audio and a text tower whose space also follows what listeners choose (Pan et al., arXiv 2505.23298).

Shapes: B batch, T positions, F mel bands of a frame, D width of an encoder, E of the joint space. State-dict names are
those of the published model; the perceptrons' dropout has the probability 0 there and is left out, so that their layers
are numbered 0, 3 and 6.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clamp3.models.bert import Bert, initialise
from clamp3.models.htcl_config import HtclAudioConfig, HtclConfig
from clamp3.models.towers import TowerModel, masked_mean


class _Convolutions(nn.Module):
    """Strided convolutions over time, each with layer norm and GELU."""

    def __init__(self, config: HtclAudioConfig) -> None:
        super().__init__()
        widths = [config.n_bins, *[config.channels] * len(config.kernels)]
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "1": nn.Conv1d(widths[i], widths[i + 1], kernel, stride=stride, bias=False),
                    "3": nn.LayerNorm(widths[i + 1], eps=config.layer_norm_eps),
                }
            )
            for i, (kernel, stride) in enumerate(zip(config.kernels, config.strides, strict=True))
        )

    def forward(self, frames: Tensor) -> Tensor:
        for layer in self.layers:
            parts = cast(nn.ModuleDict, layer)
            frames = F.gelu(parts["3"](parts["1"](frames.transpose(1, 2)).transpose(1, 2)))
        return frames


class _Projection(nn.Module):
    def __init__(self, config: HtclAudioConfig) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(config.channels, eps=config.layer_norm_eps)
        self.projection = nn.Linear(config.channels, config.width)

    def forward(self, frames: Tensor) -> Tensor:
        return cast(Tensor, self.projection(self.layer_norm(frames)))


class _Positions(nn.Module):
    """A wide convolution whose output stands for positions, after wav2vec 2.0, here with layer norm."""

    def __init__(self, config: HtclAudioConfig) -> None:
        super().__init__()
        kernel, groups = config.position_kernel, config.position_groups
        conv = nn.Conv1d(config.width, config.width, kernel, padding=kernel // 2, groups=groups)
        self.conv = nn.utils.parametrizations.weight_norm(conv, dim=2)
        self.layer_norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)

    def forward(self, hidden: Tensor) -> Tensor:
        return F.gelu(self.layer_norm(self.conv(hidden.transpose(1, 2)).transpose(1, 2)))


class HtclAudioEncoder(nn.Module):
    """The audio encoder: convolutions, positions, a learned vector in front, post-norm transformer layers.

    Parameters
    ----------
    config : HtclAudioConfig
        Sizes; weights are random as torch draws them, which is how the published model began.
    """

    def __init__(self, config: HtclAudioConfig) -> None:
        super().__init__()
        self.feature_extractor = _Convolutions(config)
        self.feature_projection = _Projection(config)
        self.pos_conv_embed = _Positions(config)
        self.layer_norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)
        layer = nn.TransformerEncoderLayer(
            config.width, config.n_heads, config.feed_forward, config.dropout, "gelu", config.layer_norm_eps, True
        )
        self.transformer_encoder = nn.TransformerEncoder(layer, config.n_layers, enable_nested_tensor=False)
        self.cls_token = nn.Parameter(torch.randn(1, 1, config.width))

    def forward(self, frames: Tensor) -> Tensor:
        """Return hidden states.

        Parameters
        ----------
        frames : Tensor, shape (B, ``n_frames``, F)
            Whole pieces, standardised.

        Returns
        -------
        Tensor, shape (B, ``n_positions``, D)
        """
        hidden = self.feature_projection(self.feature_extractor(frames))
        hidden = self.dropout(self.layer_norm(hidden + self.pos_conv_embed(hidden)))
        first = self.cls_token.to(hidden.dtype).expand(len(hidden), -1, -1)
        return cast(Tensor, self.transformer_encoder(torch.cat([first, hidden], dim=1)))


class Perceptron(nn.ModuleDict):
    """Three linear layers with ReLU between them; each computes in the type of its own weights."""

    def __init__(self, widths: tuple[int, int, int, int]) -> None:
        super().__init__({str(3 * i): nn.Linear(widths[i], widths[i + 1]) for i in range(3)})

    def forward(self, vectors: Tensor) -> Tensor:
        """Return (B, E) of (B, D)."""
        for name, layer in self.items():
            linear = cast(nn.Linear, layer)
            vectors = linear(vectors.to(linear.weight.dtype))
            vectors = vectors if name == "6" else F.relu(vectors)
        return vectors


class HtclModel(TowerModel):
    """Towers, heads and fusion; what the configuration lacks is not built.

    Parameters
    ----------
    config : HtclConfig

    Attributes
    ----------
    text_model, audio_model : Module
        Encoders.
    text_mlp, audio_mlp, fusion_mlp : Perceptron
        From an encoder's width D over D / 2 and D / 4 to E; from 2 E over 2 E and E to E.
    """

    config: HtclConfig

    def __init__(self, config: HtclConfig) -> None:
        super().__init__()
        self.config = config
        if config.audio is not None:
            self.audio_model = HtclAudioEncoder(config.audio)
        if config.text is not None:
            self.text_model = Bert(config.text)
            initialise(self.text_model)
        size = config.hidden_size
        for name in config.towers if config.heads else ():
            width: int = getattr(config, name).width
            self.add_module(f"{name}_mlp", Perceptron((width, width // 2, width // 4, size)))
        if config.fusion:
            self.fusion_mlp = Perceptron((2 * size, 2 * size, size, size))

    def encode(self, modality: str, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the hidden states of a tower.

        Parameters
        ----------
        modality : {"text", "audio"}
        inputs : Tensor
            Token ids (B, T, long), or frames (B, T, F) between two vectors that do not count, as
            `clamp3.modalities.audio.Audio` prepares them. Where they are fewer than the model reads, as in passages,
            they are filled up with the lowest value and standardised, as a short recording is.
        mask : Tensor, shape (B, T), bool, optional
            True where there is an input.

        Returns
        -------
        Tensor, shape (B, T', D)
            Of audio, ``config.audio.n_positions`` hidden states without padding.
        """
        self.config.length(modality)  # an absent tower is an error that lists those there are
        if modality == "text":
            return cast(Tensor, self.text_model(input_ids=inputs, attention_mask=mask))
        return cast(Tensor, self.audio_model(self._whole(inputs, mask)))

    def _whole(self, inputs: Tensor, mask: Tensor | None) -> Tensor:
        """Return (B, ``n_frames``, F) frames without what wraps them."""
        assert self.config.audio is not None
        frames, n_frames = inputs[:, 1:-1], self.config.audio.n_frames
        there = torch.ones(frames.shape[:2], dtype=torch.bool, device=frames.device) if mask is None else mask[:, 2:]
        if frames.shape[1] == n_frames and (mask is None or bool(mask.all())):
            return frames
        low = frames.masked_fill(~there[..., None], torch.inf).amin((1, 2), keepdim=True)
        filled = torch.where(there[..., None], frames, low)
        missing = n_frames - frames.shape[1]
        filled = torch.cat([filled, low.expand(-1, missing, frames.shape[2])], dim=1).float()
        standard = (filled - filled.mean((1, 2), keepdim=True)) / (filled.std((1, 2), False, keepdim=True) + 1e-8)
        complete = (there.sum(1) == n_frames)[:, None, None]
        return torch.where(complete, filled, standard).to(inputs.dtype)

    def pool(self, modality: str, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return vectors of the joint space: of text BERT's pooled first position, of audio the mean of all.

        Parameters
        ----------
        modality : {"text", "audio"}
        hidden : Tensor, shape (B, T', D)
            As `encode` returns them.
        mask : Tensor, shape (B, T), bool, optional
            Not needed: audio has no padding left, and text is known by its first position.

        Returns
        -------
        Tensor, shape (B, E)
        """
        if modality == "text":
            dense = self.text_model.pooler.dense
            pooled = torch.tanh(dense(hidden[:, 0].to(dense.weight.dtype)))
        else:
            pooled = masked_mean(hidden, None)
        return cast(Tensor, self.get_submodule(f"{modality}_mlp")(pooled)) if self.config.heads else pooled

    def fuse(self, audio: Tensor, text: Tensor) -> Tensor:
        """Return vectors of pieces from their audio and their text.

        Parameters
        ----------
        audio, text : Tensor, shape (B, E)
            As `pool` returns them.

        Returns
        -------
        Tensor, shape (B, E)
        """
        return cast(Tensor, self.fusion_mlp(torch.cat([audio, text], dim=1)))
