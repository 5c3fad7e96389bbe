"""The towers of a training run as one module: what is frozen, what is standardised, what is exported."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from clamp3.data.views import views
from clamp3.errors import ConfigError
from clamp3.models.bert import Bert
from clamp3.models.towers import TowerModel
from clamp3.training.batches import length_parts
from clamp3.training.loading import lengths_of, sent
from clamp3.training.lora import merged
from clamp3.training.loss import Objective


class PairEncoder(nn.Module):
    """All towers in one forward, so that DistributedDataParallel sees one call per step.

    Parameters
    ----------
    model : TowerModel
        Of any family whose towers share one space.
    frozen : sequence of str
        Towers that are not trained: no gradient, no dropout.
    sub_batches : int
        Length-sorted parts a batch is encoded in. Vectors do not depend on it; padding is saved.
    standardise : collection of str
        Towers whose vectors are standardised for the comparison. Frozen ones never are: their projection has to stay
        as it is, and their vectors are compared by cosine as a search does.
    objective : Module, optional
        The loss, with what it learns of its own; the published one by default.
    last_layers : mapping of str to int, optional
        Towers of which only so many last layers train, and the projection; the rest is frozen.
    """

    def __init__(
        self,
        model: TowerModel,
        *,
        frozen: Sequence[str] = (),
        sub_batches: int = 1,
        standardise: Collection[str] = (),
        objective: nn.Module | None = None,
        last_layers: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.model, self.frozen, self.sub_batches = model, tuple(frozen), sub_batches
        self.cosine = bool(standardise)
        self.objective: nn.Module = objective or Objective()
        width = model.config.hidden_size
        trained = [name for name in model.config.towers if name in standardise and name not in frozen]
        for name in trained:
            if model.config.projection(name) is None:  # nothing could take up the statistics at the end
                raise ConfigError(f"--standardise needs a projection at the end of a tower; {name} has none.")
        self.norms = nn.ModuleDict({name: nn.BatchNorm1d(width, affine=False) for name in trained})
        for name in self.frozen:
            for part in tower_parts(model, name):
                part.requires_grad_(False)
        self.last_layers = dict(last_layers or {})
        for name, n_layers in self.last_layers.items():
            kept = {id(p) for part in last_parts(model, name, n_layers) for p in part.parameters()}
            for parameter in (p for part in tower_parts(model, name) for p in part.parameters()):
                if id(parameter) not in kept:
                    parameter.requires_grad_(False)
        for name in trained:
            for bias in shifts(model, name):
                bias.requires_grad_(False)

    def train(self, mode: bool = True) -> PairEncoder:
        """Set the mode of what is trained; what is frozen stays in evaluation mode."""
        super().train(mode)
        for name in self.frozen:
            for part in tower_parts(self.model, name):
                part.eval()
        for name, n_layers in self.last_layers.items():
            for part in tower_parts(self.model, name):
                part.eval()
            for part in last_parts(self.model, name, n_layers):
                part.train(mode)
        return self

    @property
    def idle(self) -> list[nn.Parameter] | None:
        """Trainable parameters that no vector depends on; None if the model does not know."""
        found = self.model.idle()
        return None if found is None else [parameter for parameter in found if parameter.requires_grad]

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return vectors (B, E) by view of a batch of ``CollatePairs``; zero where a piece lacks the view."""
        found = {}
        for view in views().values():
            if view.name in batch:
                values, mask = batch[view.name], batch[f"{view.name}_mask"]
                found[view.name] = self._features(view.tower, values, mask, lengths_of(batch, view.name))
        # DistributedDataParallel waits for the gradients of what it sees in the output, so the loss's own are in it.
        unseen = sum((parameter * 0 for parameter in self.objective.parameters()), start=torch.zeros(()))
        return {view: vectors + unseen for view, vectors in found.items()} if unseen.requires_grad else found

    def _features(self, tower: str, values: Tensor, mask: Tensor, lengths: list[int]) -> Tensor:
        there = [row for row, length in enumerate(lengths) if length]
        zero = torch.zeros(len(lengths), self.model.config.hidden_size, device=values.device)
        if not there:
            # Also then part of the graph: the ranks that have the view wait for this one in the backward pass.
            return zero.requires_grad_(tower not in self.frozen and torch.is_grad_enabled())
        parts = [[there[at] for at in part] for part in length_parts([lengths[row] for row in there], self.sub_batches)]
        order = [row for part in parts for row in part]
        rows = sent(order, values.device)
        with torch.no_grad() if tower in self.frozen else contextlib.nullcontext():
            found = []
            for part, mine in zip(parts, rows.split([len(part) for part in parts]), strict=True):
                longest = max(lengths[row] for row in part)
                # Without padding there is no mask, and attention may take its quickest kernel.
                padded = min(lengths[row] for row in part) < longest
                masked = mask[mine, :longest] if padded else None
                found.append(self.model.features(tower, values[mine, :longest], masked))
            vectors = torch.cat(found)
            if len(there) == len(lengths):
                back = sorted(range(len(order)), key=order.__getitem__)
                return vectors[sent(back, values.device)]  # (B, E), in the order of the batch
            return zero.to(vectors.dtype).index_copy(0, rows, vectors)

    def comparable(self, vectors: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the vectors of the global batch as the loss compares them.

        As they are (released); or of length 1, those of trained towers standardised per dimension before. The latter
        keeps small towers that start at random from mapping everything to one point, where the gradient of the
        released loss vanishes. A tower's statistics are those of all its rows, whatever their view.

        Parameters
        ----------
        vectors : mapping of str to Tensor, shape (B, E)
            By view.
        present : mapping of str to Tensor, shape (B,), bool
            Which rows have the view; on the CPU.
        """
        if not self.cosine:
            return dict(vectors)
        found: dict[str, Tensor] = {}
        towers = {view: views()[view].tower for view in vectors}
        for tower in dict.fromkeys(towers.values()):
            seen = [view for view in vectors if towers[view] == tower]
            chosen = {view: present[view].nonzero().flatten().tolist() for view in seen}
            places = {view: sent(rows, vectors[view].device) for view, rows in chosen.items()}
            rows = torch.cat([vectors[view][places[view]] for view in seen]).float()
            rows = nn.functional.normalize(self._standardised(tower, rows), dim=1)
            for view, part in zip(seen, rows.split([len(chosen[view]) for view in seen]), strict=True):
                blank = torch.zeros_like(vectors[view], dtype=rows.dtype)
                found[view] = blank.index_copy(0, places[view], part)
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
    def exported(self) -> TowerModel:
        """Return the model as its family has it: adapters and standardisation become part of copied weights."""
        model = merged(self.model)
        if not self.norms:
            return model
        model = copy.deepcopy(model) if model is self.model else model
        for tower, norm in self.norms.items():
            assert isinstance(norm, nn.BatchNorm1d) and norm.running_mean is not None and norm.running_var is not None
            scale = (norm.running_var + norm.eps).rsqrt()
            projection = model.get_submodule(model.config.projection(tower) or "")
            assert isinstance(projection, nn.Linear)
            projection.weight.mul_(scale[:, None])
            projection.bias.sub_(norm.running_mean).mul_(scale)
        return model


def shifts(model: TowerModel, tower: str) -> list[nn.Parameter]:
    """Return the biases of a tower that cannot change its standardised vectors.

    That of the projection, and of the last layer's normalisation, move all vectors alike; that of a key moves all
    scores of a query alike. Their gradient is rounding, and Adam would walk along it at the full rate.

    Parameters
    ----------
    model : TowerModel
    tower : str
    """
    owners: list[nn.Module] = [model.get_submodule(model.config.projection(tower) or "")]
    for part in tower_parts(model, tower):
        for encoder in part.modules():
            if isinstance(encoder, Bert):
                layers = list(encoder.encoder.layer)
                owners += [layer.get_submodule("attention.self.key") for layer in layers]
                owners += [layer.get_submodule("output.LayerNorm") for layer in layers[-1:]]
    found = [getattr(owner, "bias", None) for owner in owners]
    return [bias for bias in found if isinstance(bias, nn.Parameter)]


def last_parts(model: TowerModel, tower: str, n_layers: int) -> list[nn.Module]:
    """Return the projection of a tower, and the last layers of its encoder.

    Parameters
    ----------
    model : TowerModel
    tower : str
    n_layers : int

    Raises
    ------
    ConfigError
        If it has fewer layers.
    """
    projection = model.config.projection(tower)
    found = [model.get_submodule(projection)] if projection else []
    encoders = [module for part in tower_parts(model, tower) for module in part.modules() if isinstance(module, Bert)]
    there = sum(len(encoder.encoder.layer) for encoder in encoders)
    if n_layers > there or not (n_layers or found):
        raise ConfigError(f"--train_layers {tower}={n_layers}: the tower has {there} layers.")
    for encoder in encoders:
        found += list(encoder.encoder.layer)[len(encoder.encoder.layer) - n_layers :]
    return found


def tower_parts(model: TowerModel, tower: str) -> list[nn.Module]:
    """Return everything that belongs to a tower: its front end if it has one, its encoder, its projection.

    Parameters
    ----------
    model : TowerModel
    tower : str
    """
    return [module for name, module in model.named_children() if name in model.config.parts(tower)]
