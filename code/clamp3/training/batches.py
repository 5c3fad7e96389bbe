"""Which items make up which batch: a pure function of seed, epoch, rank and world size.

Nothing about the order has to be saved, so a run resumed in the middle of an epoch goes on with the
very batches an uninterrupted run would have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np


def epoch_batches(
    lengths: Sequence[int] | np.ndarray,
    batch_size: int,
    *,
    epoch: int,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    bucket: bool = False,
    arrange: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None,
) -> list[np.ndarray]:
    """Return this rank's batches of one epoch.

    Parameters
    ----------
    lengths : sequence of int
        Length of every item after cropping; only their order matters, and only with ``bucket``.
    batch_size : int
        Items per rank and step.
    epoch, seed : int
        Together they fix the order; every rank must pass the same.
    rank, world_size : int
        Rank r takes its contiguous share of every global batch.
    bucket : bool
        Put items of like length together (within 50 batches at a time). Harmless where the loss is a
        sum over items, as in M3; with a contrastive loss it would choose the negatives by length.
    arrange : callable, optional
        From the order of items, at random, to the one that is cut into batches.

    Returns
    -------
    list of int array
        Item indices: views of one array, so that millions of items cost four bytes each. The same number of
        batches on every rank. All have ``batch_size`` items except where the data
        have fewer than one global batch: then one smaller batch, equal on all ranks. With ``bucket``
        the remainder forms a last smaller batch; without it is left out (this epoch).
    """
    rng = np.random.default_rng([seed, epoch])
    order = np.arange(len(lengths), dtype=np.int32)
    rng.shuffle(order)
    if arrange is not None:
        order = arrange(order, rng)
    step = batch_size * world_size
    if bucket:
        lengths = np.asarray(lengths)
        for at in range(0, len(order), 50 * step):
            pool = order[at : at + 50 * step]
            pool[:] = pool[np.argsort(lengths[pool], kind="stable")]
    groups = [order[at : at + step] for at in range(0, len(order), step)]
    if groups and len(groups[-1]) < step:
        short = groups.pop()
        share = len(short) // world_size
        if share and (bucket or not groups):
            groups.append(short[: share * world_size])
    if bucket:
        groups = [groups[at] for at in rng.permutation(len(groups))]
    return [group[rank * len(group) // world_size : (rank + 1) * len(group) // world_size] for group in groups]


def length_parts(lengths: Sequence[int], n_parts: int) -> list[list[int]]:
    """Return positions grouped by length: at most ``n_parts`` groups, shortest first.

    Used inside a step to encode a batch in length-sorted sub-batches; every position occurs once.
    The cut points minimise the number of padded cells (items x longest) over all contiguous cuts.

    Parameters
    ----------
    lengths : sequence of int
        Of the items.
    n_parts : int
    """
    order = np.argsort(np.asarray(lengths), kind="stable")
    n = len(order)
    longest = np.asarray(lengths)[order]
    least = np.full(n + 1, np.inf)  # least padded cells of the first i items in the parts so far
    least[0] = 0
    cuts: list[np.ndarray] = []
    for _ in range(min(n_parts, n)):
        now, cut = least.copy(), np.arange(n + 1)  # a part may stay empty
        for stop in range(1, n + 1):
            costs = least[:stop] + (stop - np.arange(stop)) * longest[stop - 1]
            start = int(costs.argmin())
            if costs[start] < now[stop]:
                now[stop], cut[stop] = costs[start], start
        least = now
        cuts.append(cut)
    parts: list[list[int]] = []
    stop = n
    for cut in reversed(cuts):
        if cut[stop] < stop:
            parts.append(order[cut[stop] : stop].tolist())
        stop = int(cut[stop])
    return parts[::-1]
