"""The towers of a training run as one module: what is frozen, what is standardised, what is exported."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from clamp3.data.views import TOWER_OF
from clamp3.models.clamp3 import Clamp3Model
from clamp3.training.batches import length_parts
from clamp3.training.lora import merged
from clamp3.training.loss import Objective


class PairEncoder(nn.Module):
    """All towers in one forward, so that DistributedDataParallel sees one call per step.

    Parameters
    ----------
    model : Clamp3Model
    frozen : sequence of str
        Towers ("text", "symbolic", "audio") that are not trained: no gradient, no dropout.
    sub_batches : int
        Length-sorted parts a batch is encoded in. Vectors do not depend on it; padding is saved.
    standardise : collection of str
        Towers whose vectors are standardised for the comparison. Frozen ones never are: their projection has to stay
        as it is, and their vectors are compared by cosine as a search does.
    objective : Objective, optional
        The loss, with what it learns of its own; the published one by default.
    """

    def __init__(
        self,
        model: Clamp3Model,
        *,
        frozen: Sequence[str] = (),
        sub_batches: int = 1,
        standardise: Collection[str] = (),
        objective: Objective | None = None,
    ) -> None:
        super().__init__()
        self.model, self.frozen, self.sub_batches = model, tuple(frozen), sub_batches
        self.cosine = bool(standardise)
        self.objective = objective or Objective()
        width = model.config.hidden_size
        trained = [name for name in model.config.towers if name in standardise and name not in frozen]
        self.norms = nn.ModuleDict({name: nn.BatchNorm1d(width, affine=False) for name in trained})
        for name in self.frozen:
            for part in tower_parts(model, name):
                part.requires_grad_(False)

    def train(self, mode: bool = True) -> PairEncoder:
        """Set the mode of the trained towers; frozen ones stay in evaluation mode."""
        super().train(mode)
        for name in self.frozen:
            for part in tower_parts(self.model, name):
                part.eval()
        return self

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return vectors (B, E) by side of a batch of ``CollatePairs``; zero where a piece has not the side."""
        found = {side: self._features(side, batch[side], batch[f"{side}_mask"]) for side in TOWER_OF if side in batch}
        # DistributedDataParallel waits for the gradients of what it sees in the output, so the loss's own are in it.
        unseen = sum((parameter * 0 for parameter in self.objective.parameters()), start=torch.zeros(()))
        return {side: vectors + unseen for side, vectors in found.items()} if unseen.requires_grad else found

    def _features(self, side: str, values: Tensor, mask: Tensor) -> Tensor:
        tower = TOWER_OF[side]
        lengths = mask.sum(1).tolist()
        there = [row for row, length in enumerate(lengths) if length]
        zero = torch.zeros(len(lengths), self.model.config.hidden_size, device=values.device)
        if not there:
            # Also then part of the graph: the ranks that have the side wait for this one in the backward pass.
            return zero.requires_grad_(tower not in self.frozen and torch.is_grad_enabled())
        parts = [[there[at] for at in part] for part in length_parts([lengths[row] for row in there], self.sub_batches)]
        with torch.no_grad() if tower in self.frozen else contextlib.nullcontext():
            found = []
            for part in parts:
                longest = max(lengths[row] for row in part)
                rows = torch.tensor(part, device=values.device)
                found.append(self.model.features(tower, values[rows, :longest], mask[rows, :longest]))
            vectors = torch.cat(found)
            order = torch.tensor([row for part in parts for row in part], device=values.device)
            if len(there) == len(lengths):
                return vectors[order.argsort()]  # (B, E), in the order of the batch
            return zero.to(vectors.dtype).index_copy(0, order, vectors)

    def comparable(self, vectors: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return vectors (B, E) of the global batch, by side, as the loss compares them.

        As they are (released); or of length 1, those of trained towers standardised per dimension before. The latter
        keeps small towers that start at random from mapping everything to one point, where the gradient of the
        released loss vanishes. ``present`` (B,) says per side which rows there are; a tower's statistics are those of
        all its rows, whatever their side.
        """
        if not self.cosine:
            return dict(vectors)
        found: dict[str, Tensor] = {}
        for tower in dict.fromkeys(TOWER_OF[side] for side in vectors):
            sides = [side for side in vectors if TOWER_OF[side] == tower]
            rows = torch.cat([vectors[side][present[side]] for side in sides]).float()
            rows = nn.functional.normalize(self._standardised(tower, rows), dim=1)
            for side, part in zip(sides, rows.split([int(present[side].sum()) for side in sides]), strict=True):
                blank = torch.zeros_like(vectors[side], dtype=rows.dtype)
                found[side] = blank.index_copy(0, present[side].nonzero().flatten(), part)
        return found

    def _standardised(self, tower: str, rows: Tensor) -> Tensor:
        if tower not in self.norms:
            return rows
        norm = self.norms[tower]
        if len(rows) > 1 or not norm.training:
            return torch.as_tensor(norm(rows))
        assert isinstance(norm, nn.BatchNorm1d)  # one row has no variance: it takes the running statistics
        return nn.functional.batch_norm(rows, norm.running_mean, norm.running_var, eps=norm.eps)

    @torch.no_grad()
    def exported(self) -> Clamp3Model:
        """Return the model as a plain CLaMP 3: adapters and standardisation become part of copied weights."""
        model = merged(self.model)
        if not self.norms:
            return model
        model = copy.deepcopy(model) if model is self.model else model
        for tower, norm in self.norms.items():
            assert isinstance(norm, nn.BatchNorm1d) and norm.running_mean is not None and norm.running_var is not None
            scale, projection = (norm.running_var + norm.eps).rsqrt(), model.get_submodule(f"{tower}_proj")
            assert isinstance(projection, nn.Linear)
            projection.weight.mul_(scale[:, None])
            projection.bias.sub_(norm.running_mean).mul_(scale)
        return model


def tower_parts(model: Clamp3Model, tower: str) -> list[nn.Module]:
    """Return everything that belongs to a tower: its front end if it has one, its encoder, its projection."""
    names = [f"{tower}_{part}" for part in ("front", "model", "proj")]
    return [module for name, module in model.named_children() if name in names]
