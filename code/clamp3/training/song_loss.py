"""HTCL's losses of both stages, over the vectors of songs of any model with music and text in one space.

Shapes: B songs, or pairs, of a rank; N of all ranks; E width of the joint space. Vectors of stage 2 are those of the B
triggers, then of the B songs they lead to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clamp3.training.loss import contrastive_loss, gather_with_gradient, world
from clamp3.training.negatives import MOST, NOTHING, sharing

_NO_ARTIST = 0.02  # names of a larger share of the songs, and of more than 20, are none: "traditional", "unknown"


class FalseNegatives:
    """Which songs of a batch are no negatives of each other, though they are not each other's pair.

    Parameters
    ----------
    kinds : collection of str
        Of `clamp3.training.htcl_config.MASKS`.
    pairs : int array, shape (P, 2)
        Songs that training pairs link, in either order.
    artists : sequence of sequence of str
        Of every song. A name of more than 20 songs and 2 % of all, such as "traditional", does not count.

    Examples
    --------
    >>> found = FalseNegatives(("song", "pair"), np.array([[0, 1], [2, 3]]), [()] * 4)
    >>> found.linked(torch.tensor([0, 2]), torch.tensor([1, 3])).tolist()  # the pairs themselves always count
    [[False, False], [False, False]]
    >>> found.linked(torch.tensor([0, 1]), torch.tensor([1, 3])).tolist()  # song 1 is no negative of itself
    [[False, False], [True, False]]
    """

    def __init__(self, kinds: Collection[str], pairs: np.ndarray, artists: Sequence[Sequence[str]]) -> None:
        self.kinds, self._n = frozenset(kinds), len(artists)
        both = np.concatenate([pairs, pairs[:, ::-1]]).astype(np.int64)
        self._codes = torch.from_numpy(np.unique(both[:, 0] * self._n + both[:, 1]))
        numbers: dict[str, int] = {}
        table = np.full((self._n, MOST), NOTHING, np.int64)
        cleaned = [dict.fromkeys(name.strip().casefold() for name in names if name.strip()) for names in artists]
        counts = Counter(name for names in cleaned for name in names)
        for song, names in enumerate(cleaned):
            known = [name for name in names if counts[name] <= max(20, _NO_ARTIST * self._n)]
            for place, name in enumerate(known[:MOST]):
                table[song, place] = numbers.setdefault(name, len(numbers))
        self._artists = torch.from_numpy(table)

    def same(self, songs: Tensor) -> Tensor:
        """Return (N, N) where songs (N,) occur again."""
        found = songs[:, None] == songs if "song" in self.kinds else songs.new_zeros(len(songs), len(songs)).bool()
        return found.fill_diagonal_(False)

    def linked(self, one: Tensor, other: Tensor) -> Tensor:
        """Return (N, N): which of the other songs are no negatives of one.

        Parameters
        ----------
        one, other : int64 tensor, shape (N,)
            Songs of the pairs.
        """
        self._codes, self._artists = self._codes.to(one.device), self._artists.to(one.device)
        found = torch.zeros(len(one), len(other), dtype=torch.bool, device=one.device)
        if "song" in self.kinds:
            found |= (one[:, None] == other) | (one[:, None] == one) | (other[:, None] == other)
        if "pair" in self.kinds and len(self._codes):
            codes = one[:, None] * self._n + other
            found |= self._codes[torch.searchsorted(self._codes, codes).clamp(max=len(self._codes) - 1)] == codes
        if "artist" in self.kinds:
            found |= sharing(self._artists[one], self._artists[other])
        return found.fill_diagonal_(False)


class Fusing(Protocol):
    """What makes one vector of the audio and the text vector of a piece."""

    def fuse(self, audio: Tensor, text: Tensor) -> Tensor:
        """Return (B, E).

        Parameters
        ----------
        audio, text : Tensor, shape (B, E)
        """


class HtclObjective(nn.Module):
    """The losses of both stages with their learned scales, whose logarithms have the published names.

    Parameters
    ----------
    stage : {1, 2}
    start_scale : float
        Logarithm of the scales at the start.
    detach_negatives : bool
        As published: every rank computes the whole loss, and the vectors of other ranks take no gradient.
    weights : (float, float, float)
        Of the terms of stage 2: music and text, both songs of a pair, a song and the fused other one.
    negatives : FalseNegatives, optional
        Songs of a batch that are no negatives; without, as published, all others are.
    """

    tau: Tensor
    tau_1: Tensor
    tau_2: Tensor
    tau_3: Tensor

    def __init__(
        self,
        stage: int,
        *,
        start_scale: float = 2.6,
        detach_negatives: bool = False,
        weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
        negatives: FalseNegatives | None = None,
    ) -> None:
        super().__init__()
        self.stage, self.detach_negatives, self.weights, self.negatives = stage, detach_negatives, weights, negatives
        for name in ("tau",) if stage == 1 else ("tau_1", "tau_2", "tau_3"):
            self.register_parameter(name, nn.Parameter(torch.tensor(float(start_scale))))

    def forward(
        self,
        model: Fusing,
        audio: Tensor,
        text: Tensor,
        *,
        songs: Tensor | None = None,
        spread: bool = True,
        own: slice | None = None,
    ) -> dict[str, Tensor]:
        """Return the loss as ``loss``, of stage 2 also its three terms.

        Parameters
        ----------
        model : Fusing
            Fuses the vectors of stage 2.
        audio, text : Tensor, shape (B, E) or (2 B, E)
            Vectors of the same songs, ``audio`` of any kind of music.
        songs : int64 tensor, shape (B,) or (2 B,), optional
            Their numbers, for ``negatives``.
        spread : bool
            Whether they are this rank's part of a batch; what is returned are then shares.
        own : slice, optional
            The vectors are those of all ranks already, and these pairs are this rank's.
        """
        parts = [audio.float(), text.float()]
        if self.stage == 2:
            parts.append(model.fuse(*parts).float())
        rank, n_ranks = world() if spread else (0, 1)
        if own is None and n_ranks > 1:
            size = len(audio) // self.stage
            parts = [self._of_all(part, rank) for part in parts]
            with torch.no_grad():
                songs = None if songs is None else self._gathered(songs)
            own = None if self.detach_negatives else slice(rank * size, (rank + 1) * size)
        audio, text, *fused = (F.normalize(part, dim=1) for part in parts)
        masks = self.negatives if songs is not None else None
        if self.stage == 1:
            same = None if masks is None or songs is None else masks.same(songs)
            return {"loss": contrastive_loss(audio, text, logit_scale=self.tau.exp(), own=own, left_out=same)}
        return self._stage_2(audio, text, fused[0], songs, masks, own)

    def _stage_2(
        self,
        audio: Tensor,
        text: Tensor,
        fused: Tensor,
        songs: Tensor | None,
        masks: FalseNegatives | None,
        own: slice | None,
    ) -> dict[str, Tensor]:
        """Return loss and terms of vectors (2 N, E) of length 1."""
        order = torch.arange(len(audio), device=audio.device).view(2, -1).T.flatten()  # both songs of a pair, next pair
        same = linked = None
        if masks is not None and songs is not None:
            same, linked = masks.same(songs[order]), masks.linked(*songs.chunk(2))
        (one, other), (fused_one, fused_other) = audio.chunk(2), fused.chunk(2)
        both = own and slice(2 * own.start, 2 * own.stop)
        scales = [scale.exp() for scale in (self.tau_1, self.tau_2, self.tau_3)]
        back = None if linked is None else linked.T
        terms = {
            "loss_text": contrastive_loss(audio[order], text[order], logit_scale=scales[0], own=both, left_out=same),
            "loss_pair": contrastive_loss(one, other, logit_scale=scales[1], own=own, left_out=linked),
            "loss_fused": (
                contrastive_loss(one, fused_other, logit_scale=scales[2], own=own, left_out=linked)
                + contrastive_loss(other, fused_one, logit_scale=scales[2], own=own, left_out=back)
            )
            / 2,
        }
        loss = torch.stack([weight * term for weight, term in zip(self.weights, terms.values(), strict=True)]).sum()
        return {"loss": loss, **terms}

    def _of_all(self, vectors: Tensor, rank: int) -> Tensor:
        """Return the vectors of all ranks, of stage 2 all triggers first."""
        if not self.detach_negatives:
            return self._gathered(vectors)
        with torch.no_grad():
            found = [gather_with_gradient(part) for part in vectors.chunk(self.stage)]
        size = len(vectors) // self.stage
        mine = slice(rank * size, (rank + 1) * size)
        pairs = zip(found, vectors.chunk(self.stage), strict=True)
        return torch.cat([torch.cat([theirs[: mine.start], ours, theirs[mine.stop :]]) for theirs, ours in pairs])

    def _gathered(self, rows: Tensor) -> Tensor:
        return torch.cat([gather_with_gradient(part) for part in rows.chunk(self.stage)])
