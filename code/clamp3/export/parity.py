"""How close exported towers are to the weights they come from: cosines of vectors, and what retrieval loses.

Goals: a cosine of at least 0.99999 for every input in float32, and 0.99 with weights of 8 bits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clamp3.data.records import file_names
from clamp3.data.text_sampling import EVALUATION_FIELDS
from clamp3.embedding import batching
from clamp3.embedding.clamp3 import Clamp3
from clamp3.embedding.m3 import M3
from clamp3.embedding.onnx_towers import OnnxTowers
from clamp3.errors import Clamp3Error, ConfigError, DataError, describe
from clamp3.export.inputs import N_INPUTS, inputs_in, usual_inputs
from clamp3.formats import Kind, kind_of
from clamp3.formats.tables import read_jsonl
from clamp3.index.ranking import unit_rows
from clamp3.modalities import of_kind
from clamp3.models.onnx_folder import read_export
from clamp3.retrieval.cosine import cosine_ranks
from clamp3.retrieval.metrics import evaluate
from clamp3.sources import Source, source_of

if TYPE_CHECKING:
    import os

    from clamp3.embedding.batching import Tower
    from clamp3.embedding.encoder import Encoder

NAME = "parity.json"
GOALS = {"float32": 0.99999, "int8": 0.99}
_USUAL = f"{N_INPUTS} of each kind: sentences of the presets, scores of music21's corpus, tunes of synthetic tones"


@dataclass(frozen=True)
class Pair:
    """A tower of the checkpoint, and what was exported of it."""

    reference: Tower
    exported: Tower


class Comparison:
    """The towers of a folder beside those of the weights; every input is converted once for both.

    Parameters
    ----------
    name_or_path : str or path
        The weights.
    folder : Path
        What `clamp3.models.onnx_folder.export` has written of them.
    text_model, epoch, mert_model
        As `clamp3.embedding.clamp3.Clamp3.from_pretrained` takes them.

    Raises
    ------
    ConfigError
        If the folder is of other weights.
    """

    def __init__(
        self,
        name_or_path: str | os.PathLike[str],
        folder: Path,
        *,
        text_model: str | os.PathLike[str] | None = None,
        epoch: int | None = None,
        mert_model: str | os.PathLike[str] | None = None,
    ) -> None:
        self.exported, self._folder = read_export(folder), folder
        self.model: Encoder
        if self.exported.family == "m3":
            self.model = M3.from_pretrained(name_or_path, epoch=epoch, device="cpu")
        else:
            self.model = Clamp3.from_pretrained(
                name_or_path, text_model=text_model, epoch=epoch, mert_model=mert_model, device="cpu"
            )
        if not self.model.identity.startswith(self.exported.weights):
            raise ConfigError(f"{folder} was exported from {self.exported.weights}, not {self.model.identity}.")
        self._pairs: dict[str, Pair] = {}

    def vectors(self, sources: Sequence[Source]) -> tuple[np.ndarray, np.ndarray]:
        """Return the vectors (N, E) of inputs of one modality by the weights, and by what was exported."""
        modality = of_kind(sources[0].kind)
        if modality.name not in self._pairs:
            exported = OnnxTowers(self._folder, self.exported).load(modality.name)
            self._pairs[modality.name] = Pair(self.model.load(modality.name), exported)
        pair, front_end = self._pairs[modality.name], self.model.front_end(modality.name)
        sequences = []
        for source in sources:
            payload = (source.recording if source.streamed else source.read(), source.kind, source.name)
            sequences.append(modality.prepare(payload, front_end).values)
        return _run(sequences, pair.reference), _run(sequences, pair.exported)


def _run(sequences: list[np.ndarray], tower: Tower) -> np.ndarray:
    rows: dict[int, np.ndarray] = {}
    for place, row in batching.run(sequences, tower):
        if isinstance(row, DataError):
            raise row
        rows[place] = row
    return np.stack([rows[place] for place in range(len(sequences))])


def measure(comparison: Comparison, *, inputs: Path | None = None, records: Path | None = None) -> dict[str, Any]:
    """Return the report: cosines of every tower, and the mean reciprocal rank by either.

    Parameters
    ----------
    comparison : Comparison
    inputs : Path, optional
        Folder of texts, scores and recordings; None takes those of `usual_inputs`.
    records : Path, optional
        JSONL of training records, whose texts ask for their files.
    """
    import torch

    exported = comparison.exported
    goal, by_tower = GOALS[exported.precision], defaultdict(list)
    for source in usual_inputs() if inputs is None else inputs_in(inputs):
        by_tower[of_kind(source.kind).name].append(source)
    report: dict[str, Any] = {
        "weights": exported.weights,
        "precision": exported.precision,
        "opset": exported.opset,
        "made_with": exported.made_with,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "inputs": _USUAL if inputs is None else str(inputs),
        "towers": {},
    }
    for modality in exported.towers:
        found: dict[str, Any] = {"inputs": len(by_tower[modality]), "goal": goal}
        try:
            cosines = _cosines(*comparison.vectors(by_tower[modality])) if by_tower[modality] else np.empty(0)
        except Clamp3Error as error:
            found |= {"inputs": 0, "not_compared": describe(error)}
            cosines = np.empty(0)
        if len(cosines):
            least, mean = float(cosines.min()), float(cosines.mean())
            found |= {"least_cosine": round(least, 7), "mean_cosine": round(mean, 7), "reached": least >= goal}
        report["towers"][modality] = found
    if records is not None:
        report["retrieval"] = {"records": str(records), **_retrieval(comparison, records)}
    return report


def _cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.einsum("nd,nd->n", unit_rows(left), unit_rows(right))


def _retrieval(comparison: Comparison, records: Path) -> dict[str, Any]:
    """Return the mean reciprocal rank of the files of records, asked for by their texts and by their other files."""
    rows = [_sources(row, records.parent, comparison.exported.towers) for row in read_jsonl(records)]
    columns = [name for name in dict.fromkeys(name for row in rows for name in row) if all(name in row for row in rows)]
    if set(columns) - {"text", "file"}:
        columns.remove("file")  # of some kind every record has one
    if len(columns) < 2:
        raise ConfigError(f"{records}: nothing to find; every record needs a text and a file, or two kinds of files.")
    vectors = {name: comparison.vectors([row[name] for row in rows]) for name in columns}
    found = {}
    for query in columns:
        for reference in columns:
            if query != reference and reference != "text":
                mrr = [_mrr(a, b) for a, b in zip(vectors[query], vectors[reference], strict=True)]
                found[f"{query} to {reference}"] = {
                    "queries": len(rows),
                    "mrr": round(mrr[0], 4),
                    "mrr_exported": round(mrr[1], 4),
                    "loss": round(mrr[0] - mrr[1], 4),
                }
    return found


def _sources(row: dict[str, Any], folder: Path, towers: Collection[str]) -> dict[str, Source]:
    """Return what a record has for the towers: its text, its first file of each kind, and as ``file`` the first."""
    found: dict[str, Source] = {}
    text = next((row[field] for field in EVALUATION_FIELDS if row.get(field)), None)
    if text is not None and "text" in towers:
        joined = "\n".join(text) if isinstance(text, list) else str(text)
        found["text"] = Source(Kind.TEXT, joined[:40], data=joined.encode("utf-8", "replace"))
    for name in file_names(row):
        kind = kind_of(Path(name))
        if kind is not None and of_kind(kind).name in towers:
            source = source_of(folder / name)
            found.setdefault("file", source)
            found.setdefault(kind.value, source)
    return found


def _mrr(queries: np.ndarray, references: np.ndarray) -> float:
    return evaluate(cosine_ranks(queries, references, np.arange(len(queries))), len(references))["mrr"]


def table(report: dict[str, Any]) -> str:
    """Return a report as lines for people.

    Examples
    --------
    >>> towers = {"text": {"inputs": 24, "goal": 0.99, "least_cosine": 0.9987, "mean_cosine": 0.9996, "reached": True}}
    >>> print(table({"weights": "mini-4175517f5674", "precision": "int8", "towers": towers}))
    mini-4175517f5674 in int8
    tower     inputs  least cosine  mean cosine  goal
    text          24        0.9987       0.9996  0.99
    """
    lines = [f"{report['weights']} in {report['precision']}"]
    lines.append(f"{'tower':9} {'inputs':>6}  {'least cosine':>12}  {'mean cosine':>11}  goal")
    for name, found in report["towers"].items():
        if "least_cosine" in found:
            missed = "" if found["reached"] else " missed"
            numbers = f"{found['least_cosine']:>12.7g}  {found['mean_cosine']:>11.7g}  {found['goal']}{missed}"
        else:
            numbers = f"not compared: {found.get('not_compared', 'no input of its kind')}"
        lines.append(f"{name:9} {found['inputs']:>6}  {numbers}")
    if "retrieval" in report:
        lines.append(f"{'MRR':14} {'queries':>7} {'weights':>8} {'exported':>9} {'loss':>8}")
        for name, found in report["retrieval"].items():
            if isinstance(found, dict):
                numbers = f"{found['mrr']:>8.4f} {found['mrr_exported']:>9.4f} {found['loss']:>8.4f}"
                lines.append(f"{name:14} {found['queries']:>7} {numbers}")
    return "\n".join(lines)
