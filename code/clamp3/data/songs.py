"""Songs with their text and mel frames, and pairs of songs that listeners link, from JSONL or Parquet.

A song is a row with ``id``, ``text``, ``mel``, a ``.npy`` relative to the table's folder, and perhaps ``artist``; or a
record as CLaMP 3's training reads it, whose texts are joined and whose first ``.npy`` counts. A pair is a row with the
ids ``trigger`` and ``song``. Rows with the columns of HTCL's own Parquet files (``trigger_song_id``,
``song_id_mel_spec_path`` …) are both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from clamp3.data.listening import duckdb
from clamp3.data.records import file_names
from clamp3.data.shards import Location
from clamp3.data.text_sampling import SAMPLINGS
from clamp3.errors import DataError, FormatError, printable
from clamp3.formats.tables import each_jsonl

_FETCHED = 10_000  # rows of a Parquet file that are held at a time


@dataclass
class Songs:
    """Songs by number.

    Attributes
    ----------
    ids, texts : list of str
    mels : list of Location
        Files of mel frames.
    artists : list of tuple of str
        Of each song.
    problems : list of str
        Rows that cannot be used.
    """

    ids: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    mels: list[Location] = field(default_factory=list)
    artists: list[tuple[str, ...]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.numbers = {item_id: number for number, item_id in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, item_id: str, text: str, mel: Path, artists: tuple[str, ...] = ()) -> None:
        """Add a song; of rows with one id the first counts.

        Parameters
        ----------
        item_id, text : str
        mel : Path
            File of its mel frames.
        artists : tuple of str
        """
        if item_id not in self.numbers:
            self.numbers[item_id] = len(self.ids)
            self.ids.append(item_id)
            self.texts.append(text)
            self.mels.append(Location(str(mel)))
            self.artists.append(artists)


def each_row(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a JSONL or Parquet file.

    Raises
    ------
    ConfigError
        If a Parquet file needs duckdb, which is not installed.
    DataError
        If the file cannot be read or has no rows.
    """
    if not path.is_file():
        raise DataError(f"{path} cannot be read: no such file.")
    if path.suffix != ".parquet":
        yield from each_jsonl(path)
        return
    database = duckdb()
    try:
        found = database.connect().execute("SELECT * FROM read_parquet(?)", [str(path)])
        names = [column[0] for column in found.description]
        while rows := found.fetchmany(_FETCHED):
            yield from (dict(zip(names, row, strict=True)) for row in rows)
    except database.Error as error:
        raise DataError(f"{printable(path)} cannot be read as Parquet ({str(error).splitlines()[0]}).") from None


def read_songs(path: Path) -> Songs:
    """Return the songs of a table.

    Raises
    ------
    DataError, ConfigError
        As `each_row` does.
    """
    songs = Songs()
    for number, row in enumerate(each_row(path), start=1):
        for name in ("trigger_song_id", "song_id") if "trigger_song_id" in row else ("song_id",):
            try:
                songs.add(*_song(row, name, path.parent), artists_of(row, f"{name}_"))
            except FormatError as error:
                songs.problems.append(f"{printable(path)}:{number}: {error}")
    return songs


def _song(row: Mapping[str, Any], name: str, folder: Path) -> tuple[str, str, Path]:
    """Return id, text and file of a song whose columns may begin with ``name``."""
    item_id = row.get(name, row.get("id"))
    text = _first(row, f"{name}_text", "text")
    mel = _first(row, f"{name}_mel_spec_path", "mel_spec_path", "mel")
    if text is None:
        text = "\n".join(SAMPLINGS["clamp3"].evaluation(row))
    if mel is None:
        mel = next((file for file in file_names(row) if file.endswith(".npy")), None)
    if item_id in (None, "") or not isinstance(text, str) or not text.strip() or not isinstance(mel, str) or not mel:
        raise FormatError("a song needs an id, a text, and a .npy of its mel frames")
    return str(item_id), text, folder / mel


def artists_of(row: Mapping[str, Any], prefix: str = "") -> tuple[str, ...]:
    """Return the artists of a song: a string or a list of them, in ``artist`` or, as in CLaMP 3's records, ``artists``.

    Parameters
    ----------
    row : mapping
    prefix : str
        What the names of the columns may begin with.
    """
    found = _first(row, f"{prefix}artist", "artist", "artists")
    return tuple(name for name in (found if isinstance(found, list) else [found]) if isinstance(name, str))


def _first(row: Mapping[str, Any], *names: str) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def read_pairs(path: Path, songs: Songs) -> tuple[np.ndarray, list[str]]:
    """Return the pairs of a table.

    Parameters
    ----------
    path : Path
    songs : Songs
        What the ids of the table name.

    Returns
    -------
    pairs : int32 array, shape (N, 2)
        Numbers of trigger and song.
    problems : list of str
        Rows that name an unknown song, or one song twice.

    Raises
    ------
    DataError, ConfigError
        As `each_row` does.
    """
    pairs: list[tuple[int, int]] = []
    problems: list[str] = []
    for number, row in enumerate(each_row(path), start=1):
        ids = [str(_first(row, *names)) for names in (("trigger_song_id", "trigger"), ("song_id", "song"))]
        unknown = next((item_id for item_id in ids if item_id not in songs.numbers), None)
        if unknown is not None or ids[0] == ids[1]:
            reason = f"there is no song {unknown!r}" if unknown is not None else f"{ids[0]!r} is paired with itself"
            problems.append(f"{printable(path)}:{number}: {reason}")
        else:
            pairs.append((songs.numbers[ids[0]], songs.numbers[ids[1]]))
    return np.array(pairs, np.int32).reshape(-1, 2), problems
