"""WikiMT-X: 1,000 songs with four texts, a lead sheet in ABC, a recording and a genre (CC BY-NC 4.0); others like it.

Distributed are texts, lead sheets and YouTube ids. The recordings are the user's to find; the MIDI files of the
published tables were rendered from the lead sheets, and `render_midi` does so with music21. The translations of the
multilingual table are not distributed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clamp3.datasets.source import Dataset, Input, files_by_key, stem, youtube_key
from clamp3.errors import FormatError, printable
from clamp3.formats import Kind
from clamp3.formats.tables import read_jsonl
from clamp3.sources import Source, sentence

FIELDS = ("background", "analysis", "description", "scene")
LANGUAGES = ("ru", "fr", "es", "ar", "zh", "fi", "el", "ta", "kk", "am")  # the first five were trained on
_FILE = "wikimt-x-public.jsonl"
_IDS = ("id", "youtube_id", "ytid", "youtube")

WIKIMTX = Dataset(
    "wikimtx",
    "WikiMT-X",
    "https://huggingface.co/datasets/sander-wood/wikimt-x",
    "CC BY-NC 4.0",
    (
        Input(_FILE, "1,000 rows: id, genre, background, analysis, description, scene, leadsheet"),
        Input("audio/*<id>*.<suffix>", "recordings of these YouTube ids, named as downloaders do, or features (.npy)"),
        Input("midi/<id>.mid", "rendered from the lead sheets: --render_midi makes them"),
        *(Input(f"translations/{language}.jsonl", "rows: id, background") for language in LANGUAGES),
    ),
)


OWN = Dataset(
    "own",
    "a benchmark of your own",
    "preprocessing/text/make_benchmark.py (docs/own_benchmark.md)",
    "that of your music",
    (
        Input("benchmark.jsonl", "rows: id, genre, background, analysis, description, scene, leadsheet"),
        Input("audio/*<id>*.<suffix>", "recordings, if you have them", optional=True),
        Input("midi/<id>.mid", "as of WikiMT-X, if you have them", optional=True),
        Input("translations/<language>.jsonl", "rows: id, and any of the four texts", optional=True),
    ),
)


@dataclass(frozen=True)
class Song:
    """One row; ``audio`` and ``midi`` are None if the file is missing."""

    id: str
    genre: str
    texts: dict[str, Source]
    abc: Source
    midi: Source | None
    audio: Source | None


def read(root: Path, dataset: Dataset = WIKIMTX) -> list[Song]:
    """Return the songs of a WikiMT-X folder, or of one like it.

    Parameters
    ----------
    root : Path
    dataset : Dataset
        `WIKIMTX` or `OWN`.

    Raises
    ------
    ConfigError
        If its table is missing.
    FormatError
        If a row lacks a field, or two rows have one id.
    """
    path = dataset.need(root, _FILE if dataset is WIKIMTX else "benchmark.jsonl")
    rows = read_jsonl(path, "genre", *FIELDS, "leadsheet")
    ids = [id_of(row, f"{printable(path)}:{number}") for number, row in enumerate(rows, start=1)]
    audio = files_by_key(root / "audio", youtube_key(ids), "audio")
    midi = files_by_key(root / "midi", stem, "symbolic")
    songs: dict[str, Song] = {}
    for number, (id, row) in enumerate(zip(ids, rows, strict=True), start=1):
        if id in songs:
            raise FormatError(f"{printable(path)}:{number} has the id {id} for the second time.")
        texts = {field: sentence(str(row[field])) for field in FIELDS}
        abc = Source(Kind.ABC, f"{id}.abc", data=str(row["leadsheet"]).encode())
        songs[id] = Song(id, str(row["genre"]), texts, abc, midi.get(id), audio.get(id))
    return list(songs.values())


def read_translations(root: Path) -> dict[str, dict[str, Source]]:
    """Return the translated texts that the folder has: by text and language (``background.ru``), then by id.

    Raises
    ------
    FormatError
        If a file has none of the four texts.
    """
    found: dict[str, dict[str, Source]] = {}
    others = {path.stem for path in (root / "translations").glob("*.jsonl")} - set(LANGUAGES)
    for language in (*LANGUAGES, *sorted(others)):
        path = root / "translations" / f"{language}.jsonl"
        if not path.is_file():
            continue
        before = len(found)
        for number, row in enumerate(read_jsonl(path), start=1):
            id = id_of(row, f"{printable(path)}:{number}")
            for field in FIELDS:
                if field in row:
                    found.setdefault(f"{field}.{language}", {})[id] = sentence(str(row[field]))
        if len(found) == before:
            raise FormatError(f"{printable(path)} has none of {', '.join(FIELDS)}.")
    return found


def render_midi(scores: Mapping[str, Source], folder: Path) -> list[tuple[str, str]]:
    """Write ``<id>.mid`` for every song that has none yet; return (id, reason) of those that cannot be rendered.

    Parameters
    ----------
    scores : mapping from str to Source
        Lead sheets by id.
    folder : Path
        The ``midi`` folder of the data set.
    """
    from clamp3.jobs.atomic import write_bytes
    from clamp3.jobs.parallel import process_map

    there = files_by_key(folder, stem, "symbolic")
    wanted = [id for id in scores if id not in there]
    failures = []
    for outcome in process_map(_rendered, [scores[id] for id in wanted], desc="rendering"):
        id = wanted[outcome.index]
        if outcome.value is None:
            failures.append((id, outcome.error or "rendering gave nothing."))
        else:
            write_bytes(folder / f"{id}.mid", outcome.value, durable=False)
    return sorted(failures)


def _rendered(abc: Source) -> bytes:
    from clamp3.formats.score_to_midi import abc_to_midi

    return abc_to_midi(abc.read().decode(), name=abc.name)


def id_of(row: Mapping[str, object], place: str) -> str:
    """Return the id of a row of WikiMT-X.

    Parameters
    ----------
    row : mapping
    place : str
        How messages call the row.

    Raises
    ------
    FormatError
        If it has none, or one that can be no file's name.
    """
    for name in _IDS:
        if name in row:
            if not re.fullmatch(r"[\w-]+", str(row[name])):  # it becomes a file's name
                raise FormatError(f"{place} has the id {row[name]!r}, which is no YouTube id.")
            return str(row[name])
    raise FormatError(f"{place} has no id ({' or '.join(_IDS)}); it has {', '.join(map(str, row))}.")
