"""Which user chose which item, from a log, and what needs nothing else to recommend: popularity and item-kNN."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clamp3.data.listening import Log, held_out, read_log
from clamp3.errors import ConfigError, DataError, printable

NEIGHBOURS = 100  # of an item that count in item-kNN


@dataclass(frozen=True)
class Interactions:
    """What users chose of a catalogue.

    Attributes
    ----------
    users : list of str
        Sorted.
    items : list of int array
        Rows of the catalogue that each user chose, each once, in the order of their first time.
    held_out : bool array, shape (users,)
        Users of the evaluation.
    n_items : int
        Of the catalogue.
    n_unknown : int
        Items of the log that the catalogue lacks.
    """

    users: list[str]
    items: list[NDArray[np.int64]]
    held_out: NDArray[np.bool_]
    n_items: int
    n_unknown: int = 0

    @cached_property
    def training(self) -> Any:
        """Which training user chose which item, a sparse (users, items) matrix of 0 and 1.

        Raises
        ------
        ConfigError
            If scipy is not installed.
        """
        try:
            from scipy.sparse import csr_matrix
        except ImportError:
            raise ConfigError("recommendations from a log need scipy: pip install 'clamp3[eval]'.") from None
        rows = [items for items, held in zip(self.items, self.held_out, strict=True) if not held]
        starts = np.cumsum([0, *(len(items) for items in rows)])
        columns = np.concatenate([np.zeros(0, np.int64), *rows])
        return csr_matrix((np.ones(len(columns), np.float32), columns, starts), shape=(len(rows), self.n_items))

    @cached_property
    def n_users(self) -> NDArray[np.float64]:
        """Training users of every item; items with none are cold."""
        return np.asarray(self.training.sum(0), np.float64).ravel()


def read_interactions(connection: Any, log: Log, names: Sequence[str], eval_share: float) -> Interactions:
    """Return what users of a log chose of a catalogue.

    Parameters
    ----------
    connection : duckdb connection
        From `clamp3.data.listening.database`.
    log : Log
    names : sequence of str
        Ids of the catalogue's items.
    eval_share : float
        Share of users held out, by the hash of their ids: the same ones as in `clamp3.data.preferences`.

    Raises
    ------
    ConfigError, DataError
        As `clamp3.data.listening.read_log`, or if no item of the log is in the catalogue.
    """
    read_log(connection, log)
    found = connection.execute(
        f"SELECT who, item, {held_out('who', eval_share)} AS held FROM chosen "  # noqa: S608
        "GROUP BY ALL ORDER BY who, min(moment), item"
    ).fetchnumpy()
    rows = {name: row for row, name in enumerate(names)}
    users, owners = np.unique(np.asarray(found["who"], object).astype(str), return_inverse=True)
    items = np.array([rows.get(str(item), -1) for item in found["item"]], np.int64)
    known = items >= 0
    if not known.any():
        shown = f"{printable(found['item'][0])} in the log, {printable(names[0])} in the folder"
        raise DataError(f"None of the log's items is in the folder; one is called {shown}.")
    held = np.zeros(len(users), bool)
    held[owners] = np.asarray(found["held"], bool)
    groups = np.split(items[known], np.searchsorted(owners[known], np.arange(1, len(users))))
    unknown = len({str(item) for item, there in zip(found["item"], known, strict=True) if not there})
    return Interactions(users.tolist(), groups, held, len(names), unknown)


def popularity(interactions: Interactions) -> NDArray[np.float64]:
    """Return how many training users chose every item, the same scores for everyone."""
    return interactions.n_users


def item_neighbours(interactions: Interactions, k: int = NEIGHBOURS) -> Any:
    """Return the cosines of every item with its ``k`` nearest by the training users they share, a sparse matrix.

    Parameters
    ----------
    interactions : Interactions
    k : int

    References
    ----------
    Deshpande and Karypis, "Item-based top-N recommendation algorithms", ACM TOIS 22 (2004).
    """
    from scipy.sparse import diags, vstack

    unit = interactions.training @ diags(1 / np.sqrt(np.maximum(interactions.n_users, 1)))
    unit, parts = unit.tocsc(), []
    for at in range(0, interactions.n_items, 1024):
        part = (unit[:, at : at + 1024].T @ unit).tocsr()
        for row in range(part.shape[0]):
            mine, columns = (values[part.indptr[row] : part.indptr[row + 1]] for values in (part.data, part.indices))
            mine[columns == at + row] = 0
            if len(mine) > k:
                mine[np.argsort(-mine, kind="stable")[k:]] = 0
        part.eliminate_zeros()
        parts.append(part)
    return vstack(parts).tocsr()
