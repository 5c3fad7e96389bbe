"""The usable records of a JSONL and their music, indexed once: per item there are numbers in mapped files, no objects.

A store is a folder named after what it was made of: the JSONL (size, time, first bytes), the kinds of files asked for,
how texts are read. It is written once and reused by every later run; ``done.json`` is written last.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clamp3.data.audio_features import FeatureFiles, open_features
from clamp3.data.disk_array import Rows, save_array
from clamp3.data.jsonl import JsonLines, read_objects
from clamp3.data.patch_pack import PatchPack, load_pack, write_pack
from clamp3.data.shards import Places, PlaceWriter, Resolver, identity, tars_in
from clamp3.data.splits import hash_of, item_id
from clamp3.data.text_sampling import SAMPLINGS
from clamp3.data.views import KIND_OF, SYMBOLIC, Pair, music_choices, sides_of
from clamp3.errors import DataError, FormatError
from clamp3.jobs.atomic import write_text
from clamp3.training.data import Record

logger = logging.getLogger(__name__)

VERSION = 3
KINDS = (*SYMBOLIC, "audio")
GROUPS = ("symbolic", "audio")
GROUP_OF = ("symbolic", "symbolic", "audio")  # of each kind
DONE = "done.json"
SHOWN = 100  # reasons that are kept; all are counted


@dataclass(frozen=True)
class Wanted:
    """What a run needs of a record.

    Attributes
    ----------
    pairs : tuple
        Sides that are compared.
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
    def kinds(self) -> tuple[str, ...]:
        """Kinds of files."""
        sides = sides_of(self.pairs)
        return tuple(kind for kind in KINDS if kind in sides or (kind in SYMBOLIC and "symbolic" in sides))

    @property
    def files(self) -> str:
        """Return the suffixes a record needs, in words."""
        found = [suffix for suffix, kind in KIND_OF.items() if kind in self.kinds]
        return " or ".join(found) if all("text" in pair for pair in self.pairs) else f"pair of {', '.join(found)}"

    def key(self, jsonl: Path) -> str:
        """Return a name for the store of a JSONL."""
        parts = [f"{VERSION} {self.pairs} {self.width} {self.texts}".encode()]
        parts += [str(jsonl.resolve().parent).encode(), identity(jsonl)]
        parts += [path.name.encode() + identity(path) for path in (tars_in(self.shards) if self.shards else ())]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def file_names(fields: Mapping[str, Any], kinds: Sequence[str]) -> list[tuple[str, str]]:
    """Return (kind, name) of the files of these kinds a record names."""
    named = fields.get("filepaths")
    named = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    found = [(KIND_OF.get(os.path.splitext(name)[1].lower(), ""), name) for name in named if isinstance(name, str)]
    return [(kind, name) for kind, name in found if kind in kinds]


@dataclass(frozen=True)
class Store:
    """Records of a JSONL that can be used, and their music.

    Attributes
    ----------
    lines : JsonLines
        Their objects.
    hashes : uint64 rows, shape (n records,)
        Of their ids.
    first : int64 rows, shape (n records + 1,)
        Where a record's files begin in ``files``.
    files : int32 rows, shape (n files, 2)
        Kind, as index into `KINDS`, and number in the pack or the feature files.
    pack : PatchPack
    features : FeatureFiles or None
    problems : list of str
        Why other objects cannot be used: the first of ``n_problems``.
    n_other : int
        Objects that name no files of these kinds; they belong to other stages, and nothing is wrong with them.
    """

    lines: JsonLines
    hashes: Rows
    first: Rows
    files: Rows
    pack: PatchPack
    features: FeatureFiles | None
    problems: list[str]
    n_problems: int
    n_other: int

    def __len__(self) -> int:
        return len(self.lines)

    def record(self, index: int) -> Record:
        """Return one record, parsed anew each time."""
        fields = self.lines[index]
        files = self.files[slice(*self.first[index : index + 2].tolist())]
        return Record(item_id(fields), fields, tuple((KINDS[kind], number) for kind, number in files.tolist()))


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

    Raises
    ------
    DataError
        If the JSONL cannot be read, or files change meanwhile.
    """
    stem = folder / wanted.key(jsonl)
    store = _load(jsonl, stem, wanted)
    if store is None:
        started = time.monotonic()
        stem.mkdir(parents=True, exist_ok=True)
        (stem / DONE).unlink(missing_ok=True)
        _build(jsonl, stem, wanted)
        store = _load(jsonl, stem, wanted)
        if store is None:
            raise DataError(f"Files of {jsonl} change while they are indexed; start again when nothing writes to them.")
        logger.info("indexed %s: %d records, %.1f s", jsonl, len(store), time.monotonic() - started)
    return store


def _load(jsonl: Path, stem: Path, wanted: Wanted) -> Store | None:
    if not (stem / DONE).exists():
        return None
    if any(Places(stem / group, jsonl.parent).changed() for group in GROUPS):
        logger.warning("files of %s have changed since they were indexed; indexing them again", jsonl)
        return None
    done = json.loads((stem / DONE).read_text(encoding="utf-8"))
    starts, hashes, first, files = (Rows(stem / f"{name}.npy") for name in ("starts", "hashes", "first", "files"))
    features = None
    if "audio" in wanted.kinds:
        lengths = Rows(stem / "lengths.npy")
        features = FeatureFiles(Places(stem / "audio", jsonl.parent), wanted.width, lengths, {})
    pack = load_pack(stem / "pack")
    counts = done["n_problems"], done["n_other"]
    return Store(JsonLines(jsonl, starts), hashes, first, files, pack, features, done["problems"], *counts)


class _Listing:
    """What one pass over the JSONL finds, as arrays: an entry per object, an entry per file."""

    def __init__(self) -> None:
        self.starts, self.hashes, self.numbers, self.with_text = array("q"), array("Q"), array("q"), array("b")
        self.first, self.kinds, self.files = array("q", [0]), array("b"), array("q")
        self.lost: dict[int, str] = {}  # object → why a file it names is none
        self.reasons: list[str] = []
        self.n_bad = self.n_other = 0

    def refuse(self, reason: str) -> None:
        self.n_bad += 1
        if len(self.reasons) < SHOWN:
            self.reasons.append(reason)


def _build(jsonl: Path, stem: Path, wanted: Wanted) -> None:
    resolver = Resolver(jsonl.parent, wanted.shards)
    with PlaceWriter(stem / "symbolic") as symbolic, PlaceWriter(stem / "audio") as audio:
        listing = _list(jsonl, wanted, resolver, {kind: audio if kind == "audio" else symbolic for kind in KINDS})
    places = {group: Places(stem / group, jsonl.parent) for group in GROUPS}
    write_pack(places["symbolic"], stem / "pack")
    problems: dict[str, Mapping[int, str]] = {"symbolic": load_pack(stem / "pack").problems, "audio": {}}
    if "audio" in wanted.kinds:
        features = open_features(places["audio"], wanted.width)
        save_array(stem / "lengths.npy", np.asarray(features.lengths))
        problems["audio"] = features.problems
    _save_usable(jsonl, listing, problems, stem, wanted)
    write_text(
        stem / DONE, json.dumps({"problems": listing.reasons, "n_problems": listing.n_bad, "n_other": listing.n_other})
    )


def _list(jsonl: Path, wanted: Wanted, resolver: Resolver, writers: Mapping[str, PlaceWriter]) -> _Listing:
    """Note every object and every file it names."""
    listing, kinds, text = _Listing(), wanted.kinds, SAMPLINGS[wanted.texts].evaluation
    for start, number, fields in read_objects(jsonl):
        if fields is None:
            listing.refuse(f"{jsonl.name}:{number}: no JSON object.")
            continue
        for kind, name in file_names(fields, kinds):
            try:
                listing.files.append(writers[kind].add(name, resolver.place(name)))
                listing.kinds.append(KINDS.index(kind))
            except FormatError as error:
                listing.lost[len(listing.starts)] = str(error)
        listing.starts.append(start)
        listing.hashes.append(hash_of(item_id(fields)))
        listing.numbers.append(number)
        listing.with_text.append(bool(text(fields)))
        listing.first.append(len(listing.files))
    return listing


def _save_usable(
    jsonl: Path, listing: _Listing, problems: Mapping[str, Mapping[int, str]], stem: Path, wanted: Wanted
) -> None:
    """Write the arrays of the records that can be used, with the files that can; note why others cannot."""
    need_text = any("text" in pair for pair in wanted.pairs)
    enough: dict[frozenset[str], bool] = {}  # whether these kinds make a pair
    usable, first, kept = array("q"), array("q", [0]), array("q")
    for index, number in enumerate(listing.numbers):
        mine = range(listing.first[index], listing.first[index + 1])
        reasons = {f: problems[GROUP_OF[listing.kinds[f]]].get(listing.files[f]) for f in mine}
        good = [f for f in mine if reasons[f] is None]
        kinds = frozenset(KINDS[listing.kinds[f]] for f in good)
        if kinds not in enough:
            enough[kinds] = bool(music_choices(wanted.pairs, Record("", {}, tuple((k, 0) for k in kinds)).sides))
        if not enough[kinds]:
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
    table = np.stack([np.array(listing.kinds, np.int32)[files], np.array(listing.files, np.int32)[files]], axis=1)
    save_array(stem / "starts.npy", np.array(listing.starts, np.int64)[chosen])
    save_array(stem / "hashes.npy", np.array(listing.hashes, np.uint64)[chosen])
    save_array(stem / "first.npy", np.array(first, np.int64))
    save_array(stem / "files.npy", table)
