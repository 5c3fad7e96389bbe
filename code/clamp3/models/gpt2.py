"""A GPT-2 language model over character codes in plain torch, with the published names (Radford et al., 2019).

Shapes: N sequences, T positions, H heads, D width. Linear weights are stored (inputs, outputs), as GPT-2 has them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clamp3.models.bert import table
from clamp3.models.config import DecoderConfig


class _TransposedLinear(nn.Module):
    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_inputs, n_outputs))
        self.bias = nn.Parameter(torch.zeros(n_outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.t(), self.bias)


class _Attention(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.c_attn = _TransposedLinear(config.width, 3 * config.width)
        self.c_proj = _TransposedLinear(config.width, config.width)
        self.n_heads, self.dropout = config.n_heads, config.dropout

    def forward(self, x: Tensor) -> Tensor:
        parts = self.c_attn(x).unflatten(2, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)  # (3, N, H, T, D/H)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True, dropout_p=dropout)
        return F.dropout(self.c_proj(mixed.transpose(1, 2).flatten(2)), self.dropout, self.training)


class _FeedForward(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.c_fc = _TransposedLinear(config.width, config.feed_forward)
        self.c_proj = _TransposedLinear(config.feed_forward, config.width)
        self.dropout = config.dropout

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.c_proj(F.gelu(self.c_fc(x), approximate="tanh")), self.dropout, self.training)


class _Block(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.attn = _Attention(config)
        self.ln_2 = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.mlp = _FeedForward(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class _Transformer(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.wte = table(config.vocab_size, config.width)
        self.wpe = table(config.max_length, config.width)
        self.h = nn.ModuleList(_Block(config) for _ in range(config.n_layers))
        self.ln_f = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.dropout = config.dropout

    def forward(self, embeds: Tensor) -> Tensor:
        x = F.dropout(embeds + self.wpe.weight[: embeds.shape[1]], self.dropout, self.training)
        for block in self.h:
            x = block(x)
        return self.ln_f(x)


class Gpt2(nn.Module):
    """GPT-2 with its output layer tied to the input embeddings."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.transformer = _Transformer(config)
        self.lm_head = nn.Linear(config.width, config.vocab_size, bias=False)
        self.lm_head.weight = self.transformer.wte.weight
        self.initialise()

    def forward(self, embeds: Tensor) -> Tensor:
        """Return logits (N, T, vocabulary) of embeddings (N, T, D); a position sees itself and those before."""
        return self.lm_head(self.transformer(embeds))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Draw weights as GPT-2 does: N(0, 0.02), and less for layers that end a residual branch."""
        n_branches = 2 * len(self.transformer.h)
        for name, weight in self.named_parameters():
            if weight.ndim == 2 and not weight.is_meta:
                std = 0.02 / n_branches**0.5 if name.endswith("c_proj.weight") else 0.02
                weight.normal_(std=std, generator=generator)
