"""Sentences that stand for a class, or for one end of an axis such as happy - sad, and their vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from clamp3.errors import ConfigError, DataError
from clamp3.index.ranking import unit_rows
from clamp3.index.vectors import encode
from clamp3.sources import sentence

if TYPE_CHECKING:
    from clamp3.embedding.clamp3 import Clamp3

TEMPLATES = ("{}", "a piece of {} music", "this music is {}")
Prompts = Mapping[str, Sequence[str]]


def prompts_for(names: Sequence[str], templates: Sequence[str] = TEMPLATES) -> dict[str, list[str]]:
    """Return the prompts of every class: each template with the class in place of ``{}``.

    Parameters
    ----------
    names : sequence of str
        Classes.
    templates : sequence of str

    Raises
    ------
    ConfigError
        If a template has no ``{}``, or a class is named twice.

    Examples
    --------
    >>> prompts_for(["jig"], ["a {} for fiddle"])
    {'jig': ['a jig for fiddle']}
    """
    for template in templates:
        if "{}" not in template:
            raise ConfigError(f"the template {template!r} has no {{}} where the class goes.")
    if len(set(names)) < len(names):
        raise ConfigError(f"a class is named twice among {', '.join(names)}.")
    return {name: [template.replace("{}", name) for template in templates] for name in names}


def class_vectors(model: Clamp3, prompts: Sequence[Sequence[str]]) -> np.ndarray:
    """Return the normalised mean of the prompts' unit vectors of each class, float64 array of shape (C, D).

    Parameters
    ----------
    model : Clamp3
    prompts : sequence of sequence of str
        Those of each class.

    Raises
    ------
    DataError
        If a prompt cannot be encoded.
    """
    sources = {text: sentence(text) for texts in prompts for text in texts}
    encoded, failures = encode(list(sources.values()), model)
    for source, reason in failures.items():
        raise DataError(f"the prompt {source.name} cannot be encoded: {reason}")
    units = {text: unit_rows(encoded[source][None])[0] for text, source in sources.items()}
    return unit_rows(np.stack([np.mean([units[text] for text in texts], axis=0) for texts in prompts]))
