"""A BERT encoder in plain torch whose state dict has the published names.

Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", NAACL 2019 (post-norm layers, exact GELU), and
XLM-R (Conneau et al., ACL 2020), which differs only in how positions are counted. Importing the transformers library
for the same numbers costs several seconds at every start.

Shapes: B batch, T positions, H heads, D width. Attribute names are those of the checkpoints, hence ``self.self``.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from clamp3.models.config import TowerConfig
from clamp3.models.packed import pack


class _Embeddings(nn.Module):
    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.word_embeddings = table(config.vocab_size, config.width)
        self.position_embeddings = table(config.max_length, config.width)
        self.token_type_embeddings = table(config.type_vocab_size, config.width)
        self.LayerNorm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)
        self.pad_id = config.pad_id

    def forward(self, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor:
        if inputs_embeds is None:
            assert input_ids is not None
            # The word table may be kept in another type than the layers.
            inputs_embeds = self.word_embeddings(input_ids).to(self.LayerNorm.weight.dtype)  # (B, T, D)
        positions = self._positions(input_ids, inputs_embeds)
        hidden = inputs_embeds + self.token_type_embeddings.weight[0] + positions
        return cast(Tensor, self.dropout(self.LayerNorm(hidden)))

    def _positions(self, input_ids: Tensor | None, inputs_embeds: Tensor) -> Tensor:
        n_positions = inputs_embeds.shape[1]
        if self.pad_id is None:
            return self.position_embeddings.weight[:n_positions]
        if input_ids is None:
            return self.position_embeddings.weight[self.pad_id + 1 : self.pad_id + 1 + n_positions]
        real = input_ids != self.pad_id
        return cast(Tensor, self.position_embeddings(real.cumsum(1) * real + self.pad_id))


class _SelfAttention(nn.Module):
    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.query = nn.Linear(config.width, config.width)
        self.key = nn.Linear(config.width, config.width)
        self.value = nn.Linear(config.width, config.width)
        self.n_heads, self.dropout = config.n_heads, config.dropout

    def forward(self, hidden: Tensor, key_mask: Tensor | None) -> Tensor:
        query, key, value = (self._split(layer(hidden)) for layer in (self.query, self.key, self.value))
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=key_mask, dropout_p=dropout)
        return mixed.transpose(1, 2).flatten(2)  # (B, T, D)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.n_heads, -1)).transpose(1, 2)  # (B, H, T, D/H)


class _Output(nn.Module):
    """Projection back to the width, residual and norm; ends both halves of a layer."""

    def __init__(self, n_inputs: int, config: TowerConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(n_inputs, config.width)
        self.LayerNorm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return cast(Tensor, self.LayerNorm(self.dropout(self.dense(x)) + residual))


class _Attention(nn.Module):
    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.self = _SelfAttention(config)
        self.output = _Output(config.width, config)

    def forward(self, hidden: Tensor, key_mask: Tensor | None) -> Tensor:
        return cast(Tensor, self.output(self.self(hidden, key_mask), hidden))


class _Dense(nn.Module):
    """A linear layer one name deeper, as the checkpoints have it."""

    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.dense = nn.Linear(n_inputs, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.dense(x))


class Intermediate(_Dense):
    """The wide half of a layer, which `clamp3.models.packed` computes as one operation."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, T, feed-forward width) of (B, T, D)."""
        return F.gelu(self.dense(x))


class _Layer(nn.Module):
    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.attention = _Attention(config)
        self.intermediate = Intermediate(config.width, config.feed_forward)
        self.output = _Output(config.feed_forward, config)

    def forward(self, hidden: Tensor, key_mask: Tensor | None) -> Tensor:
        hidden = self.attention(hidden, key_mask)
        return cast(Tensor, self.output(self.intermediate(hidden), hidden))


class Encoder(nn.Module):
    """The layers; with ``recompute`` each keeps only its input for the backward pass, and is computed again there."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.recompute = False
        self.layer = nn.ModuleList(_Layer(config) for _ in range(config.n_layers))

    def forward(self, hidden: Tensor, key_mask: Tensor | None) -> Tensor:
        """Return (B, T, D) of (B, T, D); see `key_mask`."""
        again = self.recompute and torch.is_grad_enabled()
        for layer in self.layer:
            hidden = checkpoint(layer, hidden, key_mask, use_reentrant=False) if again else layer(hidden, key_mask)
        return hidden


class Bert(nn.Module):
    """BERT (``pad_id`` None) or XLM-R (``pad_id`` a number) encoder.

    The pooler is never computed; it is there because the published checkpoints contain its weights.

    Parameters
    ----------
    config : TowerConfig
        Sizes; weights are drawn as in BERT, from the global random state (see `initialise`).
    """

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = _Embeddings(config)
        self.encoder = Encoder(config)
        self.pooler = _Dense(config.width, config.width)
        initialise(self)

    def forward(
        self,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """Return the last hidden states.

        Parameters
        ----------
        input_ids : Tensor, shape (B, T), long, optional
            Tokens; give these or ``inputs_embeds``.
        inputs_embeds : Tensor, shape (B, T, D), optional
            Vectors in place of word embeddings.
        attention_mask : Tensor, shape (B, T), bool, optional
            True where there is a token. None means that nothing is padded, which is faster.

        Returns
        -------
        Tensor, shape (B, T, D)
            Hidden states; rows of padding hold numbers without meaning.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise TypeError("give either input_ids or inputs_embeds")
        hidden = self.embeddings(input_ids, inputs_embeds)
        return cast(Tensor, self.encoder(hidden, key_mask(attention_mask)))


def table(n_rows: int, width: int) -> nn.Embedding:
    """Return an embedding whose weights are yet to be drawn.

    ``nn.Embedding`` draws at once, which on the meta device imports torch's compiler: a second at every start.

    Parameters
    ----------
    n_rows, width : int
        Number and length of the vectors.
    """
    return nn.Embedding.from_pretrained(torch.empty(n_rows, width), freeze=False)


def key_mask(mask: Tensor | None) -> Tensor | None:
    """Return a (B, 1, 1, T) boolean mask over keys, or None where a look costs nothing and nothing is padded."""
    looks = mask is not None and mask.device.type == "cpu" and not torch.compiler.is_compiling()  # nor exporting
    if mask is None or (looks and bool(mask.all())):
        return None
    return mask.bool()[:, None, None, :]


def suit_cpu(network: nn.Module) -> None:
    """Make every frozen `Bert` below a network on the CPU quick; the last digits of its numbers change."""
    for part in network.modules():
        if isinstance(part, Bert):
            pack(part.encoder, fused=(Intermediate,))


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator | None = None) -> None:
    """Draw weights of linear and embedding layers from N(0, 0.02); biases 0, norms 1.

    Parameters
    ----------
    module : Module
        Changed in place; modules on the meta device are left alone.
    generator : torch.Generator, optional
        Source of randomness; None uses the global one.
    """
    for part in module.modules():
        if isinstance(part, (nn.Linear, nn.Embedding)) and not part.weight.is_meta:
            part.weight.normal_(std=0.02, generator=generator)
            if isinstance(part, nn.Linear) and part.bias is not None:
                part.bias.zero_()
    for part in module.modules():
        # XLM-R's padding token is the zero vector.
        if isinstance(part, _Embeddings) and part.pad_id is not None and not part.word_embeddings.weight.is_meta:
            part.word_embeddings.weight[part.pad_id].zero_()
