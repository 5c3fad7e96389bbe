"""A moving average of the weights, which is what a run with ``--ema`` evaluates and exports.

Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992. At step t it keeps
min(``ema``, (1 + t) / (10 + t)) of itself, so that little is left of where the run started.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from clamp3.errors import ConfigError


class Averages:
    """Averages of what changes in training: weights that have a gradient, and statistics of normalisations.

    Parameters
    ----------
    module : Module
        At its state of now they start.
    decay : float
        Share that a step keeps, in (0, 1).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        trained = {name: parameter.detach() for name, parameter in module.named_parameters() if parameter.requires_grad}
        statistics = {name: buffer for name, buffer in module.named_buffers() if buffer.is_floating_point()}
        self._current = trained | statistics
        self._tensors = {name: tensor.clone() for name, tensor in self._current.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the weights as they are after so many steps into the averages."""
        kept = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self._tensors.values()), list(self._current.values()), 1 - kept)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the module have the averages for the length of a block, and then its weights again, bit for bit."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, tensor in self._current.items():
            other = self._tensors[name].clone()
            self._tensors[name].copy_(tensor)
            tensor.copy_(other)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averages by name."""
        return dict(self._tensors)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up what `state_dict` returned.

        Raises
        ------
        ConfigError
            If they are those of other weights.
        """
        if state.keys() != self._tensors.keys():
            raise ConfigError("The checkpoint's moving average is that of other weights than these.")
        for name, tensor in state.items():
            self._tensors[name].copy_(tensor)
