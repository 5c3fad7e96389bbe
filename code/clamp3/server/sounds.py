"""Recordings that clients send: decoded by a worker process, because a decoder may crash on what it is given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clamp3.errors import Clamp3Error, FormatError
from clamp3.formats import Kind
from clamp3.jobs.limits import allowance, within
from clamp3.jobs.parallel import Workers
from clamp3.sources import Source, samples_source


@dataclass(frozen=True)
class _Job:
    data: bytes
    name: str
    longest_sec: float


class Sounds:
    """Decodes recordings with a worker process that stays.

    Parameters
    ----------
    longest_sec : float
        Longer ones are refused.
    """

    def __init__(self, longest_sec: float) -> None:
        self._longest_sec = longest_sec
        self._workers: Workers[_Job, np.ndarray] = Workers(_decoded, timeout_sec=60.0, memory_limit_mb=2048)

    def decoded(self, source: Source) -> Source:
        """Return a recording as samples, which no decoder can stumble over."""
        from clamp3.formats.audio import RATE_HZ

        [outcome] = self._workers.map([_Job(source.read(), source.name, self._longest_sec)], n_workers=1)
        if outcome.value is None:
            raise Clamp3Error(outcome.error or f"{source.name} cannot be decoded.")
        return samples_source(outcome.value, RATE_HZ, source.name)


def _decoded(job: _Job) -> np.ndarray:
    from clamp3.formats.audio import Sound

    sound = Sound(job.data, job.name)
    samples = within(allowance(job.data, Kind.AUDIO), lambda: sound.read(job.longest_sec + 1))
    if sound.seconds > job.longest_sec:
        raise FormatError(f"{job.name} is longer than {job.longest_sec:g} s, the limit for what is sent.")
    return samples
