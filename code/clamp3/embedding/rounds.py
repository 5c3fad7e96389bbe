"""What `clamp3.embedding.encoder` works through: one round of inputs, and what became of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from clamp3.embedding.passages import Passage
from clamp3.errors import FormatError, sentence_of
from clamp3.modalities import Prepared
from clamp3.sources import Item, Source, source_of

# One round: what is read, converted, sorted by length and encoded together; bounds the memory of long jobs.
_ROUND_ITEMS = 512
_ROUND_BYTES = 64 << 20
_STREAMED_BYTES = 1 << 20  # what the sequence of a recording takes, roughly


@dataclass(frozen=True)
class Result:
    """What became of one input.

    Attributes
    ----------
    index : int
        Position among the inputs, from 0.
    name : str
        Name of the input in messages.
    value : float32 array or None
        (D,) global vector, or (1, T, D) hidden states; None if there is an error.
    error : str or None
        One sentence on why there is no vector.
    notes : tuple of str
        Remarks on the conversion.
    sha256 : str or None
        Of the input's bytes; None if they could not be read.
    cached : bool
        Whether the vector comes from the cache.
    passages : tuple of Passage
        Where each row of ``value`` lies, if passages were asked for; ``value`` is (W, D) then.
    """

    index: int
    name: str
    value: np.ndarray | None = None
    error: str | None = None
    notes: tuple[str, ...] = ()
    sha256: str | None = None
    cached: bool = False
    passages: tuple[Passage, ...] = ()


class Round:
    """Inputs that are read, converted and encoded together; everything is keyed by their position in the round."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.names: list[str] = []
        self.sources: dict[int, Source] = {}
        self.data: dict[int, bytes] = {}
        self.sha256: dict[int, str] = {}
        self.keys: dict[int, str] = {}
        self.sequences: dict[int, Prepared] = {}
        self.errors: dict[int, str] = {}

    @classmethod
    def read(cls, queue: Iterator[Item], start: int) -> Round:
        """Take inputs from the queue until the round is full.

        Parameters
        ----------
        queue : iterator of inputs
        start : int
            Position of the first among all inputs.
        """
        work, n_bytes = cls(start), 0
        for item in queue:
            index = len(work.names)
            try:
                source = source_of(item)
            except FormatError as error:
                work.names.append(item if isinstance(item, str) and len(item) < 200 else sentence_of(item, 200))
                work.errors[index] = str(error)
            else:
                work.names.append(source.name)
                work.sources[index] = source
                try:
                    work.data[index], work.sha256[index] = source.open()
                except FormatError as error:
                    work.errors[index] = str(error)
                else:
                    n_bytes += len(work.data[index]) or _STREAMED_BYTES
            if len(work.names) >= _ROUND_ITEMS or n_bytes >= _ROUND_BYTES:
                break
        return work

    def failures(self) -> Iterator[Result]:
        """Yield the results of inputs that have an error by now."""
        for index in sorted(self.errors):
            yield self.result(index, error=self.errors[index])

    def result(
        self,
        index: int,
        *,
        value: np.ndarray | None = None,
        error: str | None = None,
        cached: bool = False,
        passages: tuple[Passage, ...] = (),
    ) -> Result:
        """Return what became of one input.

        Parameters
        ----------
        index : int
            Its position in the round.
        value, error, cached, passages
            As in `Result`.
        """
        sequence = self.sequences.get(index)
        notes = sequence.notes if sequence is not None else ()
        sha256 = self.sha256.get(index)
        return Result(self.start + index, self.names[index], value, error, notes, sha256, cached, passages)
