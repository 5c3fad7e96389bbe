"""One vector per file of a folder, whatever the files are: stored vectors are read, everything else is encoded.

A ``.npy`` file of shape (D,) or (1, D) is a vector of the joint space; any other holds audio features and is encoded,
as are texts, scores, performances and recordings. A folder of vectors needs no model and no torch. What extraction
wrote beside stored vectors, or nearest above them, says which weights they come from.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from clamp3.errors import Clamp3Error, ConfigError, DataError, FormatError, distinct_name, printable
from clamp3.formats import Kind
from clamp3.formats.arrays import read_array
from clamp3.jobs.identity import Identity
from clamp3.jobs.progress import progress
from clamp3.jobs.walk import walk
from clamp3.modalities import modality_of
from clamp3.sources import Source

if TYPE_CHECKING:
    from clamp3.embedding.clamp3 import Clamp3

Opener = Callable[[], "Clamp3"]


@dataclass(frozen=True)
class VectorFolder:
    """Vectors of a folder and where they come from; rows are ordered by name.

    Attributes
    ----------
    names : list of str
        Path in the folder; without suffix where stored vectors alone were asked for.
    vectors : float32 array, shape (N, D)
    kinds : list of str
        ``text``, ``symbolic`` or ``audio``, or ``vector`` for stored ones.
    problems : list of (str, str)
        Files without a vector, and why.
    ignored : list of str
        Files of types without a reader.
    weights : set of str
        What the vectors are known to come from: identities of weights.
    """

    names: list[str]
    vectors: np.ndarray
    kinds: list[str]
    problems: list[tuple[str, str]]
    ignored: list[str]
    weights: set[str]

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Contents:
    """What a folder holds: vectors that are stored, sources still to be encoded, problems, files without a reader."""

    stored: list[tuple[Source, np.ndarray]]
    to_encode: list[Source]
    problems: list[tuple[str, str]]
    ignored: list[str]


def load_folder(folder: Path, open_model: Opener | None = None) -> VectorFolder:
    """Return one vector for every readable file of a folder.

    Parameters
    ----------
    folder : Path
        Searched recursively; any mixture of kinds. A single file is a folder of one.
    open_model : callable, optional
        Returns the model; called only if a file has to be encoded. Without it only ``.npy`` files are read, all of
        which must hold a vector.

    Returns
    -------
    VectorFolder
        Unreadable files, and files of another width than most have, are in ``problems``.

    Raises
    ------
    ConfigError
        If the folder does not exist.
    DataError
        If it holds no file with a vector, its vectors come from several weights or others than the model's, or
        extraction has marked a folder in it as one of hidden states.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     for name, vector in {"b": [0.0, 1.0], "a": [1.0, 1.0]}.items():
    ...         np.save(f"{folder}/{name}.npy", vector)
    ...     loaded = load_folder(Path(folder))
    >>> loaded.names, loaded.vectors.tolist(), loaded.problems
    (['a', 'b'], [[1.0, 1.0], [0.0, 1.0]], [])
    """
    if open_model is None and not folder.exists():
        raise ConfigError(f"{folder} does not exist; give a folder of .npy files made with --get_global.")
    meta_of = provenance(folder)
    weights: set[str] = set()

    def read(source: Source) -> np.ndarray | None:
        if source.kind != Kind.FEATURES or source.path is None:
            return None
        meta = meta_of(source.path.parent)
        if open_model is None:
            vector: np.ndarray | None = read_vector(source.read(), source.name)
        else:
            vector = stored_vector(source) if meta.get("arrays", "global") == "global" else None
        if vector is not None and "weights" in meta:
            weights.add(str(meta["weights"]))
        return vector

    found = read_contents(folder, read, kinds={Kind.FEATURES} if open_model is None else None)
    rows = [(source.name, vector, "vector") for source, vector in found.stored]
    problems = found.problems
    _check_alike(folder, weights)
    if found.to_encode and open_model is not None:
        model = open_model()
        weights.add(Identity.parse(model.identity).space)  # float32 and bfloat16 vectors may be compared
        _check_alike(folder, weights)
        encoded, failures = encode(found.to_encode, model)
        rows += [(source.name, vector, modality_of(source.kind)) for source, vector in encoded.items()]
        problems += [(source.name, reason) for source, reason in failures.items()]
    if not rows:
        reason = f" ({in_words(problems[0])})" if problems else ""
        if open_model is None:
            raise DataError(f"{folder} holds no global vector to search in{reason}; clamp3 search takes raw files.")
        raise DataError(f"{printable(folder)} holds no file that has a vector{reason}.")
    width = Counter(len(vector) for _, vector, _ in rows).most_common(1)[0][0]
    problems += [(name, f"has width {len(v)}, most have {width}.") for name, v, _ in rows if len(v) != width]
    if open_model is None:
        rows = [(name.rpartition(".")[0], vector, kind) for name, vector, kind in rows]
    kept = sorted((row for row in rows if len(row[1]) == width), key=lambda row: row[0])
    names, vectors, kinds = zip(*kept, strict=True)
    return VectorFolder(list(names), np.stack(vectors), list(kinds), sorted(problems), found.ignored, weights)


def read_contents(
    folder: Path,
    read: Callable[[Source], np.ndarray | None],
    *,
    kinds: Collection[Kind] | None = None,
    refused: type[Clamp3Error] = FormatError,
    excludes: Callable[[PurePosixPath], bool] = lambda _: False,
) -> Contents:
    """Read the vectors that a folder has stored, and list what must be encoded.

    Parameters
    ----------
    folder : Path
        Searched recursively.
    read : callable
        From a file to the vector it holds, None if it must be encoded.
    kinds : collection of Kind, optional
        As in `clamp3.jobs.walk.walk`.
    refused : type
        Errors of ``read`` that are the problem of one file; others are raised.
    excludes : callable
        From a path in the folder to whether nothing is to be known of it.
    """
    walked = walk(folder, kinds)
    problems = [(distinct_name(p.relative), p.reason) for p in walked.problems if not excludes(p.relative)]
    ignored = [name for name in walked.ignored if not excludes(PurePosixPath(name))]
    found = Contents([], [], problems, ignored)
    for file in walked.files:
        if excludes(file.relative):
            continue
        source = Source(file.kind, distinct_name(file.relative), path=file.path, piece=file.piece)
        try:
            vector = read(source)
        except refused as error:
            problems.append((source.name, str(error)))
            continue
        if vector is None:
            found.to_encode.append(source)
        else:
            found.stored.append((source, vector))
    return found


def in_words(problem: tuple[str, str]) -> str:
    """Return the name and the reason of a problem as one sentence, the name once."""
    name, reason = problem
    return reason if reason.startswith(name) else f"{name}: {reason}"


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
    vector = _as_vector(array, name)
    if vector is None:
        raise FormatError(
            f"{name} has shape {array.shape}, not (1, D); for one vector per file extract with --get_global."
        )
    return vector


def stored_vector(source: Source) -> np.ndarray | None:
    """Return the joint-space vector of a ``.npy`` file, float32 of shape (D,), or None if it holds audio features.

    Raises
    ------
    FormatError
        If the file is unreadable, no numeric ``.npy``, empty, or all zeros.
    """
    return _as_vector(read_array(source.read(), source.name), source.name)


def _as_vector(array: np.ndarray, name: str) -> np.ndarray | None:
    if array.size == 0:
        raise FormatError(f"{name} has shape {array.shape}: it holds nothing.")
    if array.ndim not in (1, 2) or array.shape[-1] != array.size:
        return None
    vector = array.reshape(-1).astype(np.float32)  # (D,)
    if not vector.any():
        raise FormatError(f"{name} is all zeros, so no cosine exists.")
    return vector


def encode(sources: list[Source], model: Clamp3) -> tuple[dict[Source, np.ndarray], dict[Source, str]]:
    """Encode inputs, each once.

    Parameters
    ----------
    sources : list of Source
        May repeat.
    model : Clamp3

    Returns
    -------
    dict of Source to float32 array, shape (D,)
    dict of Source to str
        Why an input has no vector.
    """
    distinct = list(dict.fromkeys(sources))
    values: dict[Source, np.ndarray] = {}
    failures: dict[Source, str] = {}
    with progress(len(distinct), "encoding") as advance:
        for result in model.stream(distinct):
            advance(1)
            if result.value is None:
                failures[distinct[result.index]] = result.error or "no vector."
            else:
                values[distinct[result.index]] = result.value
    return values, failures


def provenance(root: Path) -> Callable[[Path], dict[str, Any]]:
    """Return a function from a folder to what its arrays come from, ``{}`` where nothing is known.

    It looks at every folder once, and raises `DataError` if the arrays are hidden states. Above ``root`` only what
    extraction wrote counts, whatever else is called ``features.json`` there.
    """
    from clamp3.jobs.manifest import read_meta

    top = root.resolve()

    @functools.cache
    def meta_of(folder: Path) -> dict[str, Any]:
        place = folder.resolve()
        try:
            meta = read_meta(place)
        except ConfigError:
            if place == top or top in place.parents:
                raise
            meta = None
        if meta is None or not meta.keys() & {"arrays", "weights"}:
            return meta_of(place.parent) if place.parent != place else {}
        if meta.get("arrays") == "temporal":
            raise DataError(f"{printable(folder)} holds hidden states; extract it again with --get_global.")
        return meta

    return meta_of


class StoredVectors:
    """Vectors that extraction has written, recognised by the ``features.json`` beside them."""

    def __init__(self, clamp3: Clamp3, root: Path) -> None:
        self._clamp3 = clamp3  # its identity is asked for when there is a vector: it means reading all weights
        self._meta_of = provenance(root)

    def is_vector(self, source: Source) -> bool:
        """Whether extraction says that a file is a vector."""
        if source.kind != Kind.FEATURES or source.path is None:
            return False
        return self._meta_of(source.path.parent).get("arrays") == "global"

    def vector(self, source: Source, width: int | None = None) -> np.ndarray | None:
        """Return the joint-space vector, shape (D,), of a file that holds one; None for all that is to be encoded.

        Parameters
        ----------
        source : Source
        width : int, optional
            The only one that is allowed.

        Raises
        ------
        FormatError
            If the vector comes from other weights, or has another width.
        """
        if not self.is_vector(source):
            return None
        meta = self._meta_of(Path(source.path or "").parent)
        if meta.get("weights") != Identity.parse(self._clamp3.identity).space:
            raise FormatError(
                f"{source.name} is a vector of other weights, {meta.get('weights')}, which --model has to name; "
                f"it is {Identity.parse(self._clamp3.identity).space}."
            )
        vector = stored_vector(source)
        if vector is not None and width is not None and len(vector) != width:
            raise FormatError(f"{source.name} has width {len(vector)}, the query has {width}.")
        return vector


def check_same_model(query: Path, references: VectorFolder) -> None:
    """Refuse to compare vectors that are known to come from different weights.

    Parameters
    ----------
    query : Path
        A query's file. What extraction wrote beside it, or above it, says where it comes from; where nothing was
        written, nothing is known and nothing refused.
    references : VectorFolder

    Raises
    ------
    DataError
        If both are known and differ.
    """
    asked = provenance(query.parent)(query.parent).get("weights")
    if asked is not None and references.weights and {asked} != references.weights:
        searched = ", ".join(references.weights)
        raise DataError(
            f"the query's vector was made with {asked}, the folder's with {searched}; they cannot be compared."
        )


def check_comparable(left: VectorFolder, right: VectorFolder) -> None:
    """Refuse to compare vectors of different widths, or that are known to come from different weights.

    Parameters
    ----------
    left, right : VectorFolder

    Raises
    ------
    DataError
        If they cannot be compared.
    """
    if left.vectors.shape[1] != right.vectors.shape[1]:
        raise DataError(
            f"one folder's vectors have width {left.vectors.shape[1]}, the other's {right.vectors.shape[1]}; "
            "both must come from the same model (raw files need --model to name it)."
        )
    if left.weights and right.weights and left.weights != right.weights:
        one, other = ", ".join(sorted(left.weights)), ", ".join(sorted(right.weights))
        raise DataError(f"one folder's vectors come from {one}, the other's from {other}; they cannot be compared.")


def _check_alike(folder: Path, weights: Collection[str]) -> None:
    if len(weights) > 1:
        raise DataError(f"{printable(folder)} mixes vectors of different weights ({', '.join(sorted(weights))}).")
