"""Clips of recordings as examples of their own, as MARBLE's two versions cut them.

Sources: benchmark/tasks of MARBLE's first version at d9300e3 (``GS/preprocess.py``, ``EMO_base_config.yaml``,
``VocalSet/preprocess.py``, ``MTG*_base_config.yaml``), ``configs/probe.CLaMP3.*.yaml`` and ``core/base_datamodule.py``
of its second at 938c03a.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from clamp3.errors import ConfigError, FormatError
from clamp3.formats import Kind
from clamp3.sources import Source, samples_source

_FRAME_SEC, _SILENCE = 0.01, 1e-4  # a frame is silent 40 dB below the loudest
_SLACK_SEC = 0.01  # decoders and resampling may lose some samples at the end


@dataclass(frozen=True)
class Cut:
    """How a recording is cut, without overlap.

    Attributes
    ----------
    seconds : float
        Length of a clip.
    shortest : float, optional
        What remains at the end is a clip too if it lasts so many seconds; None drops it.
    longest : float, optional
        Only so many seconds of the recording, from its beginning.
    padded : bool
        Fill a shorter clip with zeros.
    trimmed : bool
        Without the silence at the beginning.
    """

    seconds: float
    shortest: float | None = None
    longest: float | None = None
    padded: bool = False
    trimmed: bool = False


_SECOND_VERSION = Cut(30, shortest=24, padded=True)
# By protocol and data set; None takes recordings as they are.
CUTS: Mapping[str, Mapping[str, Cut | None]] = MappingProxyType(
    {
        "marble": {
            "mtt": None,
            "gs": Cut(30),
            "gtzan": None,
            "emo": Cut(5, shortest=1, longest=30),
            "nsynth": None,
            "vocalset": Cut(3, trimmed=True),
            "jamendo": Cut(30, shortest=1),
        },
        "marble-clamp3": dict.fromkeys(("mtt", "gtzan", "jamendo"), _SECOND_VERSION),
    }
)
PROTOCOLS = ("published", *CUTS)


def cut_of(protocol: str, name: str) -> Cut | None:
    """Return how a protocol cuts the recordings of a data set; None = not at all.

    Parameters
    ----------
    protocol : str
        One of `PROTOCOLS`.
    name : str
        Of the benchmark.

    Raises
    ------
    ConfigError
        If there is no such protocol, or not for this data set.
    """
    if protocol == "published":
        return None
    if protocol not in CUTS:
        raise ConfigError(f"there is no protocol {protocol!r}; choose one of {', '.join(PROTOCOLS)}.")
    if name not in CUTS[protocol]:
        raise ConfigError(f"--protocol {protocol} has no {name}; it has {', '.join(CUTS[protocol])}.")
    return CUTS[protocol][name]


def clips(source: Source, cut: Cut) -> list[Source]:
    """Return the clips of a recording, in order.

    Parameters
    ----------
    source : Source
    cut : Cut

    Raises
    ------
    FormatError
        If it is no recording, cannot be decoded, or is too short for a clip.

    Examples
    --------
    >>> recording = samples_source(np.ones(70 * 8000, np.float32), 8000, "tone.wav")
    >>> [clip.name for clip in clips(recording, Cut(30))]
    ['tone.wav 0-30 s', 'tone.wav 30-60 s']
    >>> len(clips(recording, Cut(30, shortest=1))), len(clips(recording, Cut(5, longest=30)))
    (3, 6)
    """
    from clamp3.formats.audio import RATE_HZ, Sound

    if source.kind != Kind.AUDIO:
        raise FormatError(f"{source.name} holds {source.kind.value}; clips are cut from recordings.")
    samples = Sound(source.recording, source.name).read(cut.longest)
    if cut.trimmed:
        samples = samples[_onset(samples, round(_FRAME_SEC * RATE_HZ)) :]
    length = round(cut.seconds * RATE_HZ)
    parts = [samples[start : start + length] for start in range(0, len(samples), length)]
    least = cut.seconds if cut.shortest is None else cut.shortest
    if len(parts[-1]) < (least - _SLACK_SEC) * RATE_HZ:
        parts.pop()
    if not parts:
        raise FormatError(f"{source.name} lasts {len(samples) / RATE_HZ:.1f} s, too short for a clip of {least:g} s.")
    if cut.padded:
        parts[-1] = np.pad(parts[-1], (0, length - len(parts[-1])))
    starts = [number * cut.seconds for number in range(len(parts))]
    return [
        samples_source(part, RATE_HZ, f"{source.name} {start:g}-{start + cut.seconds:g} s")
        for start, part in zip(starts, parts, strict=True)
    ]


def _onset(samples: np.ndarray, n: int) -> int:
    """Return where the first frame of n samples begins that is not silent."""
    frames = np.square(samples[: len(samples) // n * n]).reshape(-1, n).mean(axis=1)
    return int((frames > _SILENCE * frames.max()).argmax()) * n if len(frames) else 0
