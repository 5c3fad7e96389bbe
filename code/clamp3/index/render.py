"""Search results as text: a table for people, tab-separated lines for pipes, JSON for programs."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import asdict

from clamp3.errors import EXIT_OK, EXIT_SOME_FAILED, printable
from clamp3.formats.tables import json_text
from clamp3.index.answer import Answer
from clamp3.index.ranking import Hit


def show(answer: Answer, *, form: str | None, strict: bool = False, **facts: object) -> int:
    """Print hits on stdout, what was left out and notes on stderr; return the exit code.

    Parameters
    ----------
    answer : Answer
    form : {"table", "tsv", "json", "m3u8"} or None
        None is a table on a terminal, tab-separated lines in a pipe.
    strict : bool
        Whether what was left out makes the exit code 1.
    **facts : object
        What else the JSON object says; see `as_json`.
    """
    form = form or ("table" if sys.stdout.isatty() else "tsv")
    if form == "json":
        left_out = [{"name": name, "reason": reason} for name, reason in answer.failures]
        print(as_json(answer.hits, **facts, failures=left_out))
    elif form == "m3u8":
        print(as_m3u8(answer.hits))
    elif answer.hits:
        print(as_table(answer.hits) if form == "table" else as_lines(answer.hits))
    sys.stdout.flush()
    for said in (*(f"warning: left out: {name}: {reason}" for name, reason in answer.failures), *answer.notes):
        print(said, file=sys.stderr)
    return EXIT_SOME_FAILED if answer.failures and strict else EXIT_OK


def as_json(hits: Sequence[Hit], **facts: object) -> str:
    """Return one JSON object: the facts, then the ``results``.

    Parameters
    ----------
    hits : sequence of Hit
    **facts : object
        Query, model, failures …
    """
    rows = [{**asdict(hit), "facts": {}, **hit.facts} for hit in hits]
    known = [{key: value for key, value in row.items() if value not in ("", None, (), {})} for row in rows]
    return json_text({**facts, "results": known}, indent=2)


def as_m3u8(hits: Sequence[Hit], place: Callable[[Hit], str] = lambda hit: hit.path) -> str:
    """Return a playlist as players read it (extended M3U, UTF-8).

    Parameters
    ----------
    hits : sequence of Hit
    place : callable, optional
        Where the music of a hit is: a path or an address.

    Examples
    --------
    >>> print(as_m3u8([Hit(1, "a.mp3", 0.5, "Air", "cd/a.mp3", facts={"artist": "Ann", "duration": 61.4})]))
    #EXTM3U
    #EXTINF:61,Ann - Air
    cd/a.mp3
    """
    lines = ["#EXTM3U"]
    for hit in hits:
        artist = hit.facts.get("artist") or hit.facts.get("composer")
        called = " - ".join(str(each) for each in (artist, hit.title or hit.name) if each)
        lines += [f"#EXTINF:{round(hit.facts.get('duration') or -1)},{printable(called)}", place(hit)]
    return "\n".join(lines)


def as_lines(hits: Sequence[Hit]) -> str:
    """Return ``name TAB score`` lines, then ``TAB place`` of passages, then ``TAB title`` where any hit has one.

    Copies of a hit are not named; names and titles hold no tabs.
    """
    titled, placed = any(hit.title for hit in hits), any(hit.passage for hit in hits)
    lines = []
    for hit in hits:
        cells = [hit.name, f"{hit.score:.4f}", *([str(hit.passage)] if placed else []), *([hit.title] * titled)]
        lines.append("\t".join(cells))
    return "\n".join(lines)


def as_table(hits: Sequence[Hit], *, width: int = 100) -> str:
    """Return aligned columns: rank, score, title, name, number of copies, passage.

    Parameters
    ----------
    hits : sequence of Hit
    width : int
        Columns of the terminal.
    """
    titled = any(hit.title for hit in hits)
    room = max(20, width - 16)
    title_room = min(max((columns(hit.title) for hit in hits), default=0), room // 2) if titled else 0
    lines = []
    for hit in hits:
        shown = shorten(hit.title, title_room)
        title = shown + " " * (title_room - columns(shown) + 2) if titled else ""
        place = f"  {hit.passage}" if hit.passage else ""
        copies = f"  (+{len(hit.also)} the same)" if hit.also else ""
        lines.append(f"{hit.rank:>4}  {hit.score:7.4f}  {title}{hit.name}{copies}{place}")
    return "\n".join(lines)


def columns(text: str) -> int:
    """Return how many terminal columns a text takes: Chinese, Japanese and Korean characters take two."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def shorten(text: str, room: int) -> str:
    """Return a text, cut with an ellipsis where it is too wide.

    Parameters
    ----------
    text : str
    room : int
        Columns it may take.
    """
    if columns(text) <= room:
        return text
    while text and columns(text) > room - 1:
        text = text[:-1]
    return text + "…"
