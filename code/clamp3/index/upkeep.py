"""Look after an index: what is wrong with it, and its rows for other programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from clamp3.errors import DataError, printable
from clamp3.formats.tables import json_text
from clamp3.index.library import Library
from clamp3.index.store import FACTS, VECTOR, Row
from clamp3.jobs.atomic import replacing, write_text
from clamp3.sources import source_of

_STATE = ("content", "size", "mtime_ns", "made_by")


@dataclass(frozen=True)
class Check:
    """What `verify` found: how many pieces were looked at, and what is wrong with which."""

    n_pieces: int
    problems: list[tuple[str, str]] = field(default_factory=list)


def export(library: Library, folder: Path, where: str | None = None) -> int:
    """Write ``vectors.npy`` (N, D) and ``pieces.jsonl``, one line per row, and what they come from.

    Parameters
    ----------
    library : Library
    folder : Path
        Made if absent.
    where : str, optional
        A filter.

    Returns
    -------
    int
        How many pieces.
    """
    rows = sorted(
        library.pieces.rows(["id", *FACTS, "content", VECTOR], library.condition(where)), key=lambda r: r["name"]
    )
    if not rows:
        raise DataError("the index has no such piece; nothing was written.")
    with replacing(folder / "vectors.npy") as part, part.open("wb") as file:
        np.save(file, np.stack([row[VECTOR] for row in rows]))
    lines = [json_text({**_known(row), "path": printable(library.path_of(row["id"]))}) for row in rows]
    write_text(folder / "pieces.jsonl", "\n".join(lines) + "\n")
    write_text(folder / "export.json", json_text({"weights": library.meta.weights, "n": len(rows)}, indent=2) + "\n")
    return len(rows)


def verify(library: Library, *, contents: bool = False) -> Check:
    """Look for what is damaged, out of date or absent; nothing is changed.

    Parameters
    ----------
    library : Library
    contents : bool
        Also hash every file again.
    """
    problems: list[tuple[str, str]] = []
    rows = library.pieces.rows(["id", "name", *_STATE, VECTOR])
    for piece, n in Counter(row["id"] for row in rows).items():
        if n > 1:
            problems.append((piece, f"is there {n} times"))
    for row in rows:
        problems += [(row["name"], reason) for reason in _wrong_with(library, row, contents)]
    ids = {row["id"] for row in rows}
    orphans = {row["piece"] for row in library.passages.rows(["piece"])} - ids
    problems += [(piece, "has passages but is no piece; `update` mends that") for piece in sorted(orphans)]
    return Check(len(rows), sorted(problems))


def _wrong_with(library: Library, row: Row, contents: bool) -> Iterator[str]:
    if not np.isfinite(row[VECTOR]).all() or not row[VECTOR].any():
        yield "has a vector of zeros, or that is not finite; `update --retry` encodes it again"
    try:
        stat = library.file_of(row["id"]).stat()
    except DataError:
        yield "is of a folder that the index does not list; `add` that folder again, or `update`"
        return
    except OSError:
        yield "is no longer there; `update` forgets it"
        return
    if (stat.st_size, stat.st_mtime_ns) != (row["size"], row["mtime_ns"]):
        yield "has changed since; `update` encodes it again"
    elif contents and source_of(library.path_of(row["id"])).open()[1] != row["content"]:
        yield "has another content, though size and time are the same; touch it, then `update`"


def _known(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != VECTOR and value not in ("", None)}
