"""What towers are compared on where nothing else is named: sentences, scores and recordings of this package."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from clamp3.errors import ConfigError
from clamp3.formats import Kind
from clamp3.jobs.walk import walk
from clamp3.probe.zero_shot import PRESETS, preset_prompts
from clamp3.sources import Source, source_of

N_INPUTS = 24  # of each modality
_LARGEST = 30_000  # bytes of a score, compressed
_RATE, _SECONDS, _NOTES_PER_SEC = 24_000, 8, 3


def usual_inputs() -> list[Source]:
    """Return the sentences of the presets, scores of music21's corpus, and tunes of tones with harmonics.

    Those of a kind are taken evenly from a sorted list, so that the same installation always compares the same.
    """
    sentences = [text for name in sorted(PRESETS) for texts in preset_prompts(name).values() for text in texts]
    texts = [Source(Kind.TEXT, text, data=text.encode()) for text in _evenly(sentences)]
    spec = find_spec("music21")
    root = Path(spec.origin).parent / "corpus" if spec is not None and spec.origin is not None else None
    scores = sorted(root.rglob("*.mxl")) if root is not None else []
    scores = [path for path in scores if path.stat().st_size <= _LARGEST]
    return [*texts, *map(source_of, _evenly(scores)), *islice(_tunes(), N_INPUTS)]


def inputs_in(folder: Path) -> list[Source]:
    """Return all inputs in a folder; none is a ConfigError."""
    found = [source_of(found.path) for found in walk(folder, pieces=False).files]
    if not found:
        raise ConfigError(f"{folder} holds no text, score or recording to compare towers on.")
    return found


def _evenly(values: list[Any]) -> list[Any]:
    step = max(1, len(values) // N_INPUTS)
    return values[::step][:N_INPUTS]


def _tunes() -> Iterator[Source]:
    """Yield tunes of random notes, each with harmonics of its own and a fading loudness."""
    generator = np.random.default_rng(20)
    within = np.arange(_RATE // _NOTES_PER_SEC) / _RATE
    while True:
        loudness = generator.dirichlet(np.ones(6))
        pitches = 220 * 2 ** (generator.integers(-12, 25, _SECONDS * _NOTES_PER_SEC) / 12)
        tones = [
            np.exp(-4 * within)
            * sum(part * np.sin(2 * np.pi * pitch * k * within) for k, part in enumerate(loudness, 1))
            for pitch in pitches
        ]
        yield source_of((np.concatenate(tones).astype(np.float32), _RATE))
