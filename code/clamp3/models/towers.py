"""The three towers of CLaMP 3 and their joint space (Wu et al., "CLaMP 3", ACL Findings 2025).

Shapes: B batch, L patches, P codes of a patch, T tokens or audio vectors, D width of a tower, E of the joint space.
State-dict names are those of the published checkpoints.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clamp3.errors import ConfigError, DataError
from clamp3.models.bert import Bert, initialise
from clamp3.models.config import N_CODES, Clamp3Config, TowerConfig
from clamp3.models.front_end import MelFrontEnd


class PatchEmbedding(nn.Linear):
    """A linear layer over the one-hot codes of a patch, computed as a sum of gathered columns.

    The weight has the published shape (D, P * 128) but lies in memory column by column, so that the gather reads whole
    rows and no training step transposes it or its gradient. Equal to the product with the one-hot matrix up to
    rounding; every position counts, pads (code 0) too.
    """

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__(patch_size * N_CODES, width)
        self.weight = nn.Parameter(self.weight.detach().t().contiguous().t())
        initialise(self)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Also an assigned tensor is laid out by columns; the caller's dict is torch's own shallow copy.
        weight = state_dict.get(f"{prefix}weight")
        if weight is not None and weight.ndim == 2:
            state_dict[f"{prefix}weight"] = weight.t().contiguous().t()
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(self, patches: Tensor) -> Tensor:
        """Return (B, L, D) embeddings of (B, L, P) integer codes below 128."""
        if patches.device.type == "cpu" and patches.numel() and int(patches.max()) >= N_CODES:
            raise DataError(f"patch codes must be below {N_CODES}, found {int(patches.max())}.")
        starts = torch.arange(0, self.weight.shape[1], N_CODES, device=patches.device, dtype=torch.int32)
        indices = patches.flatten(0, 1) + starts  # (B*L, P), int32 or int64
        rows = F.embedding_bag(indices, self.weight.t().contiguous(), mode="sum")  # (B*L, D)
        return (rows + self.bias).unflatten(0, patches.shape[:2])


class PatchEncoder(nn.Module):
    """The symbolic tower: patches through `PatchEmbedding` and a BERT; also the encoder of M3."""

    def __init__(self, config: TowerConfig, patch_size: int) -> None:
        super().__init__()
        self.patch_embedding = PatchEmbedding(patch_size, config.width)
        self.base = Bert(config)

    def forward(self, patches: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return (B, L, D) hidden states of (B, L, P) codes; ``mask`` (B, L) is True at real patches."""
        return cast(Tensor, self.base(inputs_embeds=self.patch_embedding(patches), attention_mask=mask))


def masked_mean(hidden: Tensor, mask: Tensor | None) -> Tensor:
    """Return (B, D) means of (B, T, D) over the positions where ``mask`` (B, T) is True, or over all."""
    if mask is None:
        return hidden.mean(1)
    weight = mask.to(hidden.dtype).unsqueeze(-1)
    return (hidden * weight).sum(1) / weight.sum(1)


class Clamp3Model(nn.Module):
    """Text, symbolic and audio towers with their projections; towers that the configuration lacks are not built.

    Parameters
    ----------
    config : Clamp3Config
        Sizes. Weights are random (N(0, 0.02)); `clamp3.models.weights.load_model` gives trained ones.
    generator : torch.Generator, optional
        Source of the random weights; None uses the global one.

    Attributes
    ----------
    text_model, symbolic_model, audio_model : Module
        Encoders of the towers in ``config.towers``.
    text_proj, symbolic_proj, audio_proj : Linear
        From a tower's width to ``config.hidden_size``.
    audio_front : Module
        From mel chunks to the audio tower; only with ``config.front_end.kind == "mel"``.
    """

    def __init__(self, config: Clamp3Config, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        for name in config.towers:
            tower = config.tower(name)
            encoder = PatchEncoder(tower, config.patch_size) if name == "symbolic" else Bert(tower)
            self.add_module(f"{name}_model", encoder)
            self.add_module(f"{name}_proj", nn.Linear(tower.width, config.hidden_size))
        initialise(self, generator)
        if config.audio is not None and config.front_end.kind == "mel":
            self.audio_front = MelFrontEnd(config.front_end, config.audio.width)
            initialise(self.audio_front, generator)
            self.audio_front.draw(generator)

    def encode_text(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return hidden states (B, T, D) of token ids (B, T, long); ``mask`` is True at tokens."""
        return cast(Tensor, self._part("text", "model")(input_ids=ids, attention_mask=mask))

    def encode_symbolic(self, patches: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return hidden states (B, L, D) of patches (B, L, P, integer codes); ``mask`` is True at patches."""
        return cast(Tensor, self._part("symbolic", "model")(patches, mask))

    def encode_audio(self, vectors: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return hidden states (B, T, D) of audio vectors (B, T, F); ``mask`` is True at vectors.

        F is ``config.feature_width``: D for MERT vectors, a flattened chunk for mel frames.
        """
        encoder = self._part("audio", "model")
        if self.config.front_end.kind == "mel":
            vectors = self.audio_front(vectors)
        return cast(Tensor, encoder(inputs_embeds=vectors, attention_mask=mask))

    def encode(self, modality: str, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return hidden states of one modality: ``text``, ``symbolic`` or ``audio``."""
        encoders = {"text": self.encode_text, "symbolic": self.encode_symbolic, "audio": self.encode_audio}
        if modality not in encoders:
            raise ConfigError(f"unknown modality {modality!r}; choose from {', '.join(encoders)}.")
        return encoders[modality](inputs, mask)

    def pool(self, hidden: Tensor, mask: Tensor | None, modality: str) -> Tensor:
        """Return vectors (B, E) of the joint space: masked mean of (B, T, D), then the modality's projection."""
        return cast(Tensor, self._part(modality, "proj")(masked_mean(hidden, mask)))

    def features(self, modality: str, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return vectors (B, E) of the joint space; not normalised."""
        return self.pool(self.encode(modality, inputs, mask), mask, modality)

    def text_features(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return (B, E) vectors of token ids (B, T)."""
        return self.features("text", ids, mask)

    def symbolic_features(self, patches: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return (B, E) vectors of patches (B, L, P)."""
        return self.features("symbolic", patches, mask)

    def audio_features(self, vectors: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return (B, E) vectors of audio vectors (B, T, F)."""
        return self.features("audio", vectors, mask)

    def forward(
        self, text: Tensor, text_mask: Tensor | None, music: Tensor, music_mask: Tensor | None, modality: str
    ) -> tuple[Tensor, Tensor]:
        """Return (B, E) text and music vectors of a training batch; ``modality`` is symbolic or audio."""
        return self.text_features(text, text_mask), self.features(modality, music, music_mask)

    def _part(self, modality: str, part: str) -> nn.Module:
        self.config.tower(modality)  # says which towers there are if this one is not
        return self.get_submodule(f"{modality}_{part}")
