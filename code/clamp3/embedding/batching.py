"""Sequences of any length through a tower: windows of all of them, sorted by length, in batches with little padding.

Shapes: B batch, T positions (tokens, patches or audio vectors), D width, E width of the joint space.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clamp3.embedding.windows import windows
from clamp3.errors import DataError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Budget:
    """How many positions to encode together.

    Attributes
    ----------
    most : int
        Positions of a batch, padding included; a single window may exceed it.
    enough : int
        From here on larger batches are no faster and padding only costs time: the batch is closed when the next window
        is more than a twentieth shorter than the longest.
    """

    most: int
    enough: int


# On a CPU with AVX-512 the time per patch is flat from 160 patches on. The widest tensors of 1,024 patches in float32,
# or 2,048 in bfloat16, take 12.6 MB, which malloc still keeps for the next layer. Blocks of twice that size are given
# back to the system, and allocating them again takes a tenth of the time.
_FLOAT32, _BFLOAT16 = 4, 2  # bytes of a number
_GPU = Budget(65536, 8192)
BUDGETS = {
    ("cpu", _FLOAT32): Budget(1024, 256),
    ("cpu", _BFLOAT16): Budget(2048, 256),
    ("cuda", _FLOAT32): _GPU,
    ("cuda", _BFLOAT16): _GPU,
}
_MAX_PADDING = 0.05


@dataclass(frozen=True)
class Tower:
    """The parts of a model that `run` uses.

    Attributes
    ----------
    encode : callable
        (B, T, …) inputs and (B, T) mask, True at real positions, to (B, T, D) hidden states.
    features : callable
        The same inputs to (B, E) vectors.
    limit : int
        Most positions of a window.
    pad : int
        Value that pads short windows.
    device, dtype
        Of the inputs; integers stay integers.
    """

    encode: Callable[[Tensor, Tensor], Tensor]
    features: Callable[[Tensor, Tensor], Tensor]
    limit: int
    pad: int
    device: torch.device
    dtype: torch.dtype


@dataclass(frozen=True)
class Piece:
    """One window: positions ``start`` to ``stop`` (exclusive) of sequence ``owner``, and its weight there."""

    owner: int
    start: int
    stop: int
    weight: int

    @property
    def length(self) -> int:
        """Positions in the window."""
        return self.stop - self.start


def plan(lengths: Sequence[int], *, limit: int, budget: Budget, batch_size: int | None = None) -> list[list[Piece]]:
    """Cut sequences into windows and group windows of similar length.

    Parameters
    ----------
    lengths : sequence of int
        Positions of each sequence, all above 0.
    limit : int
        Most positions of a window.
    budget : Budget
        When a batch is full.
    batch_size : int, optional
        Most windows of a batch.

    Returns
    -------
    list of list of Piece
        Longest first, so that a batch that does not fit into memory fails at once.
    """
    pieces = [
        Piece(owner, start, stop, weight)
        for owner, length in enumerate(lengths)
        for start, stop, weight in windows(length, limit)
    ]
    pieces.sort(key=lambda piece: (-piece.length, piece.owner, piece.start))
    batches: list[list[Piece]] = []
    longest = 0
    for piece in pieces:
        if batches:
            batch = batches[-1]
            fits = longest * (len(batch) + 1) <= budget.most and (batch_size is None or len(batch) < batch_size)
            wasteful = piece.length < longest * (1 - _MAX_PADDING) and longest * len(batch) >= budget.enough
            if fits and not wasteful:
                batch.append(piece)
                continue
        batches.append([piece])
        longest = piece.length
    return batches


def run(
    sequences: Sequence[np.ndarray],
    tower: Tower,
    *,
    budget: Budget | None = None,
    batch_size: int | None = None,
    temporal: bool = False,
) -> Iterator[tuple[int, np.ndarray | DataError]]:
    """Encode sequences.

    Parameters
    ----------
    sequences : sequence of arrays, shapes (T,), (T, 64) or (T, D)
        Token ids, patches or audio vectors of each input, uncut.
    tower : Tower
        What encodes them.
    budget : Budget, optional
        See `plan`; None takes the device's and type's from `BUDGETS`.
    batch_size : int, optional
        See `plan`.
    temporal : bool
        Return hidden states in place of one vector.

    Yields
    ------
    (int, array or DataError)
        Number of a sequence, as soon as its last window is done, and its value, float32: the mean of its windows'
        vectors with the weights of `clamp3.embedding.windows.windows`, shape (E,); or, temporal, the hidden states of
        its windows with the overlap of the last kept once, shape (1, T, D). A DataError where the encoder gave NaN or
        infinity.
    """
    lengths = [len(sequence) for sequence in sequences]
    budget = budget or BUDGETS.get((tower.device.type, tower.dtype.itemsize), BUDGETS["cpu", _FLOAT32])
    batches = plan(lengths, limit=tower.limit, budget=budget, batch_size=batch_size)
    missing = Counter(piece.owner for batch in batches for piece in batch)
    done: dict[int, list[tuple[Piece, np.ndarray]]] = defaultdict(list)
    for batch in batches:
        for piece, row in zip(batch, _run_batch(sequences, batch, tower, temporal), strict=True):
            done[piece.owner].append((piece, row))
            missing[piece.owner] -= 1
            if not missing[piece.owner]:
                value = _join(done.pop(piece.owner), temporal)
                good = bool(np.isfinite(value).all())
                yield piece.owner, value if good else DataError("the encoder gave NaN or infinity; use float32.")


def _join(rows: list[tuple[Piece, np.ndarray]], temporal: bool) -> np.ndarray:
    """Return one input's value from those of its windows."""
    rows.sort(key=lambda pair: pair[0].start)
    if temporal:
        kept = [row[piece.length - piece.weight :] for piece, row in rows]
        return np.concatenate(kept)[None]  # (1, T, D)
    total = sum(piece.weight * row.astype(np.float64) for piece, row in rows)
    return np.asarray(total / sum(piece.weight for piece, _ in rows), np.float32)  # (E,)


def _run_batch(sequences: Sequence[np.ndarray], batch: list[Piece], tower: Tower, temporal: bool) -> list[np.ndarray]:
    """Return one float32 array per window; a batch that does not fit into GPU memory is halved."""
    import torch

    try:
        with torch.inference_mode():
            inputs, mask = _collate(sequences, batch, tower)
            if temporal:
                rows = tower.encode(inputs, mask).float().cpu().numpy()  # (B, T, D)
                return [rows[i, : window.length] for i, window in enumerate(batch)]
            return list(tower.features(inputs, mask).float().cpu().numpy())
    except torch.cuda.OutOfMemoryError:
        if len(batch) == 1:
            raise
    log.info("a batch of %d windows did not fit into memory; going on with halves.", len(batch))
    torch.cuda.empty_cache()
    half = len(batch) // 2
    return [row for part in (batch[:half], batch[half:]) for row in _run_batch(sequences, part, tower, temporal)]


def _collate(sequences: Sequence[np.ndarray], batch: list[Piece], tower: Tower) -> tuple[Tensor, Tensor]:
    """Return inputs (B, T, …) padded to the longest window of the batch, and their mask (B, T)."""
    import torch

    first = sequences[batch[0].owner]
    longest = max(window.length for window in batch)
    inputs = np.full((len(batch), longest, *first.shape[1:]), tower.pad, first.dtype)
    mask = np.zeros((len(batch), longest), bool)
    for row, window in enumerate(batch):
        inputs[row, : window.length] = sequences[window.owner][window.start : window.stop]
        mask[row, : window.length] = True
    tensor = torch.from_numpy(inputs).to(tower.device)
    if tensor.is_floating_point():
        tensor = tensor.to(tower.dtype)
    elif tensor.ndim == 2:
        tensor = tensor.long()  # token ids; patches stay bytes until the gather
    return tensor, torch.from_numpy(mask).to(tower.device)
