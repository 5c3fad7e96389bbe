"""Tables for people who read what a model wrote before it is published: CSV to correct, HTML to read."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clamp3.data.records import LONG_TEXTS
from clamp3.errors import DataError, printable
from clamp3.formats.tables import read_csv
from clamp3.jobs.atomic import write_text

Texts = dict[str, dict[str, str]]
"""By id, then by name of the text."""

_NO = frozenset({"no", "n", "0", "false"})
_STYLE = (
    "body{font:15px/1.45 sans-serif;margin:2em;max-width:70em}td,th{padding:.3em .7em;text-align:left;"
    "vertical-align:top;border-bottom:1px solid #ddd}th{white-space:nowrap}pre{white-space:pre-wrap;background:#f5f5f5;"
    "padding:.7em}small{color:#666}"
)


def csv_text(head: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a table as CSV.

    Parameters
    ----------
    head : sequence of str
        Names of the columns.
    rows : iterable of mapping
        Missing values are empty.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(head), restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def write_review(path: Path, songs: Sequence[Mapping[str, Any]], texts: Texts) -> None:
    """Write the table of texts to correct: id, title, genre, keep (yes or no), and the four texts.

    Parameters
    ----------
    path : Path
    songs : sequence of mapping
        From `clamp3.metadata.leadsheets.collect`.
    texts : dict
        Songs without texts are left out.
    """
    rows = [
        {"title": song.get("title", ""), "genre": song.get("genre", ""), "keep": "yes", **texts[song["id"]]}
        | {"id": song["id"]}
        for song in songs
        if song["id"] in texts
    ]
    write_text(path, csv_text(("id", "title", "genre", "keep", *LONG_TEXTS), rows))


def read_review(path: Path, texts: Texts) -> Texts:
    """Return the texts as a person corrected them in a copy of the table, without the songs marked ``no``.

    Parameters
    ----------
    path : Path
        A table that `write_review` wrote, edited; rows may be missing, which leaves their songs as they were.
    texts : dict
        As the model wrote them.

    Raises
    ------
    DataError
        If a row is of no song, or lacks a text.
    """
    found = dict(texts)
    for number, row in enumerate(read_csv(path, "id", "keep", *LONG_TEXTS), start=2):
        place = f"{printable(path)}, row {number}"
        if row["id"] not in texts:
            raise DataError(f"{place}: there are no texts of a song {printable(row['id'])}.")
        if row["keep"].strip().lower() in _NO:
            found.pop(row["id"], None)
            continue
        if empty := [name for name in LONG_TEXTS if not (row[name] or "").strip()]:
            raise DataError(f"{place} lacks {', '.join(empty)}; write no under keep to leave the song out.")
        found[row["id"]] = {name: row[name].strip() for name in LONG_TEXTS}
    return found


def as_page(title: str, sections: Iterable[tuple[str, str, Sequence[tuple[str, str, str]]]]) -> str:
    """Return a page without scripts: per section a heading, what was given, and rows of texts.

    Parameters
    ----------
    title : str
    sections : iterable of (str, str, sequence of (str, str, str))
        Heading, what the model was given, and rows of name, language code and text.
    """
    parts = [f"<h1>{html.escape(title)}</h1>"]
    for heading, given, rows in sections:
        parts.append(f"<h2>{html.escape(heading)}</h2>")
        if given:
            parts.append(
                f"<details><summary>what the model was given</summary><pre>{html.escape(given)}</pre></details>"
            )
        lines = (
            f'<tr><th>{html.escape(name)}</th><td dir="auto" lang="{html.escape(code)}">{html.escape(text)}</td></tr>'
            for name, code, text in rows
        )
        parts.append(f"<table>{''.join(lines)}</table>")
    head = f'<!doctype html><meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>\n'
    return head + "\n".join(parts) + "\n"
