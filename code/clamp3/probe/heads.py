"""The two heads of a probe, and their training steps.

A head turns prepared features (N, D') into outputs (N, C): logits, or values for regression. Letters: N examples, B
batch, D width of the features, H hidden units, C outputs. All arrays are float32.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from clamp3.probe.config import ProbeConfig
from clamp3.probe.losses import Loss, loss_of

State = dict[str, np.ndarray]
_BETAS, _EPS = (0.9, 0.999), 1e-8  # AdamW's defaults in torch


class Head(Protocol):
    """What `clamp3.probe.fit.fit` trains."""

    rate: float
    loss: Loss

    def prepare(self, features: np.ndarray) -> np.ndarray:
        """Return features (N, D) as `outputs` and `step` take them."""

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """Return the outputs (N, C) of prepared features."""

    def step(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Do one step of the optimizer on a batch; return the outputs (B, C) from before it."""

    def state(self) -> State:
        """Return a copy of the weights."""

    def load(self, state: State) -> None:
        """Take over weights."""


class LinearHead:
    """One linear layer under AdamW.

    A batch of one example has an update of 30 µs (768 features, 8 classes), where ``torch.optim.AdamW`` and autograd
    need 200: the gradient is written down, and one fused kernel of torch does the update. The bias is the last column
    of the weights, so both are one array.
    """

    def __init__(self, width: int, n_outputs: int, config: ProbeConfig) -> None:
        import torch

        self.rate = config.learning_rate
        self.loss = loss_of(config.task, double_softmax=config.double_softmax)
        self._decay = config.weight_decay
        rng = np.random.default_rng([config.seed, 0])
        self._weight = _uniform(rng, (n_outputs, width + 1), width)  # (C, D + 1)
        self._gradient = np.empty_like(self._weight)
        # The arrays and the tensors share their memory.
        self._tensors = [torch.from_numpy(self._weight)], [torch.from_numpy(self._gradient)]
        self._moments = [torch.zeros(self._weight.shape)], [torch.zeros(self._weight.shape)]
        self._count = np.zeros((), np.float32)
        self._counts = [torch.from_numpy(self._count)]
        self._update = torch._fused_adamw_

    def prepare(self, features: np.ndarray) -> np.ndarray:
        """Return the features (N, D) with a column of ones, for the bias."""
        return np.concatenate([features, np.ones((len(features), 1), np.float32)], axis=1)

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """Return the outputs (N, C) of prepared features."""
        return x @ self._weight.T

    def step(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Do one step on a batch; return the outputs (B, C) from before it."""
        z = np.dot(x, self._weight.T)  # (B, C)
        np.dot(self.loss.gradient(z, y).T, x, out=self._gradient)  # (C, D + 1)
        self._count[()] += 1
        self._update(
            *self._tensors,
            *self._moments,
            [],
            self._counts,
            lr=self.rate,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            weight_decay=self._decay,
            eps=_EPS,
            amsgrad=False,
            maximize=False,
        )
        return z

    def state(self) -> State:
        """Return a copy of the weights, by the released names."""
        return {"fc.weight": self._weight[:, :-1].copy(), "fc.bias": self._weight[:, -1].copy()}

    def load(self, state: State) -> None:
        """Take over weights."""
        self._weight[:, :-1] = state["fc.weight"]
        self._weight[:, -1] = state["fc.bias"]


class MlpHead:
    """A hidden layer with ReLU and dropout, then a linear layer, under AdamW; the head of MARBLE."""

    def __init__(self, width: int, n_outputs: int, config: ProbeConfig) -> None:
        import torch

        self.loss = loss_of(config.task, double_softmax=config.double_softmax)
        rng = np.random.default_rng([config.seed, 0])
        shapes = {
            "hidden.weight": ((config.hidden, width), width),
            "hidden.bias": ((config.hidden,), width),
            "fc.weight": ((n_outputs, config.hidden), config.hidden),
            "fc.bias": ((n_outputs,), config.hidden),
        }
        self._weights = {
            name: torch.nn.Parameter(torch.from_numpy(_uniform(rng, shape, fan_in)))
            for name, (shape, fan_in) in shapes.items()
        }
        self._optimizer = torch.optim.AdamW(
            self._weights.values(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self._kept = 1 - config.dropout
        self._generator = torch.Generator().manual_seed(config.seed)

    @property
    def rate(self) -> float:
        """Learning rate."""
        return float(self._optimizer.param_groups[0]["lr"])

    @rate.setter
    def rate(self, value: float) -> None:
        self._optimizer.param_groups[0]["lr"] = value

    def prepare(self, features: np.ndarray) -> np.ndarray:
        """Return the features as they are."""
        return features

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """Return the outputs (N, C) of features (N, D), without dropout."""
        import torch

        with torch.no_grad():
            parts = [self._forward(torch.from_numpy(part), train=False).numpy() for part in _parts(x)]
        return np.concatenate(parts)

    def step(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Do one step on a batch, with dropout; return the outputs (B, C) from before it."""
        import torch

        z = self._forward(torch.from_numpy(x), train=True)  # (B, C)
        before = z.detach().numpy()
        self._optimizer.zero_grad()
        z.backward(torch.from_numpy(self.loss.gradient(before, y)))
        self._optimizer.step()
        return before

    def _forward(self, x, *, train: bool):  # type: ignore[no-untyped-def]  # tensors; torch is not imported here
        import torch
        from torch.nn.functional import linear

        hidden = linear(x, self._weights["hidden.weight"], self._weights["hidden.bias"]).relu()  # (B, H)
        if train and self._kept < 1:
            hidden = hidden * torch.empty_like(hidden).bernoulli_(self._kept, generator=self._generator) / self._kept
        return linear(hidden, self._weights["fc.weight"], self._weights["fc.bias"])  # (B, C)

    def state(self) -> State:
        """Return a copy of the weights."""
        return {name: weight.detach().numpy().copy() for name, weight in self._weights.items()}

    def load(self, state: State) -> None:
        """Take over weights."""
        import torch

        with torch.no_grad():
            for name, weight in self._weights.items():
                weight.copy_(torch.from_numpy(state[name]))


def make_head(width: int, n_outputs: int, config: ProbeConfig) -> Head:
    """Return a head with random weights, drawn as torch's linear layers are."""
    return LinearHead(width, n_outputs, config) if config.head == "linear" else MlpHead(width, n_outputs, config)


def _uniform(rng: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> np.ndarray:
    bound = fan_in**-0.5
    return rng.uniform(-bound, bound, shape).astype(np.float32)


def _parts(x: np.ndarray, n_rows: int = 8192) -> list[np.ndarray]:
    return [x[start : start + n_rows] for start in range(0, max(len(x), 1), n_rows)]
