"""Texts that belong to files: prompts of generated music, captions; from a table, or from the files' own names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from clamp3.errors import DataError, FormatError, printable
from clamp3.formats.tables import read_json, read_rows
from clamp3.index.vectors import Opener, VectorFolder, encode
from clamp3.jobs.identity import Identity
from clamp3.sources import Source, sentence

NAMES = ("name", "file", "filename", "file_name", "path", "id")
TEXTS = ("prompt", "caption", "text", "description")
SUFFIXES = (".csv", ".tsv", ".jsonl", ".json")


def is_table(path: Path) -> bool:
    """Return whether a path is a table of prompts: a file with one of `SUFFIXES`."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


def read_prompts(path: Path) -> list[tuple[str, str]]:
    """Return (name of a file, text) of every row of a table.

    Parameters
    ----------
    path : Path
        CSV, TSV or JSON Lines with a column of `NAMES` and one of `TEXTS`, or JSON: an array of such rows, or an object
        from names to texts.

    Raises
    ------
    FormatError
        If a column or a text is missing.
    """
    rows: list[dict[str, Any]]
    if path.suffix.lower() == ".json" and isinstance(found := read_json(path), dict):
        rows = [{"name": name, "prompt": text} for name, text in found.items()]
    else:
        rows = read_rows(path)
    prompts = []
    for number, row in enumerate(rows, start=1):
        name, text = (next((row[key] for key in keys if row.get(key)), None) for keys in (NAMES, TEXTS))
        if not isinstance(text, str) or not isinstance(name, str | int) or not text.strip():
            raise FormatError(
                f"{printable(path)}, row {number}: a prompt needs a name ({', '.join(NAMES)}) and a text "
                f"({', '.join(TEXTS)}); the row has {', '.join(map(str, row))}."
            )
        prompts.append((str(name), text))
    return prompts


def prompts_in(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return (name, text) of files whose names are their prompts, without numbers at the end.

    >>> prompts_in(["set/a_slow_waltz-for piano_03.mid", "001.mid"])
    [('set/a_slow_waltz-for piano_03.mid', 'a slow waltz for piano')]
    """
    found = []
    for name in names:
        words = re.sub(r"[\W_]+", " ", PurePosixPath(name).name.rpartition(".")[0]).strip()
        while (parts := words.rpartition(" "))[0] and parts[2].isdecimal():
            words = parts[0]
        if any(letter.isalpha() for letter in words):
            found.append((name, words))
    return found


def as_folder(prompts: list[tuple[str, str]], open_model: Opener) -> VectorFolder:
    """Return the vectors of texts as if each were a file with the name that it belongs to.

    Parameters
    ----------
    prompts : list of (str, str)
    open_model : callable
        Returns the model.

    Raises
    ------
    DataError
        If no text has a vector.
    """
    model = open_model()
    sources: list[tuple[str, Source]] = [(name, sentence(text)) for name, text in sorted(prompts)]
    values, failures = encode([source for _, source in sources], model)
    kept = [(name, values[source]) for name, source in sources if source in values]
    problems = [(name, failures[source]) for name, source in sources if source in failures]
    if not kept:
        raise DataError(f"no prompt has a vector: {problems[0][1] if problems else 'there is none.'}")
    names, vectors = zip(*kept, strict=True)
    weights = {Identity.parse(model.identity).space}
    return VectorFolder(list(names), np.stack(vectors), ["text"] * len(names), problems, [], weights)
