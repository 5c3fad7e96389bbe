"""Rank stored vectors by their cosine to a query; no torch, so a search costs what numpy costs.

Conventions
-----------
A *reference* is one ``.npy`` file holding one global vector, shape (D,) or (1, D). Its name is its path
relative to the searched folder, with ``/`` and without suffix, so ``Op.27 No.1`` and ``Op.27 No.2`` stay two
pieces. Scores are cosines in [-1, 1], rounded to 7 decimals: differences below that come from the order of
additions, and equal scores are ordered by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clamp3.errors import ConfigError, DataError, FormatError
from clamp3.formats.arrays import read_array

if TYPE_CHECKING:
    from clamp3.embedding.passages import Passage

SCORE_DECIMALS = 7
_ROUNDING = 1e-4  # far above what single precision gets wrong in a cosine
_CHUNK_ROWS = 8192  # bounds the float64 copy to 50 MB at width 768


@dataclass(frozen=True)
class Hit:
    """One answer: its place (from 1), name, cosine to the query, title where one is known, and passage if asked for."""

    rank: int
    name: str
    score: float
    title: str = ""
    path: str = ""
    passage: Passage | None = None


@dataclass(frozen=True)
class FeatureFolder:
    """Vectors of a folder, shape (N, D) float32, their names, why other files are not among them, and their weights."""

    names: list[str]
    vectors: np.ndarray
    problems: list[tuple[str, str]] = field(default_factory=list)
    weights: str | None = None


def read_vector(data: bytes, name: str) -> np.ndarray:
    """Return the one global vector of a ``.npy`` file's bytes.

    Parameters
    ----------
    data : bytes
        Content of the file, an array of shape (D,) or (1, D).
    name : str
        How messages call it.

    Returns
    -------
    float32 array, shape (D,)

    Raises
    ------
    FormatError
        As `read_array`, or if the array is not one vector, or is all zeros (no direction, hence no cosine).
    """
    array = read_array(data, name)
    if array.ndim == 0 or array.size == 0 or array.shape[-1] != array.size:
        raise FormatError(
            f"{name} has shape {array.shape}, not (1, D); for one vector per file extract with --get_global."
        )
    vector = array.reshape(-1).astype(np.float32)  # (D,)
    if not vector.any():
        raise FormatError(f"{name} is all zeros, so no cosine exists.")
    return vector


def load_folder(folder: Path) -> FeatureFolder:
    """Read every global vector under ``folder``, sub-folders included.

    Parameters
    ----------
    folder : Path
        Folder of ``.npy`` files, or one such file.

    Returns
    -------
    FeatureFolder
        Ordered by name. Unreadable files, and files of another width than most have, are in ``problems``.

    Raises
    ------
    ConfigError
        If ``folder`` does not exist.
    DataError
        If it holds no usable vector, vectors that are known to come from different weights, or hidden states.
    """
    from clamp3.formats import Kind
    from clamp3.index.provenance import check_alike, origins
    from clamp3.jobs.walk import printable, walk

    if not folder.exists():
        raise ConfigError(f"{folder} does not exist; give a folder of .npy files made with --get_global.")
    found = walk(folder, {Kind.FEATURES})
    names: list[str] = []
    vectors: list[np.ndarray] = []
    weights: set[str] = set()
    origin = origins(folder)
    problems = [(printable(problem.relative), problem.reason) for problem in found.problems]
    for item in found.files:
        name = printable(item.relative)
        meta = origin(item.path.parent)
        try:
            vectors.append(read_vector(item.path.read_bytes(), name))
        except (FormatError, OSError) as error:
            problems.append((name, str(error)))
        else:
            names.append(printable(item.relative.with_suffix("")))
            weights |= {str(meta["weights"])} if "weights" in meta else set()
    check_alike(folder, weights)
    if not vectors:
        reason = f" ({problems[0][1]})" if problems else ""
        raise DataError(f"{folder} holds no global vector to search in{reason}; clamp3_search.py takes raw files.")
    widths = np.asarray([len(vector) for vector in vectors])
    counts = np.bincount(widths)
    width = int(counts.argmax())
    kept = [i for i in range(len(vectors)) if widths[i] == width]
    problems += [
        (f"{names[i]}.npy", f"has width {widths[i]}, the folder's vectors have {width}.")
        for i in range(len(vectors))
        if widths[i] != width
    ]
    order = sorted(kept, key=lambda i: names[i])
    stacked = np.stack([vectors[i] for i in order])
    return FeatureFolder([names[i] for i in order], stacked, problems, next(iter(weights), None))


def cosine(query: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the cosine of one query to each reference.

    Parameters
    ----------
    query : float array, shape (D,) or (1, D)
    reference : float array, shape (N, D)

    Returns
    -------
    float64 array, shape (N,)
        Rounded to `SCORE_DECIMALS`; a vector of zeros has cosine 0 with everything.

    Raises
    ------
    DataError
        If the shapes disagree.
    """
    query = np.asarray(query, np.float64)
    reference = np.asarray(reference)
    if query.ndim > 2 or query.size == 0 or query.shape[-1] != query.size:
        raise DataError(f"the query has shape {query.shape}; one vector, (D,) or (1, D), is needed.")
    query = query.reshape(-1)
    if reference.ndim != 2 or reference.shape[1] != query.size:
        raise DataError(
            f"the query has width {query.size} but the references have shape {reference.shape}; "
            "both must come from the same model."
        )
    query = query / max(float(np.linalg.norm(query)), np.finfo(np.float64).tiny)
    scores = np.empty(len(reference))
    for start in range(0, len(reference), _CHUNK_ROWS):
        rows = reference[start : start + _CHUNK_ROWS].astype(np.float64)
        norms = np.maximum(np.linalg.norm(rows, axis=1), np.finfo(np.float64).tiny)
        scores[start : start + _CHUNK_ROWS] = (rows @ query) / norms
    return np.round(scores, SCORE_DECIMALS)


def rank(
    query: np.ndarray, reference: np.ndarray, top_k: int = 10, names: Sequence[str] | None = None
) -> list[tuple[int, float]]:
    """Return the references closest to a query, best first.

    Parameters
    ----------
    query : float array, shape (D,) or (1, D)
    reference : float array, shape (N, D)
    top_k : int
        How many to return; fewer if there are fewer references.
    names : sequence of str, optional
        Decide the order of equal scores; without them the row number does.

    Returns
    -------
    list of (int, float)
        Row in ``reference`` and cosine.

    Raises
    ------
    ConfigError
        If ``top_k`` is below 1.
    DataError
        If the shapes disagree, or names and references differ in number.
    """
    check_top_k(top_k)
    if names is not None and len(names) != len(reference):
        raise DataError(f"{len(names)} names for {len(reference)} references.")
    candidates = _near(query, reference, top_k)
    scores = dict(zip(candidates.tolist(), cosine(query, reference[candidates]).tolist(), strict=True))
    order = sorted(scores, key=lambda row: (-scores[row], names[row] if names is not None else row))
    return [(row, scores[row]) for row in order[:top_k]]


def check_top_k(top_k: int) -> None:
    """Raise `ConfigError` if less than one result is asked for."""
    if top_k < 1:
        raise ConfigError(f"top_k is {top_k}; at least 1 result must be asked for.")


def _near(query: np.ndarray, reference: np.ndarray, top_k: int) -> np.ndarray:
    """Return the rows that may be among the best, in ascending order: all that single precision cannot rule out."""
    reference = np.asarray(reference)
    if reference.ndim != 2 or reference.shape[1] != np.size(query) or top_k >= len(reference):
        return np.arange(len(reference))  # `cosine` says what is wrong with shapes
    vectors = reference.astype(np.float32, copy=False)
    direction = np.asarray(query, np.float32).reshape(-1)
    tiny = np.finfo(np.float32).tiny
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors)) * max(float(np.linalg.norm(direction)), tiny)
    scores = (vectors @ direction) / np.maximum(norms, tiny)
    # Everything that may tie with the k-th best stays in, so that the name decides and not the rounding.
    threshold = np.partition(scores, len(scores) - top_k)[len(scores) - top_k]
    return np.flatnonzero(scores >= threshold - _ROUNDING)


def search(query: np.ndarray, references: FeatureFolder, top_k: int = 10) -> list[Hit]:
    """Return the ``top_k`` hits of a query among the vectors of a folder; see `rank`."""
    ranked = rank(query, references.vectors, top_k, references.names)
    return [Hit(place, references.names[row], score) for place, (row, score) in enumerate(ranked, start=1)]


def check_same_model(query: Path, references: FeatureFolder) -> None:
    """Refuse to compare vectors that are known to come from different weights.

    Parameters
    ----------
    query : Path
        A query's file. What extraction wrote beside it, or above it, says where it comes from; where nothing was
        written, nothing is known and nothing refused.
    references : FeatureFolder

    Raises
    ------
    DataError
        If both are known and differ.
    """
    from clamp3.index.provenance import origins

    asked, searched = origins(query.parent)(query.parent).get("weights"), references.weights
    if asked is not None and searched is not None and asked != searched:
        raise DataError(
            f"the query's vector was made with {asked}, the folder's with {searched}; they cannot be compared."
        )
