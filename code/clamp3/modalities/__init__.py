"""What can be encoded: one object per modality, in one table that encoder, extraction, training and index loop over.

``base.py`` defines the contract; ``text.py``, ``symbolic.py`` and ``audio.py`` implement it; ``patches.py`` turns the
text of a piece into what the symbolic tower reads; ``marks.py`` relates the items of a sequence to bars and seconds.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import metadata

from clamp3.errors import FormatError
from clamp3.formats import Kind
from clamp3.modalities.audio import AUDIO
from clamp3.modalities.base import Modality, Payload, Prepared
from clamp3.modalities.symbolic import SYMBOLIC
from clamp3.modalities.text import TEXT

__all__ = [
    "AUDIO", "MODALITIES", "SYMBOLIC", "TEXT", "Modality", "Payload", "Prepared", "modality_of", "of_kind",
    "preprocessing_version", "register",
]  # fmt: skip

# Increment it when the same bytes become another sequence: it is part of cache keys and of features.json.
PREPROCESSING_VERSION = 3

MODALITIES: dict[str, Modality] = {modality.name: modality for modality in (TEXT, SYMBOLIC, AUDIO)}
"""By name, in the order in which their towers run."""


def register(modality: Modality) -> None:
    """Add a modality to the table; its kinds must be free.

    Raises
    ------
    ValueError
        If its name, or a kind of its files, is taken.
    """
    taken = {kind for other in MODALITIES.values() for kind in other.kinds}
    if modality.name in MODALITIES or taken & modality.kinds:
        raise ValueError(f"the modality {modality.name!r}, or a kind of its files, is registered already.")
    MODALITIES[modality.name] = modality


def of_kind(kind: Kind) -> Modality:
    """Return the modality that takes inputs of a kind; a `FormatError` if none does.

    Examples
    --------
    >>> of_kind(Kind.MIDI).name
    'symbolic'
    """
    for modality in MODALITIES.values():
        if kind in modality.kinds:
            return modality
    raise FormatError(f"no modality takes files of kind {kind.value!r}; register one in clamp3.modalities.")


def modality_of(kind: Kind) -> str:
    """Return the name of the modality, and tower, that takes inputs of a kind."""
    return of_kind(kind).name


@lru_cache
def preprocessing_version(version: int = PREPROCESSING_VERSION) -> str:
    """Return the version of all that is done between a file's bytes and a sequence, that of abctoolkit included."""
    try:
        converter = metadata.version("abctoolkit")
    except metadata.PackageNotFoundError:
        converter = "none"
    return f"{version}-abctoolkit{converter}"
