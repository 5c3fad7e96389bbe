"""Captions of a table in other words, as MusicCaps was rewritten for CLaMP 3's evaluation (arXiv 2502.10362, table 12).

Models whose training had MusicCaps know its captions by their words. How the paper's were rewritten is not known; the
rules here are our own, and each rewritten caption is checked against its original.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from clamp3.errors import ConfigError, DataError, printable
from clamp3.formats.tables import read_rows
from clamp3.jobs.atomic import write_text
from clamp3.metadata.benchmark_texts import Rewrite, similarity_of
from clamp3.metadata.items import answers_to, write_items
from clamp3.metadata.job import cost_of, do_all, endpoint_of, need_packages, preview, show
from clamp3.metadata.languages import ENGLISH
from clamp3.metadata.review import as_page, csv_text
from clamp3.retrieval.prompts import NAMES, TEXTS

_IDS = ("ytid", *NAMES)


def rewrite_captions(args: argparse.Namespace) -> int:
    """Do what the flags of ``rewrite_captions.py`` specify; return the exit code.

    Raises
    ------
    ConfigError
        If a package or the endpoint is missing, or the output's name does not end in ``.csv``.
    DataError
        If the table has no caption.
    """
    need_packages("openai", "pydantic", "py3langid", "pycountry", "sacrebleu")
    if args.output.suffix.lower() != ".csv":
        raise ConfigError(f"{printable(args.output)}: give the output a name that ends in .csv.")
    captions, columns = read_captions(args.source, args.only)
    captions = captions[: args.limit]
    if args.dry_run:
        with TemporaryDirectory() as folder:
            return preview(Rewrite(), write_items(Path(folder) / "captions.jsonl", captions))
    items = write_items(args.output.with_suffix(".captions.jsonl"), captions)
    lines = args.output.with_suffix(".jsonl")
    report = do_all(Rewrite(), items, lines, endpoint_of(args))
    report.cost = cost_of(report.usage, args)
    rows = answers_to(items, lines)
    id, text = columns
    write_text(args.output, csv_text(columns, ({id: row["id"], text: row["caption"]} for row in rows)))
    if rows:
        _review(args.output, rows)
    report.output = str(args.output)
    return show(report, as_json=args.json)


def read_captions(table: Path, only: str = "") -> tuple[list[dict[str, str]], tuple[str, str]]:
    """Return (id, caption) of the rows of a table, and the names of these columns in it.

    Parameters
    ----------
    table : Path
        CSV, TSV or JSON Lines: an id in ``ytid`` or a column of `clamp3.retrieval.prompts.NAMES`, a text in one of
        `clamp3.retrieval.prompts.TEXTS`.
    only : str
        ``column=value``: rows that have it, without case.

    Raises
    ------
    DataError
        If a column is missing, an id occurs twice, or no row is left.
    """
    rows = read_rows(table)
    columns = tuple(next((name for name in names if name in rows[0]), "") for names in (_IDS, TEXTS))
    column, _, value = only.partition("=")
    if not all(columns) or (only and column not in rows[0]):
        has = ", ".join(map(str, rows[0]))
        raise DataError(f"{printable(table)} needs ids ({', '.join(_IDS)}), texts ({', '.join(TEXTS)}); it has {has}.")
    kept: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        id, text = (str(row.get(name) or "").strip() for name in columns)
        if only and str(row.get(column, "")).strip().casefold() != value.strip().casefold():
            continue
        if not id or not text or id in kept:
            raise DataError(f"{printable(table)}, row {number}: {'the id is there twice' if text else 'no caption'}.")
        kept[id] = text
    if not kept:
        raise DataError(f"{printable(table)} has no row with {only}.")
    return [{"id": id, "caption": text} for id, text in kept.items()], (columns[0], columns[1])


def _review(output: Path, rows: list[dict[str, Any]]) -> None:
    """Write the page for review, captions that kept most of their original first."""
    found = similarity_of([row["original"] for row in rows], [row["caption"] for row in rows])
    order = sorted(range(len(rows)), key=lambda at: (-found["each"][at], rows[at]["id"]))
    sections = (
        (
            f"{rows[at]['id']} (BLEU {found['each'][at]:.0f})",
            "",
            [("original", ENGLISH, rows[at]["original"]), ("rewritten", ENGLISH, rows[at]["caption"])],
        )
        for at in order
    )
    title = f"{len(rows)} rewritten captions, BLEU against the originals {found['bleu']:.1f}"
    write_text(output.with_suffix(".html"), as_page(title, sections))
