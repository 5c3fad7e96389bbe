"""Several JSONLs in one run, and how much of an epoch comes from each.

Every piece keeps the store, and the pack, of its own JSONL. With weights, the pieces of each JSONL come in an order
of their own, as often as its share asks for; that is a function of seed and epoch, so nothing about it has to be saved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Dataset

from clamp3.data.records import Record
from clamp3.training.pair_data import EVALUATION, CollatePairs, Key, PairDataset

_FAR = 2**20  # epochs; more than a run has


class MixedPairs(Dataset[dict[str, np.ndarray]]):
    """The pieces of several data sets as one.

    Parameters
    ----------
    parts : sequence of PairDataset
        Alike but for their records.
    """

    def __init__(self, parts: Sequence[PairDataset]) -> None:
        self.parts = list(parts)
        self.sizes = [len(part) for part in parts]
        self.pairs, self.views, self.limits = parts[0].pairs, parts[0].views, parts[0].limits
        self._starts = np.cumsum([0, *self.sizes])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def digest(self) -> str:
        """Which pieces these are; see `PairDataset.digest`."""
        return ".".join(part.digest for part in self.parts)

    @property
    def lengths(self) -> list[int]:
        """Positions of every item's evaluation music; see `PairDataset.lengths`."""
        return [length for part in self.parts for length in part.lengths]

    @property
    def collate(self) -> CollatePairs:
        """What makes batches of these items."""
        return self.parts[0].collate

    def every_record(self) -> Iterator[Record]:
        """Yield the records in order."""
        for part in self.parts:
            yield from part.records

    def __getitem__(self, key: Key) -> dict[str, np.ndarray]:
        """Return what the part does; an index beyond the last begins again, with other draws."""
        epoch, index = key
        again, place = divmod(index, len(self))
        number = int(np.searchsorted(self._starts, place, "right")) - 1
        draw = EVALUATION if epoch == EVALUATION else epoch + again * _FAR
        return self.parts[number][draw, place - int(self._starts[number])]


def mixed(sizes: Sequence[int], weights: Sequence[float], *, epoch: int, seed: int) -> np.ndarray:
    """Return the items of an epoch, as many as there are in all: of each part the share that its weight asks for.

    Parameters
    ----------
    sizes : sequence of int
        Pieces of each part.
    weights : sequence of float
        Of each part.
    epoch, seed : int

    Returns
    -------
    int64 array, shape (about N,)
        Indices into the parts one after another; each time that a part begins again within the epoch, N more, so that
        a piece is then drawn anew.

    Examples
    --------
    >>> mixed([2, 6], [1, 1], epoch=0, seed=0).tolist()  # of the first both pieces twice, of the other four of six
    [0, 1, 9, 8, 7, 4, 2, 3]
    """
    total, start, found = sum(sizes), 0, []
    for number, (size, weight) in enumerate(zip(sizes, weights, strict=True)):
        share = round(total * weight / sum(weights)) if size else 0
        places = np.arange(epoch * share, (epoch + 1) * share, dtype=np.int64)
        for again, turn in enumerate(range(epoch * share // max(size, 1), -(-(epoch + 1) * share // max(size, 1)))):
            order = np.random.default_rng([seed, number + 1, turn]).permutation(size)
            here = places[places // size == turn] - turn * size
            found.append(order[here] + start + again * total)
        start += size
    return np.concatenate(found) if found else np.zeros(0, np.int64)
