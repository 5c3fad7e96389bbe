"""CLaMP 3: three towers and their joint space (Wu et al., "CLaMP 3", ACL Findings 2025).

Shapes: B batch, L patches, P codes of a patch, T tokens or audio vectors, D width of a tower, E of the joint space.
State-dict names are those of the published checkpoints.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from clamp3.errors import ConfigError
from clamp3.models.bert import Bert, initialise
from clamp3.models.config import TOWERS, Clamp3Config
from clamp3.models.front_end import MelFrontEnd
from clamp3.models.towers import PatchEncoder, TowerModel, masked_mean


class Clamp3Model(TowerModel):
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

    config: Clamp3Config

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

    def idle(self) -> list[nn.Parameter]:
        """Return the poolers, and the word tables of towers without words: published checkpoints have them."""
        found: list[nn.Parameter] = []
        for name in self.config.towers:
            encoder = self._part(name, "model")
            bert = encoder.base if isinstance(encoder, PatchEncoder) else encoder
            assert isinstance(bert, Bert)
            found += bert.pooler.parameters()
            if name != "text":
                found += bert.embeddings.word_embeddings.parameters()
        return found

    def encode(self, modality: str, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the hidden states of a tower.

        Parameters
        ----------
        modality : {"text", "symbolic", "audio"}
        inputs : Tensor
            Token ids (B, T, long), patches (B, L, P, integer codes), or audio vectors (B, T, F), where F is
            ``config.feature_width``: D for MERT vectors, a flattened chunk for mel frames.
        mask : Tensor, shape (B, T), bool, optional
            True where there is an input.

        Returns
        -------
        Tensor, shape (B, T, D)
        """
        if modality not in TOWERS:
            raise ConfigError(f"unknown modality {modality!r}; choose from {', '.join(TOWERS)}.")
        encoder = self._part(modality, "model")
        if modality == "symbolic":
            return cast(Tensor, encoder(inputs, mask))
        if modality == "text":
            return cast(Tensor, encoder(input_ids=inputs, attention_mask=mask))
        if self.config.front_end.kind == "mel":
            inputs = self.audio_front(inputs)
        return cast(Tensor, encoder(inputs_embeds=inputs, attention_mask=mask))

    def pool(self, modality: str, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return vectors of the joint space: the mean over positions, then the tower's projection.

        Parameters
        ----------
        modality : {"text", "symbolic", "audio"}
        hidden : Tensor, shape (B, T, D)
            As `encode` returns them.
        mask : Tensor, shape (B, T), bool, optional
            As `encode` takes it.

        Returns
        -------
        Tensor, shape (B, E)
        """
        return cast(Tensor, self._part(modality, "proj")(masked_mean(hidden, mask)))

    def text_features(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return vectors of texts, not normalised.

        Parameters
        ----------
        ids : Tensor, shape (B, T), long
        mask : Tensor, shape (B, T), bool, optional
            As `encode` takes it.

        Returns
        -------
        Tensor, shape (B, E)
        """
        return self.features("text", ids, mask)

    def symbolic_features(self, patches: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return vectors of scores and performances, not normalised.

        Parameters
        ----------
        patches : Tensor, shape (B, L, P), integer
        mask : Tensor, shape (B, L), bool, optional
            As `encode` takes it.

        Returns
        -------
        Tensor, shape (B, E)
        """
        return self.features("symbolic", patches, mask)

    def audio_features(self, vectors: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return vectors of recordings, not normalised.

        Parameters
        ----------
        vectors : Tensor, shape (B, T, F)
            As the front end makes them.
        mask : Tensor, shape (B, T), bool, optional
            As `encode` takes it.

        Returns
        -------
        Tensor, shape (B, E)
        """
        return self.features("audio", vectors, mask)

    def forward(
        self, text: Tensor, text_mask: Tensor | None, music: Tensor, music_mask: Tensor | None, modality: str
    ) -> tuple[Tensor, Tensor]:
        """Return vectors of a training batch.

        Parameters
        ----------
        text, text_mask, music, music_mask : Tensor
            Inputs of the text tower and of that of ``modality``, as `encode` takes them.
        modality : {"symbolic", "audio"}

        Returns
        -------
        text, music : Tensor, shape (B, E)
        """
        return self.text_features(text, text_mask), self.features(modality, music, music_mask)

    def _part(self, modality: str, part: str) -> nn.Module:
        self.config.tower(modality)  # if it is absent, an error that lists those there are
        return self.get_submodule(f"{modality}_{part}")
