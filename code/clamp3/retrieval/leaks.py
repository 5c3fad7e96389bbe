"""Whether pieces of a benchmark are among those that a model was trained on: by id, by title and artist, by vectors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from clamp3.datasets.source import plain
from clamp3.formats.tables import each_jsonl
from clamp3.index.vectors import VectorFolder
from clamp3.retrieval.generation import nearest

_IDS = ("id", "youtube_id", "ytid", "youtube")
_ID = re.compile(r"[\w-]{6,}")  # shorter ones, such as row numbers, say nothing
_SHORTEST_TITLE = 4


def keys_of(record: Mapping[str, Any]) -> dict[str, set[str]]:
    """Return what identifies a record: ``id`` (also names of its files) and ``title`` (with the first artist).

    >>> sorted(keys_of({"id": "dQw4w9WgXcQ", "title": "Señorita", "artists": ["A. B."]})["title"])
    ['senorita/ab']
    """
    ids = {str(record[name]) for name in _IDS if isinstance(record.get(name), str | int)}
    for path in record.get("filepaths") or ():
        ids.add(PurePosixPath(str(path)).name.split(".")[0])
    title, artists = record.get("title"), record.get("artists") or record.get("artist") or record.get("composer") or ""
    artist = artists[0] if isinstance(artists, list) and artists else artists
    words = plain(title) if isinstance(title, str) else ""
    titles = {f"{words}/{plain(str(artist))}"} if len(words) >= _SHORTEST_TITLE and artist else set()
    return {"id": {name for name in ids if _ID.fullmatch(name)}, "title": titles}


def shared_records(benchmark: Path | Iterable[Mapping[str, Any]], training: Iterable[Path]) -> list[dict[str, Any]]:
    """Return the records of a benchmark that share an id, or title and artist, with a training record.

    Parameters
    ----------
    benchmark : Path or iterable of mapping
        JSON Lines, or its records.
    training : iterable of Path
        JSON Lines; read line by line.

    Returns
    -------
    list of dict
        ``row`` in the benchmark, ``by`` (id or title), ``key``, and the ``training`` file and row, the first of each.
    """
    wanted: dict[tuple[str, str], list[int]] = {}
    records = each_jsonl(benchmark) if isinstance(benchmark, Path) else benchmark
    for row, record in enumerate(records, start=1):
        for kind, keys in keys_of(record).items():
            for key in keys:
                wanted.setdefault((kind, key), []).append(row)
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for path in training:
        for number, record in enumerate(each_jsonl(path), start=1):
            for kind, keys in keys_of(record).items():
                for key in keys:
                    for row in wanted.get((kind, key), ()):
                        place = {"row": row, "by": kind, "key": key, "training": f"{path.name}:{number}"}
                        found.setdefault((row, kind), place)
    return [found[key] for key in sorted(found)]


def shared_vectors(benchmark: VectorFolder, training: VectorFolder, limit: float) -> list[dict[str, Any]]:
    """Return the pieces of a benchmark whose nearest training piece has at least a cosine, the nearest first.

    Parameters
    ----------
    benchmark, training : VectorFolder
        Of one model.
    limit : float
    """
    rows, cosines = nearest(benchmark.vectors, training.vectors)
    pairs = [
        {"name": name, "training": training.names[row], "similarity": round(float(cosine), 4)}
        for name, row, cosine in zip(benchmark.names, rows, cosines, strict=True)
        if cosine >= limit
    ]
    return sorted(pairs, key=lambda pair: (-pair["similarity"], pair["name"]))
