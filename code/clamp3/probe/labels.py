"""Labels of files, from their names or from a table, and as arrays of targets.

A label is a string (multiclass), a tuple of strings (multilabel) or a tuple of numbers (regression).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clamp3.datasets.labelled import Label, TaskType
from clamp3.errors import DataError, FormatError, printable, sentence_of
from clamp3.formats import kind_of
from clamp3.formats.pieces import as_file
from clamp3.formats.tables import read_csv, read_json


@dataclass(frozen=True)
class Targets:
    """Labels as an array.

    Attributes
    ----------
    classes : tuple of str
        What the columns of ``values`` are: classes or tags, sorted, or the names of the values.
    values : float32 array, shape (N, C)
        One-hot rows, tags as 0 and 1, or values.
    unseen : tuple of str
        Labels that are not among the classes; in ``values`` they are all zeros.
    """

    task: TaskType
    classes: tuple[str, ...]
    values: np.ndarray
    unseen: tuple[str, ...] = ()


def read_labels(path: Path, task: TaskType) -> tuple[dict[str, Label], tuple[str, ...]]:
    """Return labels by file name, and the names of the values of a regression.

    Parameters
    ----------
    path : Path
        ``.json``: an object from file names to a class, a list of tags or object from tags to 0 or 1, or a number,
        list or object of numbers.
        ``.csv`` or ``.tsv``: a header line (a first line that reads as a row is one), the first column names files.
        Multiclass takes the second column; multilabel tags separated by ``;`` in the second column, or one column of 0
        and 1 per tag; regression all further columns.
    task : {"multiclass", "multilabel", "regression"}

    Raises
    ------
    FormatError
        If it cannot be read, a label does not fit the task, or values have other names than those of the first file.
    """
    names: tuple[str, ...] = ()
    if path.suffix.lower() == ".json":
        raw = _json(path)
    else:
        raw, names = _csv(path, task)
    if task == "regression" and any(isinstance(value, dict) for value in raw.values()):
        first, value = next(iter(raw.items()))
        names = tuple(value) if isinstance(value, dict) else ()
        for name, value in raw.items():
            if not isinstance(value, dict) or set(value) != set(names):
                raise FormatError(f"{printable(path)}: the values of {name} have other names than those of {first}.")
            raw[name] = [value[key] for key in names]
    labels: dict[str, Label] = {}
    for name, value in raw.items():
        try:
            labels[name] = _label(value, task)
        except (TypeError, ValueError, OverflowError):
            shown = sentence_of(repr(value), 60)
            raise FormatError(f"{printable(path)}: the label of {name} is {shown}, which is none for {task}.") from None
    return labels, names


def find_labels(names: Sequence[str], known: Mapping[str, Label]) -> tuple[list[Label | None], list[str]]:
    """Return the label of every file, None where the table has none, and the table's names without a file.

    Names match as paths in the folder, with or without the suffix of a known type (other dots belong to the name), or
    by file name alone, where one name of the table ends so; if that name has a folder, only one file may end so too.

    Parameters
    ----------
    names : sequence of str
        Paths of the files in their folder.
    known : mapping from str to label
        From `read_labels`.
    """
    exact = {key.replace("\\", "/"): key for key in known}
    bare = _unique(exact, _bare)
    n_files = Counter(map(_last, names))
    last = {end: key for end, key in _unique(exact, _last).items() if n_files[end] == 1 or end == _bare(key)}
    found: list[Label | None] = []
    used: set[str] = set()
    for name in names:
        key = exact.get(name) or exact.get(_bare(name)) or bare.get(_bare(name)) or last.get(_last(name))
        if key is not None:
            used.add(key)
        found.append(None if key is None else known[key])
    return found, sorted(set(known) - used)


def classes_of(labels: Sequence[Label], task: TaskType) -> tuple[str, ...]:
    """Return the classes or tags in use, sorted, so that their numbers depend on nothing else.

    Parameters
    ----------
    labels : sequence
    task : {"multiclass", "multilabel", "regression"}

    Examples
    --------
    >>> classes_of([("slow", "sad"), ("sad",)], "multilabel")
    ('sad', 'slow')
    """
    if task == "multiclass":
        return tuple(sorted({str(label) for label in labels}))
    if task == "multilabel":
        return tuple(sorted({str(tag) for label in labels for tag in label}))
    return tuple(f"value {place}" for place in range(1, len(labels[0]) + 1)) if labels else ()


def as_targets(labels: Sequence[Label], task: TaskType, classes: Sequence[str] = ()) -> Targets:
    """Return labels as an array.

    Parameters
    ----------
    labels : sequence
    task : {"multiclass", "multilabel", "regression"}
    classes : sequence of str, optional
        Those of the training data; without them those in use.

    Raises
    ------
    DataError
        If rows of a regression have different lengths.
    """
    classes = tuple(classes) or classes_of(labels, task)
    values = np.zeros((len(labels), len(classes)), np.float32)
    if task == "regression":
        for row, label in enumerate(labels):
            if len(label) != len(classes):
                raise DataError(f"a label has {len(label)} values, others have {len(classes)}.")
            values[row] = label
        return Targets(task, classes, values)
    column = {name: place for place, name in enumerate(classes)}
    unseen: set[str] = set()
    for row, label in enumerate(labels):
        for name in (label,) if isinstance(label, str) else label:
            if str(name) in column:
                values[row, column[str(name)]] = 1
            else:
                unseen.add(str(name))
    return Targets(task, classes, values, tuple(sorted(unseen)))


def _label(value: Any, task: TaskType) -> Label:
    if task == "multiclass":
        if isinstance(value, bool) or not isinstance(value, (str, int)) or str(value).strip() == "":
            raise ValueError
        return str(value).strip()
    if task == "multilabel":
        if isinstance(value, dict):
            if any(there not in (0, 1) for there in value.values()):
                raise ValueError
            value = [tag for tag, there in value.items() if there]
        tags = value if isinstance(value, list) else str(value).split(";")
        return tuple(dict.fromkeys(text for tag in tags if (text := str(tag).strip())))
    numbers = tuple(float(number) for number in (value if isinstance(value, list) else [value]))
    if not numbers or not np.isfinite(numbers).all():
        raise ValueError
    return numbers


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(path, dict[str, Any])
    if not found:
        raise FormatError(f"{printable(path)} is no object from file names to labels.")
    return found


def _csv(path: Path, task: TaskType) -> tuple[dict[str, Any], tuple[str, ...]]:
    rows, first_line = read_csv(path, header=False), 1
    if not _is_row(rows, task):
        rows, first_line = read_csv(path), 2
    first, *rest = rows[0]
    if not rest:
        raise FormatError(f"{printable(path)} has one column; file names and labels are needed.")
    if first_line == 1 and task == "multilabel" and len(rest) > 1:
        raise FormatError(f"{printable(path)} has no header, which names the tags of its columns.")
    a_column_per_tag = task == "multilabel" and (
        len(rest) > 1 or all(str(row.get(rest[0])).strip() in ("0", "1") for row in rows)
    )
    found: dict[str, Any] = {}
    for number, row in enumerate(rows, start=first_line):
        cells = [row.get(column) for column in rest]
        if row[first] in found:
            raise FormatError(f"{printable(path)}:{number} names {row[first]} for the second time.")
        if any(not isinstance(cell, str) for cell in cells):
            raise FormatError(f"{printable(path)}:{number} has fewer fields than the first line.")
        if a_column_per_tag:
            if any(str(cell).strip() not in ("0", "1") for cell in cells):
                raise FormatError(f"{printable(path)}:{number}: columns of tags hold 0 or 1.")
            found[row[first]] = [tag for tag, cell in zip(rest, cells, strict=True) if str(cell).strip() == "1"]
        else:
            found[row[first]] = cells if task == "regression" else cells[0]
    return found, tuple(rest) if task == "regression" and first_line > 1 else ()


def _is_row(rows: list[dict[str, str]], task: TaskType) -> bool:
    """Return whether the first line of a table is no header: it names a file, or has a label where others have one."""
    name, *labels = (str(cell).strip() for cell in rows[0].values())
    if kind_of(name) is not None:
        return True
    if not labels or task == "regression":
        return bool(labels) and all(map(_is_number, labels))
    if len(labels) > 1 and task == "multilabel":
        return set(labels) <= {"0", "1"}
    mark = ";" if task == "multilabel" else "\0"
    seen = {label.strip() for row in rows[1:] for label in str(row.get("2")).split(mark)}
    return {label.strip() for label in labels[0].split(mark)} <= seen


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _bare(name: str) -> str:
    name = as_file(name)
    return os.path.splitext(name)[0] if kind_of(name) else name


def _last(name: str) -> str:
    return _bare(name).replace("\\", "/").rsplit("/", 1)[-1]


def _unique(exact: Mapping[str, str], shorten: Callable[[str], str]) -> dict[str, str]:
    """Return keys by shortened names that stand for one name only."""
    counts = Counter(map(shorten, exact))
    return {shorten(name): key for name, key in exact.items() if counts[shorten(name)] == 1}
