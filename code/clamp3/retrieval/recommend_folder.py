"""What `retrieval/recommend.py` does: from a folder or an index, and a request or log, to items or measures."""

from __future__ import annotations

import argparse
import os
from typing import Any

import numpy as np

from clamp3.data.listening import COLUMNS, Log, database
from clamp3.errors import ConfigError, DataError, printable
from clamp3.index.folder import find_index
from clamp3.index.library import Library
from clamp3.index.place import Uri, Where
from clamp3.index.selection import folder_names
from clamp3.index.store import VECTOR
from clamp3.index.vectors import Opener, VectorFolder, load_folder
from clamp3.retrieval.interactions import Interactions, read_interactions
from clamp3.retrieval.recommendation import compare, make_trial, measure, recommend, recommenders


def recommend_from(args: argparse.Namespace, open_model: Opener) -> dict[str, Any]:
    """Return what suits a user.

    Parameters
    ----------
    args : Namespace
        Of the script.
    open_model : callable
        Returns the model, for raw files.

    Raises
    ------
    ConfigError, DataError
        If folder, log, user or an item is not there.
    """
    folder = load_items(args.folder, open_model)
    rows = {name: row for row, name in enumerate(ids_of(folder))}
    given = {part: [_row(rows, name) for name in getattr(args, part)] for part in ("liked", "disliked")}
    if args.log:
        log = _interactions(args, list(rows))
        if args.user not in log.users:
            raise DataError(f"The log has no choice of a user called {printable(args.user)}.")
        given["liked"] += log.items[log.users.index(args.user)].tolist()
    if not given["liked"]:
        raise DataError(f"Nothing that {printable(args.user)} chose is in the folder.")
    found = recommend(
        folder.vectors, list(rows), given["liked"], given["disliked"], top_k=args.top_k, aversion=args.aversion
    )
    return {
        "n_liked": len(given["liked"]),
        "items": [{"name": name, "score": score} for name, score in found],
        "problems": dict(folder.problems),
    }


def evaluate_folders(args: argparse.Namespace, open_model: Opener) -> dict[str, Any]:
    """Return the measures of a folder's vectors, of others, and of baselines, and how they differ from the first.

    Parameters
    ----------
    args : Namespace
        Of the script.
    open_model : callable
        Returns the model, for raw files.

    Raises
    ------
    ConfigError, DataError
        If a folder or the log cannot be read, items are not the same, or no user can be measured.
    """
    folders = {str(path): load_items(path, open_model) for path in (args.folder, *args.against)}
    names, vectors = ids_of(folders[str(args.folder)]), {}
    for path, folder in folders.items():
        rows = {name: row for row, name in enumerate(ids_of(folder))}
        if lacking := next((name for name in names if name not in rows), None):
            raise DataError(f"{printable(path)} has no vector of {printable(lacking)}, which {args.folder} has.")
        vectors[path] = folder.vectors[[rows[name] for name in names]]
    log = _interactions(args, names)
    trial = make_trial(log, candidates=args.candidates)
    found = {name: measure(scores, trial, k=args.k) for name, scores in recommenders(log, vectors).items()}
    first = found[str(args.folder)]
    return {
        "users": len(trial.users),
        "training_users": trial.n_training,
        "candidates": int(trial.candidates.sum()),
        "cold_items": int((trial.n_users == 0).sum()),
        "items_of_the_log_without_a_vector": log.n_unknown,
        "k": args.k,
        "measures": {name: measured.values for name, measured in found.items()},
        "differences": {
            name: {metric: compare(first.per_user[metric], other.per_user[metric]) for metric in first.per_user}
            for name, other in found.items()
            if other is not first
        },
    }


def as_text(found: dict[str, Any]) -> str:
    """Return what `recommend_from` or `evaluate_folders` found as lines for people."""
    if "items" in found:
        return "\n".join(f"{item['score']:8.4f}  {printable(item['name'])}" for item in found["items"])
    lines = [
        f"{found['users']} held-out users, {found['training_users']} training users, {found['candidates']} candidates "
        f"({found['cold_items']} items without a training user); k = {found['k']}"
    ]
    metrics = list(next(iter(found["measures"].values())))
    width = max(map(len, found["measures"]))
    lines.append(" " * width + "".join(f"{metric:>10}" for metric in metrics))
    for name, values in found["measures"].items():
        lines.append(f"{name:{width}}" + "".join(f"{values[metric]:10.4f}" for metric in metrics))
    for name, differences in found["differences"].items():
        for metric, difference in differences.items():
            low, high = difference["interval_95"]
            lines.append(
                f"{metric} less that of {name}: {difference['difference']:+.4f} "
                f"(95 %: {low:+.4f} to {high:+.4f}, p = {difference['p']:.4f})"
            )
    return "\n".join(lines)


def load_items(path: Where, open_model: Opener) -> VectorFolder:
    """Return the vectors of a folder, or those that an index has.

    Texts in an index are left out unless there is nothing else. With several folders in it, names begin with theirs.

    Parameters
    ----------
    path : Path or Uri
    open_model : callable
        Returns the model, for raw files in a folder.

    Raises
    ------
    ConfigError, DataError
        If there is nothing, or an index is empty or damaged.
    """
    if not isinstance(path, Uri) and find_index(path) != path:
        return load_folder(path, open_model)
    with Library.open(path) as library:
        rows = library.pieces.rows(["id", "name", "modality", VECTOR])
        rows = [row for row in rows if row["modality"] != "text"] or rows
        if not rows:
            raise DataError(f"the index at {printable(path)} is empty; clamp3 index add fills it.")
        roots = library.folder.roots()
        fronts = dict(zip(map(str, roots), folder_names([*roots.values()]), strict=True)) if len(roots) > 1 else {}
        by_name = [(os.path.join(fronts.get(row["id"].partition("/")[0], ""), row["name"]), row) for row in rows]
        by_name.sort(key=lambda named: named[0])
        names, rows = [name for name, _ in by_name], [row for _, row in by_name]
        problems = sorted((row["name"], row["reason"]) for row in library.failures.rows(["name", "reason"]))
        vectors, kinds = np.stack([row[VECTOR] for row in rows]), [row["modality"] for row in rows]
        return VectorFolder(names, vectors, kinds, problems, [], {library.meta.weights})


def ids_of(folder: VectorFolder) -> list[str]:
    """Return the names of a folder's items, of files without their suffix.

    Raises
    ------
    DataError
        If two are alike.
    """
    names = [os.path.splitext(name)[0] for name in folder.names]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"Two files are called {printable(twice)} but for their suffix.")
    return names


def _row(rows: dict[str, int], name: str) -> int:
    stem = os.path.splitext(name)[0]
    if name not in rows and stem not in rows:
        raise ConfigError(f"The folder has no item called {printable(name)}.")
    return rows.get(name, rows.get(stem, -1))


def _interactions(args: argparse.Namespace, names: list[str]) -> Interactions:
    columns = {name: given for name in COLUMNS if (given := getattr(args, f"{name}_column")) is not None}
    with database() as connection:
        log = Log(args.log, columns, args.min_value, args.positive)
        return read_interactions(connection, log, names, args.eval_share)
