"""A map of many vectors: two coordinates each, and what their points are coloured by.

Conventions
-----------
Vectors are scaled to length 1 first, so that points of high cosine lie close together. PCA keeps (projected) distances;
t-SNE and UMAP keep neighbours, and distances between distant groups carry no meaning. All methods are seeded.

References
----------
L. van der Maaten, G. Hinton: Visualizing data using t-SNE, 2008.
L. McInnes, J. Healy, J. Melville: UMAP, arXiv:1802.03426, 2018.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clamp3.datasets.labelled import label_from_name
from clamp3.errors import ConfigError, DataError, FormatError, printable, sentence_of
from clamp3.formats import kind_of
from clamp3.formats.pieces import as_file
from clamp3.formats.tables import json_text, read_csv, read_json, read_jsonl
from clamp3.index.ranking import unit_rows
from clamp3.index.selection import folder_names, modalities
from clamp3.index.vectors import Opener, check_comparable, load_folder

METHODS = ("pca", "tsne", "umap")
MIN_POINTS = 4
_PERPLEXITY = 30
_ALIKE = 1e-6
_NEIGHBOURS = 15
_FEW_CLASSES = 20
_NAME_FIELDS = ("name", "file", "path", "id")


@dataclass(frozen=True)
class Shown:
    """What a map shows: names, vectors (N, D), labels, what the labels are, and files without a vector."""

    names: list[str]
    vectors: NDArray[np.float32]
    labels: list[str]
    color: str
    problems: list[tuple[str, str]]


def gather(
    folders: Sequence[Path], open_model: Opener, *, color: str | None = None, metadata: Path | None = None
) -> Shown:
    """Load the files of several folders with their vectors and labels.

    Parameters
    ----------
    folders : sequence of Path
    open_model : callable
        As in `clamp3.index.vectors.load_folder`.
    color : str, optional
        ``modality``, ``source`` (the folder given), or as `labels_of`; by default ``source`` of several folders,
        ``modality`` of one.
    metadata : Path, optional
        As `read_metadata`.

    Raises
    ------
    DataError
        If the folders' vectors cannot be compared.
    ConfigError
        If ``color`` is unknown.
    """
    table = read_metadata(metadata) if metadata is not None else None
    color = color or ("source" if len(folders) > 1 else "modality")
    sources = folder_names(folders)
    names: list[str] = []
    labels: list[str] = []
    problems: list[tuple[str, str]] = []
    once = functools.cache(open_model)
    found = [load_folder(folder, once) for folder in folders]
    for folder, source, part in zip(folders, sources, found, strict=True):
        check_comparable(found[0], part)
        prefix = f"{source}/" if len(folders) > 1 else ""
        names += [f"{prefix}{name}" for name in part.names]
        problems += [(f"{prefix}{name}", reason) for name, reason in part.problems]
        if color == "source":
            labels += [source] * len(part)
        elif color == "modality":
            labels += modalities(folder, part.names, part.kinds)
        else:
            labels += labels_of(part.names, color, table)
    return Shown(names, np.concatenate([part.vectors for part in found]), labels, color, problems)


def points_as_json(shown: Shown, points: dict[str, NDArray[np.float64]]) -> str:
    """Return all points with their names, labels and coordinates.

    Parameters
    ----------
    shown : Shown
    points : dict from method to float array, shape (N, 2)
        From `project`.
    """
    rows = [
        {"name": name, "label": label, **{method: places[row].tolist() for method, places in points.items()}}
        for row, (name, label) in enumerate(zip(shown.names, shown.labels, strict=True))
    ]
    return json_text({"color": shown.color, "points": rows})


def project(vectors: ArrayLike, method: str, *, seed: int = 0) -> NDArray[np.float64]:
    """Return two coordinates per vector.

    Parameters
    ----------
    vectors : array of float, shape (N, D)
    method : {"pca", "tsne", "umap"}
    seed : int

    Returns
    -------
    array of float64, shape (N, 2)

    Raises
    ------
    ConfigError
        If the method is unknown, or the package it needs is absent.
    DataError
        If there are fewer than `MIN_POINTS` vectors, or all are the same.
    """
    unit = unit_rows(vectors)
    if len(unit) < MIN_POINTS:
        raise DataError(f"{len(unit)} vectors make no map; at least {MIN_POINTS} are needed.")
    if np.ptp(unit, axis=0).max() < _ALIKE:  # t-SNE would divide by their spread, and end the process
        raise DataError("the vectors are all alike, so a map of them shows nothing.")
    try:
        if method == "pca":
            from sklearn.decomposition import PCA

            found = PCA(2, svd_solver="full").fit_transform(unit)
        elif method == "tsne":
            from sklearn.manifold import TSNE

            perplexity = min(_PERPLEXITY, (len(unit) - 1) / 3)
            found = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(unit)
        elif method == "umap":
            from umap import UMAP

            # Its spectral start needs more points than dimensions; with few points a random one does as well.
            start = "spectral" if len(unit) > _NEIGHBOURS else "random"
            neighbours = min(_NEIGHBOURS, len(unit) - 1)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that a seed means one thread
                found = UMAP(n_neighbors=neighbours, init=start, random_state=seed).fit_transform(unit)
        else:
            raise ConfigError(f"the method is {method!r}; choose one of {', '.join(METHODS)}.")
    except ImportError as error:
        package = error.name or "more packages"
        raise ConfigError(f"a map by {method} needs {package}: pip install 'clamp3[eval]'.") from None
    if not np.isfinite(found).all():
        raise DataError(f"{method} finds no place for some of the vectors; choose another --method.")
    return np.asarray(found, np.float64)


def labels_of(names: Sequence[str], color: str, metadata: dict[str, dict[str, str]] | None = None) -> list[str]:
    """Return the label by which each file is coloured.

    Parameters
    ----------
    names : sequence of str
        Paths in their folder.
    color : str
        ``folder`` (the first sub-folder), ``class`` (the name up to the first ``_``; names without one are "unknown"),
        or a field of the metadata.
    metadata : dict, optional
        From `read_metadata`.

    Raises
    ------
    ConfigError
        If the field is in no row, or what stands before ``_`` is another word in most names.
    """
    if color == "folder":
        return [PurePosixPath(name).parts[0] if "/" in name else "." for name in names]
    if color == "class":
        found = [label_from_name(name) for name in names]
        n_classes = len({label for label in found if label is not None})
        if not n_classes or n_classes > max(_FEW_CLASSES, len(names) / 2):
            raise ConfigError(
                f"what stands before a '_' in the names makes {n_classes} classes of {len(names)} files; "
                "colour by folder, or by a field of --metadata."
            )
        return [label or "unknown" for label in found]
    fields = {field for row in (metadata or {}).values() for field in row}
    if color not in fields:
        listed = [sentence_of(field, 40) for field in sorted(fields)]
        known = ", ".join(["modality", "source", "folder", "class", *listed[:20]])
        raise ConfigError(f"nothing to colour by {color!r}; there is {known}.")
    return [_row_of(name, metadata or {}).get(color, "unknown") for name in names]


def read_metadata(path: Path) -> dict[str, dict[str, str]]:
    """Return the metadata of files from a table, by file name.

    Parameters
    ----------
    path : Path
        A CSV or TSV with a header whose first column names the files; or JSON: an object of objects by file name, or
        rows (a list, or JSON Lines) with a field ``name``, ``file``, ``path`` or ``id``. Names may be paths in the
        folder, with or without suffix.

    Raises
    ------
    FormatError
        If the file cannot be read.
    """
    if path.suffix.lower() in (".csv", ".tsv"):
        rows = read_csv(path)
        if kind_of(next(iter(rows[0])) or "") is not None:  # None: of cells beyond an empty header
            raise FormatError(f"{printable(path)} has no header: its first line names a file, not the columns.")
        filled = [{field: value for field, value in row.items() if isinstance(value, str)} for row in rows]
        return {next(iter(row.values())): row for row in filled if row}  # without cells beyond the header
    try:
        found = read_json(path) if path.suffix.lower() == ".json" else None
    except FormatError:
        found = None  # `read_jsonl` reports what is wrong, or takes it for lines
    if isinstance(found, dict) and all(isinstance(row, dict) for row in found.values()):
        return {name: {field: str(value) for field, value in row.items()} for name, row in found.items()}
    named: dict[str, dict[str, str]] = {}
    for row in read_jsonl(path):
        key = next((key for key in _NAME_FIELDS if key in row), None)
        if key is None:
            raise FormatError(
                f"{printable(path)} has a row without {' or '.join(_NAME_FIELDS)}: it has {', '.join(row)}."
            )
        named[str(row[key])] = {field: str(value) for field, value in row.items()}
    return named


def _row_of(name: str, metadata: dict[str, dict[str, str]]) -> dict[str, str]:
    """Return a file's row: by its path, then without suffix, then by its name alone."""
    path = PurePosixPath(as_file(name))
    keys = (name, path.with_suffix("").as_posix(), path.name, path.stem, path.name.split(".")[0])
    return next((metadata[key] for key in keys if key in metadata), {})
