"""The two heads of a probe, and their training steps.

A head turns prepared features (N, D') into outputs (N, C): logits, or values for regression. Letters: N examples, B
batch, D width of the features, H hidden units, C outputs. All arrays are float32.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from clamp3.probe.config import ProbeConfig
from clamp3.probe.losses import loss_of

if TYPE_CHECKING:
    from torch import Tensor

_ROWS_AT_ONCE = 8192
State = dict[str, np.ndarray]
_ADAMW: dict[str, Any] = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "amsgrad": False, "maximize": False}  # as in torch


class AdamW:
    """AdamW as one fused kernel of torch, without the overhead of ``torch.optim``.

    For a linear layer and one example the overhead exceeds the arithmetic, and creating an optimizer of
    ``torch.optim`` loads torch's compiler, which takes seconds.
    """

    def __init__(self, tensors: list[Tensor], rate: float, decay: float) -> None:
        import torch

        self.rate, self._decay = rate, decay
        self._means = [torch.zeros_like(tensor) for tensor in tensors]
        self._squares = [torch.zeros_like(tensor) for tensor in tensors]
        self._count = np.zeros((), np.float32)
        self._counts = [torch.from_numpy(self._count)] * len(tensors)
        self._kernel = torch._fused_adamw_

    def update(self, tensors: list[Tensor], gradients: list[Tensor] | tuple[Tensor, ...]) -> None:
        """Do one step, in place.

        Parameters
        ----------
        tensors, gradients : sequences of tensor
            Weights and their gradients, in the same order.
        """
        self._count[()] += 1
        state: tuple[Any, ...] = self._means, self._squares, [], self._counts
        self._kernel(tensors, gradients, *state, lr=self.rate, weight_decay=self._decay, **_ADAMW)


class LinearHead:
    """One linear layer.

    Its gradient has a closed form, which makes a step on one example many times faster than autograd
    (``benchmarks/probe.py`` measures it). The bias is the last column of the weights, so both are one array.
    """

    def __init__(self, width: int, n_outputs: int, config: ProbeConfig) -> None:
        import torch

        self.loss = loss_of(config.task, double_softmax=config.double_softmax)
        rng = np.random.default_rng([config.seed, 0])
        self._weight = _uniform(rng, (n_outputs, width + 1), width)  # (C, D + 1)
        self._gradient = np.empty_like(self._weight)
        # The arrays and the tensors share their memory.
        self._tensors, self._gradients = [torch.from_numpy(self._weight)], [torch.from_numpy(self._gradient)]
        self.optimizer = AdamW(self._tensors, config.learning_rate, config.weight_decay)

    def prepare(self, features: np.ndarray) -> np.ndarray:
        """Return the features (N, D) with a column of ones, for the bias."""
        return np.concatenate([features, np.ones((len(features), 1), np.float32)], axis=1)

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """Return the outputs (N, C) of prepared features."""
        return x @ self._weight.T

    def step(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Do one step of the optimizer on a batch.

        Parameters
        ----------
        x : float32 array, shape (B, D')
            Prepared features.
        y : float32 array, shape (B, C)
            Targets.

        Returns
        -------
        float32 array, shape (B, C)
            Outputs from before the step.
        """
        z = np.dot(x, self._weight.T)  # (B, C)
        np.dot(self.loss.gradient(z, y).T, x, out=self._gradient)  # (C, D + 1)
        self.optimizer.update(self._tensors, self._gradients)
        return z

    def state(self) -> State:
        """Return a copy of the weights, by the released names."""
        return {"fc.weight": self._weight[:, :-1].copy(), "fc.bias": self._weight[:, -1].copy()}

    def load(self, state: State) -> None:
        """Take over weights."""
        self._weight[:, :-1] = state["fc.weight"]
        self._weight[:, -1] = state["fc.bias"]


class MlpHead:
    """A hidden layer with ReLU and dropout, then a linear layer; the head of MARBLE."""

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
            name: torch.from_numpy(_uniform(rng, shape, fan_in)).requires_grad_()
            for name, (shape, fan_in) in shapes.items()
        }
        self.optimizer = AdamW(self._tensors(), config.learning_rate, config.weight_decay)
        self._kept = 1 - config.dropout
        self._generator = torch.Generator().manual_seed(config.seed)

    def prepare(self, features: np.ndarray) -> np.ndarray:
        """Return the features as they are."""
        return features

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """Return the outputs (N, C) of features (N, D), without dropout."""
        import torch

        with torch.no_grad():
            parts = torch.from_numpy(x).split(_ROWS_AT_ONCE)
            return torch.cat([self._forward(part, train=False) for part in parts]).numpy()

    def step(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Do one step on a batch, with dropout.

        Parameters
        ----------
        x, y
            As in `LinearHead.step`, whose outputs it returns too.
        """
        import torch

        z = self._forward(torch.from_numpy(x), train=True)  # (B, C)
        before = z.detach().numpy()
        gradients = torch.autograd.grad(
            z, list(self._weights.values()), torch.from_numpy(self.loss.gradient(before, y))
        )
        self.optimizer.update(self._tensors(), gradients)
        return before

    def _tensors(self) -> list[Tensor]:
        return [weight.detach() for weight in self._weights.values()]

    def _forward(self, x: Tensor, *, train: bool) -> Tensor:
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

        for name, weight in self._weights.items():
            weight.detach().copy_(torch.from_numpy(state[name]))


Head: TypeAlias = LinearHead | MlpHead
"""What `clamp3.probe.fit.fit` trains."""


@contextlib.contextmanager
def few_threads(config: ProbeConfig) -> Iterator[None]:
    """Let torch use one thread while a linear head trains: its updates are shorter than waking another thread."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1 if config.head == "linear" else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def make_head(width: int, n_outputs: int, config: ProbeConfig) -> Head:
    """Return a head with random weights, drawn as torch's linear layers are.

    Parameters
    ----------
    width : int
        D, width of the features.
    n_outputs : int
        C.
    config : ProbeConfig
    """
    return LinearHead(width, n_outputs, config) if config.head == "linear" else MlpHead(width, n_outputs, config)


def _uniform(rng: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> np.ndarray:
    bound = fan_in**-0.5
    return rng.uniform(-bound, bound, shape).astype(np.float32)
