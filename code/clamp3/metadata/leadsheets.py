"""Scores of a folder and a table of what is known of them, as the songs of a benchmark."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

from clamp3.data.records import LONG_TEXTS
from clamp3.datasets.wikimtx import id_of
from clamp3.errors import DataError, distinct_name, printable
from clamp3.formats import Kind, suffix_of
from clamp3.formats.music_facts import facts_of
from clamp3.formats.symbolic import to_symbolic
from clamp3.formats.tables import read_jsonl, read_rows
from clamp3.jobs.parallel import process_map
from clamp3.jobs.walk import walk
from clamp3.retrieval.prompts import NAMES
from clamp3.sources import Source, digest

SCORES = frozenset((Kind.ABC, Kind.MUSICXML, Kind.SCORE))
_OF_SCORE = ("key", "metre", "tempo")
_GENRE = ("genre", "genres", "label")

Song = dict[str, Any]
LeftOut = list[tuple[str, str]]


def collect(folder: Path, table: Path | None = None) -> tuple[list[Song], LeftOut]:
    """Return the songs of a folder, and what was left out with the reason.

    Parameters
    ----------
    folder : Path
        Of scores (ABC, MusicXML, kern, MEI …), searched recursively.
    table : Path, optional
        CSV, TSV or JSON Lines, a row per score: a column of `clamp3.retrieval.prompts.NAMES` names it, with or without
        its folder and suffix; all others are metadata. Without a table the scores' own headers are all that is known.

    Returns
    -------
    list of dict
        ``id`` (the table's, else from the file's name), ``file``, the metadata, ``score`` (key, metre, tempo, bars and
        voices), and ``leadsheet``, interleaved ABC without title and words.
    list of (str, str)
        Files without a score or a row, rows without a file, copies of a song.

    Raises
    ------
    DataError
        If nothing is left, or two rows of the table have one name.
    """
    walked = walk(folder)
    left_out = [(distinct_name(problem.relative), problem.reason) for problem in walked.problems]
    rows = _by_name(table) if table is not None else {}
    used, wanted = set(), list[tuple[Source, dict[str, Any]]]()
    for found in walked.files:
        name = distinct_name(found.relative)
        row = next((key for key in _keys(found.relative) if key in rows), None)
        if found.kind not in SCORES:
            left_out.append((name, f"a {found.kind.value} file, not a score"))
        elif table is not None and row is None:
            left_out.append((name, f"no row in {table.name}"))
        else:
            used.add(row)
            known = rows[row] if row is not None else {}
            wanted.append((Source(found.kind, name, path=found.path, piece=found.piece), known))
    left_out += [(key, "no such score") for key in rows if key not in used]
    songs = []
    for outcome in process_map(_read, [source for source, _ in wanted], desc="reading scores"):
        source, known = wanted[outcome.index]
        if outcome.value is None:
            left_out.append((source.name, outcome.error or "cannot be read"))
        else:
            songs.append(_song(source.name, known, outcome.value))
    songs, copies = _distinct(sorted(songs, key=lambda song: str(song["file"])))
    if not songs:
        first = f" ({': '.join(left_out[0])})" if left_out else ""
        raise DataError(f"{printable(folder)} has no score to make a benchmark of{first}.")
    return songs, sorted(left_out + copies)


def read_written(path: Path) -> tuple[list[Song], dict[str, dict[str, str]]]:
    """Return songs whose texts are there, such as those of WikiMT-X, and the texts by id.

    Parameters
    ----------
    path : Path
        JSON Lines as of WikiMT-X: id, leadsheet, and the four texts.

    Raises
    ------
    FormatError
        If a row lacks a field.
    DataError
        If two rows have one id.
    """
    songs, texts = list[Song](), dict[str, dict[str, str]]()
    for number, row in enumerate(read_jsonl(path, *LONG_TEXTS, "leadsheet"), start=1):
        id = id_of(row, f"{printable(path)}:{number}")
        if id in texts:
            raise DataError(f"{printable(path)}:{number} has the id {id} for the second time.")
        texts[id] = {name: str(row[name]) for name in LONG_TEXTS}
        songs.append({**{name: row[name] for name in row if name not in LONG_TEXTS}, "id": id, "file": id})
    return songs, texts


def _by_name(table: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(read_rows(table), start=1):
        column = next((name for name in NAMES if row.get(name)), None)
        if column is None:
            raise DataError(f"{printable(table)}, row {number} names no score; a column is needed: {', '.join(NAMES)}.")
        if str(row[column]) in found:
            raise DataError(f"{printable(table)}, row {number}: {printable(row[column])} has a row already.")
        kept = {key: value for key, value in row.items() if isinstance(key, str) and value not in (None, "", [])}
        if column != "id":
            del kept[column]
        found[str(row[column])] = kept
    return found


def _keys(path: PurePosixPath) -> tuple[str, ...]:
    return (path.as_posix(), path.with_suffix("").as_posix(), path.name, path.stem)


def _read(source: Source) -> dict[str, Any]:
    data = source.read()
    abc = to_symbolic(data, source.kind, name=source.name).text
    facts = {name: value for name, value in asdict(facts_of(data, source.kind)).items() if value}
    bars = sum("|" in line for line in abc.splitlines() if not re.match(r"[A-Za-z%]:?[^\[|]*:", line))
    voices = len(set(re.findall(r"\[V:(\d+)\]", abc))) or 1
    return {"facts": facts, "bars": bars, "voices": voices, "leadsheet": abc}


def _song(name: str, known: Mapping[str, Any], read: Mapping[str, Any]) -> Song:
    facts = dict(read["facts"])
    score = {key: facts.pop(key) for key in _OF_SCORE if key in facts} | {key: read[key] for key in ("bars", "voices")}
    given = str(known.get("id", ""))
    plain = re.sub(r"[^\w-]+", "_", name.removesuffix(suffix_of(name)))
    id = given if re.fullmatch(r"[\w-]+", given) else plain
    return {"id": id, "file": name, **facts, **known, "score": score, "leadsheet": read["leadsheet"]} | {"id": id}


def _distinct(songs: list[Song]) -> tuple[list[Song], LeftOut]:
    """Return the first of songs with one id or the same music, and the others."""
    seen: dict[str, str] = {}
    kept, copies = list[Song](), LeftOut()
    for song in songs:
        music = digest(str(song["leadsheet"]).encode())
        of = next((seen[key] for key in (music, f"id {song['id']}") if key in seen), None)
        if of is not None:
            copies.append((song["file"], f"the same {'music' if music in seen else 'id'} as {of}"))
            continue
        seen[music] = seen[f"id {song['id']}"] = str(song["file"])
        kept.append(song)
    return kept, copies


def genre_of(song: Mapping[str, Any]) -> str:
    """Return the genre that the metadata give, the first of several, "" if none."""
    found = next((song[name] for name in _GENRE if song.get(name)), "")
    return str(found[0] if isinstance(found, list) else found)


def names_of(song: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return title and people of a song, as its metadata have them."""
    people = [song[name] for name in ("artists", "artist", "composer", "lyricist") if song.get(name)]
    flat = [name for value in people for name in (value if isinstance(value, list) else [value])]
    return str(song.get("title", "")), list(dict.fromkeys(str(name) for name in flat))
