"""What `Clamp3.encode` and `Clamp3.rank` return: vectors and ranks with names and reasons, as arrays and as tables."""

from __future__ import annotations

import html
import typing
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, overload

import numpy as np
from numpy.typing import NDArray

from clamp3.embedding.cosines import SCORE_DECIMALS, cosine, unit_rows
from clamp3.embedding.passages import Passage
from clamp3.errors import ConfigError, DataError, printable, sentence_of

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import Tensor
    from typing_extensions import TypeVar

    Array = TypeVar("Array", NDArray[np.float32], Tensor, default=NDArray[np.float32])
else:
    Array = typing.TypeVar("Array")

_SHOWN = 10  # rows of a table on the screen
_WIDTH = 48  # characters of a cell


class Errors(list["str | None"]):
    """For each input one sentence on why it has no vector, None if it has one; true if any has none.

    Examples
    --------
    >>> bool(Errors([None, None])), bool(Errors([None, "lost.mid does not exist."]))
    (False, True)
    """

    def __bool__(self) -> bool:
        return any(error is not None for error in self)


@dataclass(frozen=True, repr=False, eq=False)
class Encoded(Generic[Array]):
    """Vectors of several inputs, in their order; ``print`` and notebooks show them as a table.

    Attributes
    ----------
    vectors : float32 array or tensor, shape (N, D)
        Global vectors, NaN rows for inputs with an error; (N, 0) in temporal mode. Of passages, a row for each, input
        after input.
    errors : Errors
        A list: for each input one sentence on why it has no vector, None if it has one. True if any has none.
    names : list of str
        Name of each input in messages.
    notes : list of tuple of str
        Remarks on the conversion of each input.
    temporal : list of arrays, tensors or None
        Hidden states (1, T, D) of each input; empty unless asked for.
    passages : list of Passage
        Where each row of ``vectors`` lies in its piece; empty unless asked for.
    owners : list of int
        Number of the input that each passage belongs to.
    """

    vectors: Array
    errors: Errors
    names: list[str]
    notes: list[tuple[str, ...]]
    temporal: list[Array | None] = field(default_factory=list)
    passages: list[Passage] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)

    @property
    def ok(self) -> NDArray[np.bool_]:
        """Boolean array (N,), True where an input has a vector."""
        return np.array([error is None for error in self.errors], bool)

    def __len__(self) -> int:
        return len(self.names)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(as_numpy(self.vectors), dtype, copy=copy)

    def to_pandas(self) -> DataFrame:
        """Return a table: a row per input (or passage) with ``name``, ``error``, ``notes`` and ``vector``.

        Of passages there is also ``passage``, and an input without a vector has no row. ``numpy.stack(table.vector)``
        is the array again.

        Raises
        ------
        ConfigError
            If pandas is not installed.
        """
        if self.passages:
            rows: dict[str, list[Any]] = {
                "name": [self.names[owner] for owner in self.owners],
                "passage": [str(passage) for passage in self.passages],
                "notes": ["; ".join(self.notes[owner]) for owner in self.owners],
                "vector": list(as_numpy(self.vectors)),
            }
        else:
            values = [] if self.temporal else list(as_numpy(self.vectors))
            rows = {
                "name": self.names,
                "error": list(self.errors),
                "notes": ["; ".join(notes) for notes in self.notes],
                "vector": [v if error is None else None for v, error in zip(values, self.errors, strict=False)]
                or [None] * len(self.names),
            }
        return table(rows)

    def _cells(self) -> tuple[list[str], list[list[str]], int]:
        """Return heads, the first rows and the number of all rows."""
        if self.passages:
            of = [[self.names[owner], str(p)] for owner, p in zip(self.owners, self.passages, strict=True)]
            return ["input", "passage"], of[:_SHOWN], len(of)
        rows = zip(self.names, self.errors, self.notes, strict=True)
        cells = [[name, error or "ok", "; ".join(notes)] for name, error, notes in rows]
        return ["input", "vector", "notes"], cells[:_SHOWN], len(cells)

    def __str__(self) -> str:
        return f"{self!r}\n{_lines(*self._cells())}"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self))}</p>{_html(*self._cells())}"

    def __repr__(self) -> str:
        failed = sum(error is not None for error in self.errors)
        kind = str(self.vectors.dtype).removeprefix("torch.")
        parts = [f"{len(self.names)} inputs", f"vectors {tuple(self.vectors.shape)} {kind}"]
        parts += [f"{len(self.passages)} passages"] * bool(self.passages) + ["hidden states"] * bool(self.temporal)
        parts += [f"{failed} without a vector (see errors)"] * bool(failed)
        return f"Encoded({', '.join(parts)})"


@dataclass(frozen=True)
class Ranked:
    """One answer of `Clamp3.rank`: its place from 1, its number among the candidates, its name, cosine to the query."""

    rank: int
    index: int
    name: str
    score: float


class Ranking(Sequence[Ranked]):
    """Candidates, best first; shown as a table.

    Attributes
    ----------
    failed : dict
        Of each candidate that has no vector, by its number, one sentence on why.
    """

    def __init__(self, answers: Sequence[Ranked], failed: dict[int, str]) -> None:
        self._answers, self.failed = list(answers), failed

    @overload
    def __getitem__(self, place: int) -> Ranked: ...

    @overload
    def __getitem__(self, place: slice) -> Ranking: ...

    def __getitem__(self, place: int | slice) -> Ranked | Ranking:
        return Ranking(self._answers[place], self.failed) if isinstance(place, slice) else self._answers[place]

    def __len__(self) -> int:
        return len(self._answers)

    def __iter__(self) -> Iterator[Ranked]:
        return iter(self._answers)

    def to_pandas(self) -> DataFrame:
        """Return a table with ``rank``, ``index``, ``name`` and ``score``; a `ConfigError` without pandas."""
        return table({name: [getattr(one, name) for one in self] for name in ("rank", "index", "name", "score")})

    def _cells(self) -> tuple[list[str], list[list[str]], int]:
        rows = [[str(one.rank), f"{one.score:.4f}", str(one.index), one.name] for one in self._answers[:_SHOWN]]
        return ["rank", "score", "index", "name"], rows, len(self)

    def __repr__(self) -> str:
        missing = [f"{len(self.failed)} without a vector (see failed)"] * bool(self.failed)
        return "\n".join([_lines(*self._cells()), *missing])

    def _repr_html_(self) -> str:
        return _html(*self._cells())


def as_numpy(vectors: Any) -> NDArray[Any]:
    """Return an array, or a tensor of any device, as a numpy array."""
    array: NDArray[Any] = vectors.detach().cpu().float().numpy() if hasattr(vectors, "detach") else np.asarray(vectors)
    return array


def encoded_of(what: Any, encode: Callable[[Any], Encoded[Any]]) -> Encoded[Any]:
    """Return inputs, their vectors or what has been encoded as what has been encoded.

    Parameters
    ----------
    what : inputs, Encoded, or float array or tensor, shape (N, D) or (D,)
    encode : callable
        From inputs to what `Clamp3.encode` returns.

    Raises
    ------
    DataError
        If there are passages or hidden states, or an array of another shape.
    """
    if isinstance(what, Encoded):
        if what.temporal or what.passages:
            raise DataError("hidden states and passages are not compared; give vectors of shape (N, D).")
        return what
    if not (isinstance(what, np.ndarray) and what.dtype.kind == "f") and not hasattr(what, "detach"):
        return encode(what)
    vectors = np.atleast_2d(as_numpy(what))
    if vectors.ndim != 2:
        raise DataError(f"vectors have shape (D,) or (N, D), not {vectors.shape}.")
    whole = np.isfinite(vectors).all(axis=1)
    errors = Errors(None if fine else "the vector holds NaN or infinity." for fine in whole)
    return Encoded(vectors, errors, [str(row) for row in range(len(vectors))], [()] * len(vectors))


def warn_of_failed(encoded: Encoded[Any]) -> None:
    """Warn the caller's caller of inputs without a vector, with the reason of the first."""
    reasons = [error for error in encoded.errors if error is not None]
    if reasons:
        said = f"{len(reasons)} of {len(encoded.errors)} inputs have no vector; the first: {reasons[0]}"
        warnings.warn(said, stacklevel=3)


def all_vectors(encoded: Encoded[Array]) -> Array:
    """Return the vectors, for callers who have no place for what is missing.

    Raises
    ------
    DataError
        If an input has none.
    """
    for name, error in zip(encoded.names, encoded.errors, strict=True):
        if error is not None:
            raise DataError(of_input(name, error))
    return encoded.vectors


def of_input(name: str, reason: str) -> str:
    """Return the reason of an input's error with its name in it.

    Parameters
    ----------
    name, reason : str

    Examples
    --------
    >>> of_input("a.mid", "The file is cut short."), of_input("a.mid", "a.mid is empty.")
    ('a.mid: The file is cut short.', 'a.mid is empty.')
    """
    return reason if name in reason else f"{name}: {reason}"


def all_cosines(left: NDArray[Any], right: NDArray[Any]) -> NDArray[np.float64]:
    """Return the cosines of all pairs; those of vectors with NaN are NaN.

    Parameters
    ----------
    left, right : float arrays, shapes (N, D) and (M, D)

    Raises
    ------
    DataError
        If the widths differ.

    Examples
    --------
    >>> all_cosines(np.array([[3.0, 4.0]]), np.array([[1.0, 0.0], [np.nan, 0.0], [0.0, 2.0]])).tolist()
    [[0.6, nan, 0.8]]
    """
    if left.shape[1] != right.shape[1]:
        raise DataError(f"vectors of width {left.shape[1]} and {right.shape[1]}; both must come from the same model.")
    return np.round(normalized(left) @ normalized(right).T, SCORE_DECIMALS)


def normalized(vectors: NDArray[Any]) -> NDArray[np.float64]:
    """Return vectors (N, D) scaled to length 1; rows with NaN are NaN."""
    scaled = np.full(vectors.shape, np.nan)
    whole = np.isfinite(vectors).all(axis=1)
    scaled[whole] = unit_rows(vectors[whole])
    return scaled


def ranked(query: NDArray[Any], candidates: Encoded[Any], top_k: int | None) -> Ranking:
    """Return candidates by falling cosine to a query, equal ones in their own order.

    Parameters
    ----------
    query : float array, shape (D,)
    candidates : Encoded
        Global vectors; those without one are in ``failed``.
    top_k : int, optional
        How many to return; None returns all.
    """
    if top_k is not None and top_k < 1:
        raise ConfigError(f"top_k is {top_k}; at least 1 result must be asked for.")
    rows = np.flatnonzero(candidates.ok)
    scores = cosine(query, as_numpy(candidates.vectors)[rows])
    best = np.argsort(-scores, kind="stable")[:top_k]
    answers = [
        Ranked(place, int(rows[i]), candidates.names[rows[i]], float(scores[i])) for place, i in enumerate(best, 1)
    ]
    return Ranking(answers, {i: error for i, error in enumerate(candidates.errors) if error is not None})


def table(columns: dict[str, list[Any]]) -> DataFrame:
    """Return columns as a pandas table; a `ConfigError` without pandas."""
    try:
        import pandas
    except ImportError:
        raise ConfigError("to_pandas needs pandas: pip install pandas.") from None
    return pandas.DataFrame(columns)


def _cut(rows: list[list[str]]) -> list[list[str]]:
    return [[_short(cell) for cell in row] for row in rows]


def _short(cell: str) -> str:
    """Return a cell that fits; of a path the end, where files differ."""
    shown = printable(cell)
    path = len(shown) > _WIDTH and ("/" in shown or "\\" in shown) and " " not in shown
    return f"…{shown[1 - _WIDTH :]}" if path else sentence_of(cell, _WIDTH)


def _lines(heads: list[str], rows: list[list[str]], n_rows: int) -> str:
    cells = [heads, *_cut(rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join(lines + [f"… {n_rows - len(rows)} more"] * (n_rows > len(rows)))


def _html(heads: list[str], rows: list[list[str]], n_rows: int) -> str:
    def row_of(tag: str, cells: list[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    more = f"<p>… {n_rows - len(rows)} more</p>" * (n_rows > len(rows))
    return f"<table>{row_of('th', heads)}{''.join(row_of('td', row) for row in _cut(rows))}</table>{more}"
