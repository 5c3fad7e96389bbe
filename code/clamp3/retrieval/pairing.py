"""Which query belongs to which reference: the rule of the released evaluation.

Two files belong together if they lie in the same sub-folder and have the same name up to the first dot: the query
``en/song003.1.txt`` and the reference ``en/song003.mid``. Several queries may share one reference; all references of
one name are right. (Search names its results by the whole path instead, since ``Op.27 No.1`` and ``Op.27 No.2`` are two
pieces there.)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from clamp3.formats.pieces import as_file


@dataclass(frozen=True)
class Pairing:
    """Pairs of rows, and the rows that have no partner.

    Attributes
    ----------
    pairs : array of int64, shape (P, 2)
        Query and reference, in the order of queries.
    lone_queries, lone_references : list of int
        Rows in no pair.
    """

    pairs: NDArray[np.int64]
    lone_queries: list[int]
    lone_references: list[int]


def key_of(name: str | PurePosixPath) -> str:
    """Return what a file shares with its partners: its folder, and its name up to the first dot."""
    path = PurePosixPath(as_file(str(name)))
    return (path.parent / path.name.split(".")[0]).as_posix()


def shared_references(pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each query, in rising order, the first of its references: queries of one key share it.

    >>> shared_references(np.array([[2, 5], [0, 7], [1, 5], [2, 6]])).tolist()
    [7, 5, 5]
    """
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return pairs[order[np.flatnonzero(np.diff(pairs[order, 0], prepend=-1))], 1]


def match(query_keys: Sequence[str], reference_keys: Sequence[str]) -> Pairing:
    """Pair all queries and references of equal keys.

    Parameters
    ----------
    query_keys, reference_keys : sequence of str
        One per row; `key_of` makes them from paths.

    Examples
    --------
    >>> match(["song", "dance"], ["song", "march"]).pairs.tolist()
    [[0, 0]]
    """
    rows: dict[str, list[int]] = defaultdict(list)
    for row, key in enumerate(reference_keys):
        rows[key].append(row)
    pairs = [(query, reference) for query, key in enumerate(query_keys) for reference in rows.get(key, ())]
    asked = set(query_keys)
    return Pairing(
        np.array(pairs, np.int64).reshape(-1, 2),
        [row for row, key in enumerate(query_keys) if key not in rows],
        [row for row, key in enumerate(reference_keys) if key not in asked],
    )
