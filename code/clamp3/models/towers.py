"""What the families of models share: the symbolic tower, the mean over positions, and what every model offers.

Shapes: B batch, L patches, P codes of a patch, T positions, D width of a tower, E width of the vectors.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clamp3.errors import DataError
from clamp3.models.bert import Bert, initialise
from clamp3.models.config import N_CODES, ModelConfig, TowerConfig


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
        """Return hidden states.

        Parameters
        ----------
        patches : Tensor, shape (B, L, P), integer
            Codes below 128.
        mask : Tensor, shape (B, L), bool, optional
            True at real patches; None means that nothing is padded.

        Returns
        -------
        Tensor, shape (B, L, D)
        """
        return cast(Tensor, self.base(inputs_embeds=self.patch_embedding(patches), attention_mask=mask))


def masked_mean(hidden: Tensor, mask: Tensor | None) -> Tensor:
    """Return means over positions.

    Parameters
    ----------
    hidden : Tensor, shape (B, T, D)
    mask : Tensor, shape (B, T), bool, or None
        Positions that count; None counts all.

    Returns
    -------
    Tensor, shape (B, D)
    """
    if mask is None:
        return hidden.mean(1)
    weight = mask.to(hidden.dtype).unsqueeze(-1)
    return (hidden * weight).sum(1) / weight.sum(1)


class TowerModel(nn.Module):
    """What the model of every family offers: a tower per modality, and vectors of what the towers give.

    Attributes
    ----------
    config : ModelConfig
        Its sizes.
    """

    config: ModelConfig

    def idle(self) -> list[nn.Parameter] | None:
        """Return the parameters that no vector depends on, such as a pooler that is never computed; None: unknown."""
        return None

    def encode(self, modality: str, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the hidden states of a tower.

        Parameters
        ----------
        modality : str
            One of ``config.towers``.
        inputs : Tensor, shape (B, T, ...)
            As the modality prepares them.
        mask : Tensor, shape (B, T), bool, optional
            True where there is an input. None means that nothing is padded, which is faster.

        Returns
        -------
        Tensor, shape (B, T, D)
            Rows of padding hold numbers without meaning.
        """
        raise NotImplementedError

    def pool(self, modality: str, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return one vector for each sequence of hidden states: here their mean.

        Parameters
        ----------
        modality : str
            Whose tower gave them.
        hidden : Tensor, shape (B, T, D)
        mask : Tensor, shape (B, T), bool, optional
            As in `encode`.

        Returns
        -------
        Tensor, shape (B, E)
        """
        return masked_mean(hidden, mask)

    def features(self, modality: str, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return vectors of inputs, not normalised.

        Parameters
        ----------
        modality, inputs, mask
            As `encode` takes them.

        Returns
        -------
        Tensor, shape (B, E)
        """
        return self.pool(modality, self.encode(modality, inputs, mask), mask)
