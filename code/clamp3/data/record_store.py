"""The usable records of a JSONL and their music, indexed once: per item there are numbers on the disk, no objects.

A store is a folder named after what it was made of: the JSONL (size, time, first bytes), the views asked for,
how texts are read. It is written once and reused by every later run; ``done.json`` is written last.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from array import array
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clamp3.data.disk_array import DiskArray, save_array
from clamp3.data.jsonl import JsonLines, read_objects
from clamp3.data.music_files import MusicFiles, index_files, open_files
from clamp3.data.records import Record, file_names
from clamp3.data.seal import made_once, read_seal, write_seal
from clamp3.data.shards import Locations, LocationWriter, Resolver, file_digest, tars_in
from clamp3.data.splits import hash_of, item_id
from clamp3.data.text_sampling import SAMPLINGS
from clamp3.data.views import Pair, files_of, music_choices, suffixes, view_of, views, views_with
from clamp3.errors import DataError, FormatError, sentence_of
from clamp3.formats import kind_of
from clamp3.modalities import MODALITIES

logger = logging.getLogger(__name__)

VERSION = 6
DONE = "done.json"
SHOWN = 100  # reasons that are kept; all are counted


@dataclass(frozen=True)
class Wanted:
    """What a run needs of a record.

    Attributes
    ----------
    pairs : tuple
        Views that are compared.
    width : int
        Numbers of an audio vector; 0 where no pair has audio.
    texts : str
        How texts are read, a name in ``clamp3.data.text_sampling.SAMPLINGS``; a record without an evaluation text
        cannot be used where texts are compared.
    shards : Path or None
        Folder of tars to look for files in.
    """

    pairs: tuple[Pair, ...]
    width: int
    texts: str
    shards: Path | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """Views whose files are read."""
        return files_of(self.pairs)

    @property
    def towers(self) -> dict[str, str]:
        """Tower of each of these views."""
        return {view: views()[view].tower for view in self.files}

    @property
    def in_words(self) -> str:
        """The suffixes a record needs."""
        found = suffixes(self.files)
        return " or ".join(found) if all("text" in pair for pair in self.pairs) else f"pair of {', '.join(found)}"

    def key(self, jsonl: Path) -> str:
        """Return a name for the store of a JSONL."""
        parts = [f"{VERSION} {self.pairs} {self.width} {self.texts}".encode()]
        for (view, tower), suffix in zip(self.towers.items(), suffixes(self.files), strict=True):
            kind = kind_of(f"any{suffix}")
            parts.append(f"{view} {suffix} {tower} {MODALITIES[tower].version(kind) if kind else ''}".encode())
        parts += [str(jsonl.resolve().parent).encode(), file_digest(jsonl)]
        parts += [path.name.encode() + file_digest(path) for path in (tars_in(self.shards) if self.shards else ())]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


@dataclass(frozen=True)
class Store:
    """Records of a JSONL that can be used, and their music.

    Attributes
    ----------
    objects : JsonLines
        What the JSONL says of them.
    hashes : uint64 array, shape (n records,)
        Of their ids.
    first : int64 array, shape (n records + 1,)
        Where a record's files begin in ``files``.
    files : int32 array, shape (n files, 2)
        View, as index into ``views``, and number among the files of its tower.
    views : tuple of str
        Views whose files are indexed.
    music : mapping of str to MusicFiles
        What reads the files of each tower.
    problems : list of str
        Why other objects cannot be used: the first of ``n_problems``.
    n_other : int
        Objects that name no files of these views; they belong to other stages, and nothing is wrong with them.
    """

    objects: JsonLines
    hashes: DiskArray
    first: DiskArray
    files: DiskArray
    views: tuple[str, ...]
    music: Mapping[str, MusicFiles]
    problems: list[str]
    n_problems: int
    n_other: int

    def __len__(self) -> int:
        return len(self.objects)

    def record(self, index: int) -> Record:
        """Return one record, parsed anew each time."""
        fields = self.objects[index]
        files = self.files[slice(*self.first[index : index + 2].tolist())]
        return Record(item_id(fields), fields, tuple((self.views[view], number) for view, number in files.tolist()))


@dataclass(frozen=True)
class Records(Sequence[Record]):
    """Some records of a store."""

    store: Store
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Record:  # type: ignore[override]
        return self.store.record(int(self.indices[index]))


def open_store(jsonl: Path, folder: Path, wanted: Wanted) -> Store:
    """Return the store of a JSONL, making it first if it is not there or its files have changed.

    Parameters
    ----------
    jsonl : Path
    folder : Path
        Where stores live; created if absent.
    wanted : Wanted

    Raises
    ------
    DataError
        If the JSONL cannot be read, or files change meanwhile.
    """
    stem = folder / wanted.key(jsonl)
    folder.mkdir(parents=True, exist_ok=True)

    def build() -> None:
        started, unfinished = time.monotonic(), stem.with_name(f".{stem.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed
        unfinished.mkdir()
        n_records = _build(jsonl, unfinished, wanted)
        shutil.rmtree(stem, ignore_errors=True)
        unfinished.replace(stem)
        logger.info("indexed %s: %d records, %.1f s", jsonl, n_records, time.monotonic() - started)

    store = made_once(folder, lambda: _load(jsonl, stem, wanted), build)
    if store is None:
        raise DataError(f"Files of {jsonl} change while they are indexed; start again when nothing writes to them.")
    return store


def _locations(jsonl: Path, stem: Path, tower: str) -> Locations:
    return Locations(stem / f"{tower}_locations", jsonl.parent)


def _load(jsonl: Path, stem: Path, wanted: Wanted) -> Store | None:
    if not (stem / DONE).exists():
        return None
    try:
        done: _Done = read_seal(stem / DONE, _Done)
        locations = {tower: _locations(jsonl, stem, tower) for tower in wanted.towers.values()}
        if any(listed.changed() for listed in locations.values()):
            logger.warning("files of %s have changed since they were indexed; indexing them again", jsonl)
            return None
        names = ("starts", "hashes", "first", "files")
        starts, hashes, first, files = (DiskArray(stem / f"{name}.npy") for name in names)
        music = {tower: open_files(tower, listed, stem / f"{tower}_files", width=wanted.width)
                 for tower, listed in locations.items()}  # fmt: skip
    except (DataError, FormatError, OSError) as error:
        logger.warning("%s The files of %s are indexed again.", sentence_of(error), jsonl)
        return None
    counts = done.n_problems, done.n_other
    return Store(JsonLines(jsonl, starts), hashes, first, files, wanted.files, music, list(done.problems), *counts)


@dataclass(frozen=True)
class _Done:
    """What indexing found besides records."""

    problems: tuple[str, ...]
    n_problems: int
    n_other: int


class _Listing:
    """What one pass over the JSONL finds, as arrays: an entry per object, an entry per file."""

    def __init__(self) -> None:
        self.starts, self.hashes, self.numbers, self.with_text = array("q"), array("Q"), array("q"), array("b")
        self.first, self.views, self.files = array("q", [0]), array("b"), array("q")
        self.lost: dict[int, str] = {}  # object → why a file it names is none
        self.reasons: list[str] = []
        self.n_bad = self.n_other = 0

    def refuse(self, reason: str) -> None:
        """Count an object that cannot be used."""
        self.n_bad += 1
        if len(self.reasons) < SHOWN:
            self.reasons.append(reason)


def _build(jsonl: Path, stem: Path, wanted: Wanted) -> int:
    """Write the store of a JSONL and seal it; return how many records can be used."""
    towers = dict.fromkeys(wanted.towers.values())
    with ExitStack() as stack:
        writers = {tower: stack.enter_context(LocationWriter(stem / f"{tower}_locations")) for tower in towers}
        listing = _list(jsonl, wanted, writers)
    problems = {tower: index_files(tower, _locations(jsonl, stem, tower), stem / f"{tower}_files", width=wanted.width)
                for tower in towers}  # fmt: skip
    n_records = _save_usable(jsonl, listing, problems, stem, wanted)
    # A pack has a seal of its own, on what is too large to be read twice.
    files = [path.name for path in stem.iterdir() if path.suffix != ".u8"]
    write_seal(stem / DONE, files, vars(_Done(tuple(listing.reasons), listing.n_bad, listing.n_other)))
    return n_records


def _list(jsonl: Path, wanted: Wanted, writers: Mapping[str, LocationWriter]) -> _Listing:
    """Note every object and every file it names."""
    listing, resolver = _Listing(), Resolver(jsonl.parent, wanted.shards)
    numbers, towers, text = {view: n for n, view in enumerate(wanted.files)}, wanted.towers, SAMPLINGS[wanted.texts]
    for start, number, fields in read_objects(jsonl):
        if fields is None:
            listing.refuse(f"{jsonl.name}:{number}: no JSON object.")
            continue
        for name in file_names(fields):
            view = view_of(name)
            if view not in numbers:
                continue
            try:
                listing.files.append(writers[towers[view]].add(name, resolver.locate(name)))
                listing.views.append(numbers[view])
            except FormatError as error:
                listing.lost[len(listing.starts)] = str(error)
        listing.starts.append(start)
        listing.hashes.append(hash_of(item_id(fields)))
        listing.numbers.append(number)
        listing.with_text.append(bool(text.evaluation(fields)))
        listing.first.append(len(listing.files))
    return listing


def _save_usable(
    jsonl: Path, listing: _Listing, problems: Mapping[str, Mapping[int, str]], stem: Path, wanted: Wanted
) -> int:
    """Write the arrays of the records that can be used, with the files that can; note why others cannot."""
    need_text, names = any("text" in pair for pair in wanted.pairs), wanted.files
    towers = [wanted.towers[view] for view in names]
    enough: dict[frozenset[str], bool] = {}  # whether files of these views make a pair
    usable, first, kept = array("q"), array("q", [0]), array("q")
    for index, number in enumerate(listing.numbers):
        mine = range(listing.first[index], listing.first[index + 1])
        reasons = {f: problems[towers[listing.views[f]]].get(listing.files[f]) for f in mine}
        good = [f for f in mine if reasons[f] is None]
        there = frozenset(names[listing.views[f]] for f in good)
        if there not in enough:
            enough[there] = bool(music_choices(wanted.pairs, views_with(there)))
        if not enough[there]:
            lost = next((why for why in reasons.values() if why), listing.lost.get(index))
            if lost:
                listing.refuse(f"{jsonl.name}:{number}: {lost}")
            else:
                listing.n_other += 1
        elif need_text and not listing.with_text[index]:
            listing.refuse(f"{jsonl.name}:{number}: no text.")
        else:
            usable.append(index)
            kept.extend(good)
            first.append(len(kept))
    chosen, files = np.array(usable, dtype=np.int64), np.array(kept, dtype=np.int64)
    table = np.stack([np.array(listing.views, np.int32)[files], np.array(listing.files, np.int32)[files]], axis=1)
    save_array(stem / "starts.npy", np.array(listing.starts, np.int64)[chosen])
    save_array(stem / "hashes.npy", np.array(listing.hashes, np.uint64)[chosen])
    save_array(stem / "first.npy", np.array(first, np.int64))
    save_array(stem / "files.npy", table)
    return len(usable)
