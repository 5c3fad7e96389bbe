"""Zero-shot classification: files are compared with prompts, sentences about each class.

A class is an ensemble of prompts: its vector is the mean of their unit vectors, and a file's score its cosine to that.
An axis such as happy - sad has two ends; a file's place on it is its cosine to the first minus that to the second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clamp3.datasets.labelled import label_from_name
from clamp3.errors import ConfigError, DataError, printable, sentence_of
from clamp3.formats.tables import parse_json, read_json
from clamp3.index.prompts import Prompts, class_vectors
from clamp3.index.ranking import unit_rows
from clamp3.index.vectors import load_folder
from clamp3.jobs.identity import Identity
from clamp3.probe.labels import Label, as_targets, find_labels, read_labels
from clamp3.probe.metrics import evaluate

if TYPE_CHECKING:
    from clamp3.embedding.clamp3 import Clamp3

PRESETS = ("region", "genre", "instrument", "mood")


@dataclass(frozen=True)
class Similarities:
    """Cosines of N files to C classes (N, C), and their places on A axes (N, A)."""

    classes: tuple[str, ...]
    axes: tuple[str, ...]
    scores: np.ndarray
    places: np.ndarray

    def rows(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return label, scores and places by file name."""
        found: dict[str, dict[str, Any]] = {}
        for name, scores, places in zip(names, self.scores, self.places, strict=True):
            row: dict[str, Any] = {}
            if self.classes:
                row["label"] = self.classes[int(scores.argmax())]
                row["scores"] = _rounded(self.classes, scores)
            if self.axes:
                row["axes"] = _rounded(self.axes, places)
            found[name] = row
        return found


def read_prompts(path: Path) -> dict[str, list[str]]:
    """Return the prompts of a JSON file: an object from classes to a sentence or a list of sentences.

    Raises
    ------
    ConfigError
        If the file is absent or not such an object.
    """
    if not path.exists():
        raise ConfigError(f"--prompts {printable(path)} is neither a file nor one of {', '.join(PRESETS)}.")
    found = read_json(path, dict[str, str | list[str]], error=ConfigError)
    prompts = {name: [value] if isinstance(value, str) else value for name, value in found.items()}
    for name, sentences in prompts.items():
        if not all(sentences or [""]):
            raise ConfigError(f"{printable(path)}: {sentence_of(name)} needs a sentence or a list of sentences.")
    return prompts


def preset_prompts(name: str, classes: Sequence[str] = (), languages: Sequence[str] = ()) -> dict[str, list[str]]:
    """Return the prompts of a preset: each template of a language with the class's name in that language.

    Parameters
    ----------
    name : str
        One of `PRESETS`.
    classes : sequence of str
        Those wanted; empty = all.
    languages : sequence of str
        ISO 639-1 codes; empty = all that there are (en, de, fr, es, zh).

    Raises
    ------
    ConfigError
        If there is no such class or language.

    Examples
    --------
    >>> preset_prompts("mood", ["calm"], ["en", "fr"])
    {'calm': ['calm music', 'a calm piece', 'musique calme']}
    """
    path = files("clamp3.probe") / "prompts" / f"{name}.json"
    preset = parse_json(path.read_bytes())
    for what, wanted, known in (("class", classes, preset["classes"]), ("language", languages, preset["templates"])):
        if unknown := [word for word in wanted if word not in known]:
            raise ConfigError(f"--prompts {name} has no {what} {', '.join(unknown)}; there are {', '.join(known)}.")
    templates = {code: preset["templates"][code] for code in languages or preset["templates"]}
    return {
        label: [
            template.replace("{}", preset["classes"][label][code])
            for code, texts in templates.items()
            for template in texts
        ]
        for label in classes or preset["classes"]
    }


def compare(vectors: np.ndarray, model: Clamp3, classes: Prompts, axes: Sequence[Prompts] = ()) -> Similarities:
    """Compare vectors with classes and axes.

    Parameters
    ----------
    vectors : float array, shape (N, D)
        Vectors of the model's joint space.
    model : Clamp3
        Encodes the prompts.
    classes : mapping
        Prompts of each class; may be empty if there are axes.
    axes : sequence of mapping
        Prompts of both ends of each axis, two entries each.

    Raises
    ------
    DataError
        If the vectors have another width than the model's, or a prompt cannot be encoded.
    """
    if any(len(axis) != 2 for axis in axes):
        raise ConfigError("an axis has two ends.")
    ends = [prompts for axis in axes for prompts in axis.values()]
    directions = class_vectors(model, [*classes.values(), *ends])  # (C + 2 A, D)
    if vectors.shape[1] != directions.shape[1]:
        raise DataError(f"the files' vectors have width {vectors.shape[1]}, the model's {directions.shape[1]}.")
    cosines = unit_rows(vectors) @ directions.T
    n = len(classes)
    places = cosines[:, n::2] - cosines[:, n + 1 :: 2]
    names = tuple(" - ".join(axis) for axis in axes)
    return Similarities(tuple(classes), names, cosines[:, :n], places)


def answer_folder(
    folder: Path,
    model: Clamp3,
    classes: Prompts,
    axes: Sequence[Prompts] = (),
    *,
    labels: str | None = None,
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Return scores and places of every file of a folder, and the files without a vector with the reason.

    Parameters
    ----------
    folder : Path
        Vectors of the model, or raw files.
    model : Clamp3
    classes, axes
        As in `compare`.
    labels : str, optional
        A table of true classes, or ``names`` for file names up to the first ``_``: adds ``scores``.

    Raises
    ------
    ConfigError
        If there is neither a class nor an axis, or a single class.
    DataError
        If the folder's vectors come from another model.
    """
    if not classes and not axes:
        raise ConfigError("nothing to tell apart: give --classes, --prompts or --axis.")
    if len(classes) == 1:
        raise ConfigError("a single class cannot be distinguished from others; name at least two.")
    found = load_folder(folder, lambda: model)
    own = {Identity.parse(model.identity).space}
    if found.weights and found.weights != own:
        raise DataError(
            f"the vectors were made with {', '.join(sorted(found.weights))}, the sentences are encoded with "
            f"{', '.join(own)}; name the vectors' model by --model."
        )
    compared = compare(found.vectors, model, classes, axes)
    result: dict[str, Any] = {"model": model.identity, "prompts": {name: list(p) for name, p in classes.items()}}
    problems = list(found.problems)
    if labels is not None:
        result["scores"], unlabelled = _scores(found.names, compared, labels)
        problems += unlabelled
    return {**result, "files": compared.rows(found.names)}, problems


def as_lines(result: Mapping[str, Any]) -> str:
    """Return ``name TAB label TAB score TAB places`` lines, the scores first where there are any."""
    lines = []
    for name, row in result["files"].items():
        cells = [name]
        if "label" in row:
            cells += [row["label"], f"{row['scores'][row['label']]:.4f}"]
        lines.append("\t".join([*cells, *(f"{place:+.4f}" for place in row.get("axes", {}).values())]))
    scores = [f"{name}: {value:.4f}" for name, value in result.get("scores", {}).items()]
    return "\n".join([*lines, *scores])


def _scores(names: Sequence[str], found: Similarities, labels: str) -> tuple[dict[str, float], list[tuple[str, str]]]:
    if labels == "names":
        given: list[Label | None] = [label_from_name(name) for name in names]
    else:
        given, _ = find_labels(names, read_labels(Path(labels), "multiclass")[0])
    rows = [row for row, label in enumerate(given) if label in found.classes]
    if not rows:
        raise DataError(f"no file has a label among {', '.join(found.classes)}.")
    targets = as_targets([str(given[row]) for row in rows], "multiclass", found.classes).values
    scores = evaluate("multiclass", targets, found.scores[rows], found.classes)
    others = [(names[row], f"its label is {label}.") for row, label in enumerate(given) if row not in set(rows)]
    return scores, others


def _rounded(names: Sequence[str], values: np.ndarray) -> dict[str, float]:
    return {name: round(float(value), 6) for name, value in zip(names, values, strict=True)}
