"""One vector per file of a folder, whatever the files are: stored vectors are read, everything else is encoded.

Told by content: a ``.npy`` file of shape (D,) or (1, D) is a vector of the joint space; any other holds audio features
and is encoded, as are texts, scores, performances and recordings. A folder of vectors needs no model and no torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clamp3.errors import DataError, FormatError
from clamp3.formats import Kind
from clamp3.index.provenance import check_alike, origins
from clamp3.jobs.identity import Identity
from clamp3.jobs.progress import progress
from clamp3.jobs.walk import printable, walk
from clamp3.sources import Source, modality_of

if TYPE_CHECKING:
    from clamp3.embedding.clamp3 import Clamp3

Opener = Callable[[], "Clamp3"]


@dataclass(frozen=True)
class Vectors:
    """Vectors of a folder and where they come from; rows are ordered by name.

    Attributes
    ----------
    names : list of str
        Path in the folder, suffix included.
    values : float32 array, shape (N, D)
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
    values: np.ndarray
    kinds: list[str]
    problems: list[tuple[str, str]]
    ignored: list[str]
    weights: set[str]

    def __len__(self) -> int:
        return len(self.names)


def vectors_of(folder: Path, open_model: Opener) -> Vectors:
    """Return one vector for every readable file of a folder.

    Parameters
    ----------
    folder : Path
        Searched recursively; any mixture of kinds. A single file is a folder of one.
    open_model : callable
        Returns the model; called only if a file has to be encoded.

    Raises
    ------
    ConfigError
        If the folder does not exist.
    DataError
        If it holds no file with a vector, its vectors come from several weights or others than the model's, or
        extraction says that a folder in it holds hidden states.
    """
    found, origin = walk(folder), origins(folder)
    problems = [(printable(problem.relative), problem.reason) for problem in found.problems]
    rows: dict[str, tuple[np.ndarray, str]] = {}
    weights: set[str] = set()
    to_encode: list[Source] = []
    for item in found.files:
        source = Source(item.kind, printable(item.relative), path=item.path)
        meta = origin(item.path.parent) if item.kind is Kind.FEATURES else {"arrays": None}
        try:
            vector = stored_vector(source) if meta.get("arrays", "global") == "global" else None
        except FormatError as error:
            problems.append((source.name, str(error)))
            continue
        if vector is None:
            to_encode.append(source)
        else:
            rows[source.name] = (vector, "vector")
            weights |= {str(meta["weights"])} if "weights" in meta else set()
    check_alike(folder, weights)
    if to_encode:
        model = open_model()
        weights.add(Identity.parse(model.identity).space)  # float32 and bfloat16 vectors may be compared
        check_alike(folder, weights)
        encoded, failures = encode(to_encode, model)
        rows |= {source.name: (vector, modality_of(source.kind)) for source, vector in encoded.items()}
        problems += [(source.name, reason) for source, reason in failures.items()]
    if not rows:
        reason = f" ({problems[0][0]}: {problems[0][1]})" if problems else ""
        raise DataError(f"{printable(folder)} holds no file that has a vector{reason}.")
    width = Counter(len(vector) for vector, _ in rows.values()).most_common(1)[0][0]
    for name in [name for name, (vector, _) in rows.items() if len(vector) != width]:
        problems.append((name, f"has width {len(rows.pop(name)[0])}, most have {width}."))
    names = sorted(rows)
    values = np.stack([rows[name][0] for name in names])
    return Vectors(names, values, [rows[name][1] for name in names], sorted(problems), found.ignored, weights)


def stored_vector(source: Source) -> np.ndarray | None:
    """Return the joint-space vector of a ``.npy`` file, float32 of shape (D,), or None if it holds audio features.

    Raises
    ------
    FormatError
        If the file is unreadable, no numeric ``.npy``, empty, or all zeros.
    """
    from clamp3.formats.arrays import read_array

    array = read_array(source.read(), source.name)
    if array.size == 0:
        raise FormatError(f"{source.name} has shape {array.shape}: it holds nothing.")
    if array.ndim not in (1, 2) or array.shape[-1] != array.size:
        return None
    if not array.any():
        raise FormatError(f"{source.name} is all zeros, so no cosine exists.")
    return array.reshape(-1).astype(np.float32)  # (D,)


def encode(sources: list[Source], model: Clamp3) -> tuple[dict[Source, np.ndarray], dict[Source, str]]:
    """Return the vectors of inputs, and the reasons of those that have none; each input is encoded once."""
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


def check_comparable(left: Vectors, right: Vectors) -> None:
    """Refuse to compare vectors of different widths, or that are known to come from different weights.

    Raises
    ------
    DataError
        If they are.
    """
    if left.values.shape[1] != right.values.shape[1]:
        raise DataError(
            f"one folder's vectors have width {left.values.shape[1]}, the other's {right.values.shape[1]}; "
            "both must come from the same model (raw files need --model to name it)."
        )
    if left.weights and right.weights and left.weights != right.weights:
        one, other = ", ".join(sorted(left.weights)), ", ".join(sorted(right.weights))
        raise DataError(f"one folder's vectors come from {one}, the other's from {other}; they cannot be compared.")
