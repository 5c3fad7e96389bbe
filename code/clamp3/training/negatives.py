"""Pieces of a batch that are no negatives of each other though they are no pair, by what they have in common.

What a piece is, or has, is a row of numbers, its *labels*; pieces that share one are no negatives of each other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clamp3.data.records import Record
from clamp3.errors import ConfigError

MOST = 4  # labels of one kind: artists of a song, values of a field
NOTHING = -1
TEXT, MUSIC = "text", "music"  # what is drawn for a step; every other name is a field of the records


def sharing(one: Tensor, other: Tensor) -> Tensor:
    """Return (N, M): which rows have a label in common.

    Parameters
    ----------
    one, other : int64 tensor, shape (N, K) and (M, L)
        Labels; negative numbers are none.

    Examples
    --------
    >>> sharing(torch.tensor([[1, 2], [3, -1]]), torch.tensor([[2, -1], [-1, -1]])).tolist()
    [[True, False], [False, False]]
    """
    found = torch.zeros(len(one), len(other), dtype=torch.bool, device=one.device)
    for mine in one.T:
        for theirs in other.T:
            found |= (mine[:, None] == theirs) & (theirs >= 0)
    return found


def label(name: str, value: bytes) -> int:
    """Return the label of a value, the same in every process.

    Parameters
    ----------
    name : str
        Its kind; values of different kinds are never the same.
    value : bytes
    """
    digest = hashlib.blake2b(value, digest_size=8, person=name.encode()[:16]).digest()
    return int.from_bytes(digest, "big") >> 1


def values_of(fields: Mapping[str, Any], name: str) -> list[str]:
    """Return the values of a field of a record, in lower case, none of what is empty; an id as it is.

    Parameters
    ----------
    fields : mapping
    name : str
    """
    value = fields.get(name)
    values = value if isinstance(value, list) else [value]
    found = [str(part).strip() for part in values if isinstance(part, str | int) and not isinstance(part, bool)]
    return [part if name == "id" else part.casefold() for part in found if part]


def field_labels(fields: Mapping[str, Any], name: str) -> list[int]:
    """Return the labels of a record by a field.

    Parameters
    ----------
    fields : mapping
    name : str
    """
    return [label(name, value.encode("utf-8", "surrogatepass")) for value in values_of(fields, name)[:MOST]]


def labels_of(
    fields: Mapping[str, Any], drawn: Mapping[str, np.ndarray], text: Sequence[str], kinds: Iterable[str]
) -> np.ndarray:
    """Return the labels of a piece as it is drawn for a step.

    Parameters
    ----------
    fields : mapping
        Its record.
    drawn : mapping of str to array
        By view.
    text : sequence of str
        Its whole text: of two pieces that have the same, other parts may be drawn.
    kinds : iterable of str
        `TEXT`, `MUSIC`, and fields of records.

    Returns
    -------
    int64 array, shape (kinds * MOST,)
    """
    found: list[int] = []
    for kind in kinds:
        if kind == TEXT:
            mine = [label(kind, drawn[TEXT].tobytes())] if TEXT in drawn else []
            mine += [label(kind, "\n".join(text).encode("utf-8", "surrogatepass"))] if text else []
        elif kind == MUSIC:
            mine = [label(kind, array.tobytes()) for view, array in drawn.items() if view != TEXT][:MOST]
        else:
            mine = field_labels(fields, kind)
        found += mine + [NOTHING] * (MOST - len(mine))
    return np.array(found, np.int64)


def check_kinds(kinds: Iterable[str], records: Iterable[Record]) -> None:
    """Refuse fields that no record has.

    Parameters
    ----------
    kinds : iterable of str
        As `labels_of` takes them.
    records : iterable of Record
        Some of a run.

    Raises
    ------
    ConfigError
        Naming the first.
    """
    missing = {kind for kind in kinds if kind not in (TEXT, MUSIC)}
    for record in records if missing else ():
        missing = {kind for kind in missing if not values_of(record.fields, kind)}
        if not missing:
            return
    if missing:
        raise ConfigError(f"--mask {min(missing)}: the records have no such field; text, music or a field is a mask.")
