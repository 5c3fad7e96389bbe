"""Folders of recordings to folders of features, which training on audio reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from clamp3.embedding.encoder import Result
from clamp3.errors import Clamp3Error
from clamp3.formats import Kind
from clamp3.formats.audio import Sound
from clamp3.jobs.identity import Identity
from clamp3.modalities.audio import AUDIO, MelFrames
from clamp3.sources import Source

if TYPE_CHECKING:
    from clamp3.models.mert import Mert


class _Features:
    """What makes features of recordings."""

    identity: str

    def identity_of(self, kind: Kind) -> str:
        """Return the identity of the features and of all that comes before them."""
        return str(replace(Identity.parse(self.identity), preprocessing=AUDIO.version(Kind.AUDIO)))


class MertFeatures(_Features):
    """MERT's vectors of recordings.

    Parameters
    ----------
    mert : Mert
        The model.
    mean : bool
        Arrays (1, chunks, D), the mean of all layers, in place of (layers + 1, chunks, D).
    """

    def __init__(self, mert: Mert, *, mean: bool) -> None:
        self._mert, self._mean = mert, mean
        self.identity = mert.identity

    def stream(
        self, items: Iterable[Source], *, batch_size: int | None, temporal: bool, n_workers: int | None
    ) -> Iterator[Result]:
        """Yield a result per recording; chunks of several run together.

        Parameters
        ----------
        items : iterable of Source
            Recordings.
        batch_size : int or None
            See `Mert.stream`.
        temporal, n_workers
            Of no influence here.
        """
        taken: list[tuple[Source, Sound]] = []

        def sounds() -> Iterator[Sound]:
            for source in items:
                taken.append((source, Sound(source.recording, source.name)))
                yield taken[-1][1]

        for index, value in self._mert.stream(sounds(), mean=self._mean, batch_size=batch_size):
            source, sound = taken[index]
            if isinstance(value, Clamp3Error):
                yield Result(index, source.name, error=str(value), sha256=source.sha256)
            else:
                yield Result(index, source.name, value, notes=tuple(sound.notes), sha256=source.sha256)


class MelFeatures(_Features):
    """Log-mel chunks of recordings, float16, made by several processes."""

    identity = str(Identity("mel", "float32"))

    def stream(
        self, items: Iterable[Source], *, batch_size: int | None, temporal: bool, n_workers: int | None
    ) -> Iterator[Result]:
        """Yield a result per recording, shape (1, T, 52 * 128).

        Parameters
        ----------
        items : iterable of Source
            Recordings.
        batch_size, temporal
            Of no influence here.
        n_workers : int or None
            Processes; None takes one per core.
        """
        from clamp3.jobs.parallel import process_map

        sources = list(items)
        payloads = [(source.recording, source.kind, source.name) for source in sources]
        for outcome in process_map(partial(AUDIO.prepare, front_end=MelFrames()), payloads, n_workers=n_workers):
            source = sources[outcome.index]
            if outcome.value is None:
                yield Result(outcome.index, source.name, error=outcome.error or "no result", sha256=source.sha256)
            else:
                chunks = outcome.value.values[1:-1].astype(np.float16)[None]  # without the zero vectors at the ends
                yield Result(outcome.index, source.name, chunks, notes=outcome.value.notes, sha256=source.sha256)
