"""M3: masked-patch pre-training of the symbolic encoder (Wu et al., "CLaMP 2", NAACL Findings 2025).

An encoder reads patches some of which are corrupted; a small GPT-2 predicts the original characters of each selected
patch, its first input being the patch's encoded vector.

Shapes: B pieces, L patches, P codes of a patch, N selected patches, D width.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clamp3.models.bert import initialise
from clamp3.models.config import M3Config
from clamp3.models.gpt2 import Gpt2
from clamp3.models.towers import PatchEncoder, TowerModel

_PAD = 0
# Patches are decoded together with others of about their length: a training step of a small M3 on real scores takes a
# third of the time it takes at full length; smaller groups gain under 5 % more.
_BUCKET = 8


class PatchDecoder(nn.Module):
    """Predicts the characters of patches from their encoded vectors."""

    def __init__(self, config: M3Config) -> None:
        super().__init__()
        self.base = Gpt2(config.decoder)

    def forward(self, features: Tensor, patches: Tensor) -> Tensor:
        """Return the mean cross-entropy over all characters after the first of each patch, pads left out.

        Parameters
        ----------
        features : Tensor, shape (N, D)
            Encoded vectors; each takes the place of its patch's first embedding.
        patches : Tensor, shape (N, P), integer
            The patches to predict.

        Returns
        -------
        Tensor, shape ()
            Loss in nats per character; 0 where there is no character to predict.
        """
        patches = patches.long()
        if patches.shape[1] < 2:
            return features.sum() * 0.0
        # Pads end a patch and are ignored, so positions behind the last character need not be computed.
        lengths = ((patches != _PAD) * torch.arange(1, patches.shape[1] + 1, device=patches.device)).amax(1)
        bucket = (lengths + _BUCKET - 1) // _BUCKET
        total, count = features.sum() * 0.0, 0
        for size in sorted(set(bucket.tolist())):
            rows = (bucket == size).nonzero().squeeze(1)
            stop = min(max(size * _BUCKET, 2), patches.shape[1])
            codes = patches[rows, :stop]
            embeds = torch.cat((features[rows, None], self.base.transformer.wte(codes[:, 1:-1])), dim=1)
            logits = self.base(embeds.to(features.dtype)).flatten(0, 1)  # position t predicts code t + 1
            targets = codes[:, 1:].flatten()
            total = total + F.cross_entropy(logits.float(), targets, ignore_index=_PAD, reduction="sum")
            count += int((targets != _PAD).sum())
        return total / max(count, 1)


class M3Model(TowerModel):
    """The encoder that CLaMP's symbolic tower starts from, with the decoder that trains it.

    The vector of a piece is the mean of its hidden states.

    Parameters
    ----------
    config : M3Config
        Sizes; weights are random.
    generator : torch.Generator, optional
        Source of the random weights; None uses the global one.
    """

    config: M3Config

    def __init__(self, config: M3Config, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.encoder = PatchEncoder(config.encoder, config.patch_size)
        self.decoder = PatchDecoder(config)
        if generator is not None:
            initialise(self.encoder, generator)
            self.decoder.base.initialise(generator)

    def encode(self, modality: str, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the hidden states of patches.

        Parameters
        ----------
        modality : {"symbolic"}
        inputs : Tensor, shape (B, L, P), integer
        mask : Tensor, shape (B, L), bool, optional
            True at real patches.

        Returns
        -------
        Tensor, shape (B, L, D)
        """
        return cast(Tensor, self.encoder(inputs, mask))

    def forward(self, patches: Tensor, mask: Tensor | None, selected: Tensor, corrupted: Tensor) -> Tensor:
        """Return the loss of predicting the selected patches.

        Parameters
        ----------
        patches : Tensor, shape (B, L, P), integer
            Original patches.
        mask : Tensor, shape (B, L), bool, or None
            True at real patches; None where nothing is padded.
        selected : Tensor, shape (B, L), bool
            Patches to predict; padding must not be selected.
        corrupted : Tensor, shape (B, L, P), integer
            What the encoder reads.

        Returns
        -------
        Tensor, shape ()
            Mean cross-entropy per character in nats.
        """
        hidden = cast(Tensor, self.encoder(corrupted, mask))
        return cast(Tensor, self.decoder(hidden[selected], patches[selected]))
