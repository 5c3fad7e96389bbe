"""Features of recordings, as training on audio reads them; `clamp3.embedding.extract` writes them for folders."""

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
from clamp3.modalities import Prepared, preprocessing_version
from clamp3.modalities.audio import AUDIO, FrontEnd, MelFrames
from clamp3.sources import Source

if TYPE_CHECKING:
    from clamp3.models.mert import Mert


class _Features:
    """What features of recordings share."""

    identity: str

    @property
    def preprocessing(self) -> str:
        """Version of what comes before; later ones concern scores only, and folders of features stay in use."""
        return preprocessing_version(2)

    def identity_of(self, kind: Kind) -> str:
        """Return the text of the `Identity` of model or frames, their arithmetic and the decoding of recordings."""
        return str(replace(Identity.parse(self.identity), preprocessing=AUDIO.version(Kind.AUDIO)))


class MertFeatures(_Features):
    """MERT's vectors of recordings.

    Parameters
    ----------
    mert : Mert
        The model.
    mean : bool
        Whether arrays are (1, chunks, D), the mean of all layers, in place of (layers + 1, chunks, D).
    """

    def __init__(self, mert: Mert, *, mean: bool) -> None:
        self._mert, self._mean = mert, mean
        self.identity = mert.identity

    def stream(
        self,
        items: Iterable[Source],
        *,
        batch_size: int | None = None,
        temporal: bool = False,
        n_workers: int | None = None,
    ) -> Iterator[Result]:
        """Yield a result per recording; chunks of several run together.

        Parameters
        ----------
        items : iterable of Source
            Recordings.
        batch_size : int, optional
            See `clamp3.models.mert.Mert.stream`.
        temporal, n_workers
            Ignored.
        """
        taken: dict[int, tuple[Source, Sound]] = {}  # only while they are needed: those of archives hold their bytes

        def sounds() -> Iterator[Sound]:
            for index, source in enumerate(items):
                taken[index] = source, Sound(source.recording, source.name)
                yield taken[index][1]

        for index, value in self._mert.stream(sounds(), mean=self._mean, batch_size=batch_size):
            source, sound = taken.pop(index)
            if isinstance(value, Clamp3Error):
                yield Result(index, source.name, error=str(value), sha256=source.sha256)
            else:
                yield Result(index, source.name, value, notes=tuple(sound.notes), sha256=source.sha256)


class MelFeatures(_Features):
    """Log-mel frames of recordings, float16, made by several processes.

    Parameters
    ----------
    front_end : FrontEnd, optional
        What makes them and pickles; the chunks of CLaMP 3's mel front end by default.
    """

    def __init__(self, front_end: FrontEnd | None = None) -> None:
        self._front_end = front_end or MelFrames()
        self.identity = str(Identity(self._front_end.identity, "float32"))

    def stream(
        self,
        items: Iterable[Source],
        *,
        batch_size: int | None = None,
        temporal: bool = False,
        n_workers: int | None = None,
    ) -> Iterator[Result]:
        """Yield a result per recording, shape (1, T, D): rows of the front end, such as chunks of 52 * 128.

        Parameters
        ----------
        items : iterable of Source
            Recordings.
        batch_size, temporal
            Ignored.
        n_workers : int, optional
            Processes; None takes one per core.
        """
        from clamp3.jobs.parallel import process_map

        sources = list(items)
        for outcome in process_map(partial(_prepare, front_end=self._front_end), sources, n_workers=n_workers):
            source = sources[outcome.index]
            if outcome.value is None:
                yield Result(outcome.index, source.name, error=outcome.error or "no result", sha256=source.sha256)
            else:
                chunks = outcome.value.values[1:-1].astype(np.float16)[None]  # without the zero vectors at the ends
                yield Result(outcome.index, source.name, chunks, notes=outcome.value.notes, sha256=source.sha256)


def _prepare(source: Source, front_end: FrontEnd) -> Prepared:
    """Prepare a recording; runs in a worker, which reads it from an archive if it lies in one."""
    return AUDIO.prepare((source.recording, source.kind, source.name), front_end)
