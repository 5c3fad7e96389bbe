"""What a stage did: retrieval between every two kinds of music and text, on records it has not seen, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clamp3.embedding.clamp3 import Clamp3

DIRECTIONS = {
    "text → score": ("text", "abc"),
    "text → MIDI": ("text", "mtf"),
    "text → audio": ("text", "audio"),
    "score → MIDI": ("abc", "mtf"),
    "score → audio": ("abc", "audio"),
}


def views_of_records(jsonl: Path) -> list[dict[str, Any]]:
    """Return what can be encoded of each record, by view: the first file of each kind, and the evaluation text.

    Raises
    ------
    DataError
        If the file cannot be read or no line of it is an object.
    """
    from clamp3.data.jsonl import read_objects
    from clamp3.data.text_sampling import evaluation_lines
    from clamp3.data.views import view_of
    from clamp3.errors import DataError
    from clamp3.formats import Kind

    found = []
    for _, _, record in read_objects(jsonl):
        if record is None:
            continue
        views: dict[str, Any] = {}
        names = record.get("filepaths")
        for name in names if isinstance(names, list) else []:
            if view := view_of(str(name)):
                views.setdefault(view, jsonl.parent / str(name))
        if lines := evaluation_lines(record):
            views["text"] = ("\n".join(lines).encode("utf-8", "replace"), Kind.TEXT)
        found.append(views)
    if not found:
        raise DataError(f"{jsonl} has no record.")
    return found


def measure(model: Clamp3, jsonl: Path) -> dict[str, dict[str, float]]:
    """Return all retrieval metrics per direction, over the records that have both views.

    Directions of towers that the model has not, and those with fewer than two records, are absent. Ties count
    against the query.
    """
    import numpy as np

    from clamp3.data.views import views
    from clamp3.retrieval.cosine import cosine_ranks
    from clamp3.retrieval.metrics import evaluate

    records = views_of_records(jsonl)
    vectors: dict[str, Mapping[int, Any]] = {}
    for view in dict.fromkeys(view for pair in DIRECTIONS.values() for view in pair):
        rows = [index for index, record in enumerate(records) if view in record]
        if views()[view].tower in model.config.towers and rows:
            encoded = model.encode([records[index][view] for index in rows])
            vectors[view] = {row: encoded.vectors[at] for at, row in enumerate(rows) if encoded.ok[at]}
    found = {}
    for name, (query, reference) in DIRECTIONS.items():
        both = sorted(vectors.get(query, {}).keys() & vectors.get(reference, {}).keys())
        if len(both) < 2:
            continue
        queries, references = (np.stack([vectors[view][row] for row in both]) for view in (query, reference))
        ranks = cosine_ranks(queries, references, np.arange(len(both)))
        found[name] = {key: round(value, 4) for key, value in evaluate(ranks, len(both)).items()}
    return found


def as_markdown(order: str, test: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the report: a row per stage with its MRR in each direction, and chance below."""
    names = [name for name in DIRECTIONS if any(name in row["retrieval"] for row in rows)]
    lines = [
        f"# Stages of {order}",
        "",
        f"MRR on the records of {test.name}; a dash where the model has not the tower yet.",
        "",
        f"| stage | trains | steps | minutes | loss | {' | '.join(names)} |",
        f"|---|---|---|---|---|{'---|' * len(names)}",
    ]
    for row in rows:
        loss = "–" if row["best_loss"] is None else f"{row['best_loss']:.4f}"
        cells = [f"{row['retrieval'][name]['mrr']:.4f}" if name in row["retrieval"] else "–" for name in names]
        head = [row["stage"], ", ".join(row["trains"]), str(row["step"]), f"{row['minutes']:.1f}", loss]
        lines.append(f"| {' | '.join(head + cells)} |")
    last = {name: row["retrieval"][name] for row in rows for name in names if name in row["retrieval"]}
    chance = [f"{last[name]['chance_mrr']:.4f} (n = {last[name]['references']:.0f})" for name in names]
    lines.append(f"| chance | | | | | {' | '.join(chance)} |")
    pairs = [f"- {row['stage']}: {', '.join(row['pairs'])}." for row in rows if row["pairs"]]
    if pairs:
        lines += ["", "Both from the last stage with the same flags; pairs of music show two kinds a step:", "", *pairs]
    return "\n".join(lines) + "\n"
