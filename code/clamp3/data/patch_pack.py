"""Patches of a whole training set in one file, so that epochs read bytes, not text.

A pack is keyed by its files (path, size, time of change) and by what was stored of them; it is
written once, to a temporary name first, and reused by every later run that names the same files.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from clamp3.data.disk_array import DiskArray, save_array
from clamp3.data.instruments import without_instruments
from clamp3.data.seal import made_once, read_seal, write_seal
from clamp3.data.shards import Location
from clamp3.errors import DataError, FormatError
from clamp3.formats import Kind, suffix_of
from clamp3.formats.pieces import SIGN
from clamp3.jobs.atomic import replacing
from clamp3.jobs.parallel import process_map
from clamp3.jobs.walk import Found, walk
from clamp3.modalities.patches import PATCH_SIZE, encode

logger = logging.getLogger(__name__)

_Found = TypeVar("_Found")

VERSION = 3
FULL, PLAIN = 0, 1  # with instruments as written; without
SUFFIXES = (".abc", ".mtf")
PARALLEL_FROM = 200  # files; below, starting processes takes longer than the work
BLOCK = 20_000  # files handed to the processes at a time


def read_symbolic(location: Location) -> str:
    """Return the text of an ``.abc`` or ``.mtf`` file with line feeds only.

    Raises
    ------
    FormatError
        If it cannot be read, is empty, no UTF-8, or of another type.
    """
    if suffix_of(str(location)) not in SUFFIXES:
        raise FormatError(f"{location}: training reads .abc (interleaved) and .mtf files; convert it first.")
    try:
        text = location.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{location}: no UTF-8 text (byte {error.start}).") from error
    if not text.strip():
        raise FormatError(f"{location}: empty file.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def list_symbolic(roots: Iterable[Path]) -> list[Location]:
    """Return every ``.abc`` and ``.mtf`` file under the roots, sorted, sub-folders and any case included.

    Of a file with several tunes, and of an archive, each piece is one.

    Raises
    ------
    ConfigError
        If a root does not exist.
    """
    found = {_location(file) for root in roots for file in walk(root, {Kind.ABC, Kind.MTF}).files}
    return sorted(found, key=lambda location: Path(location.path, location.name))


def _location(file: Found) -> Location:
    name = f"{file.path}{SIGN}{file.piece.name}" if file.piece else ""
    return Location(str(file.path), name=name, piece=file.piece)


def _encode_file(location: Location) -> tuple[np.ndarray, np.ndarray | None] | str:
    """Return (full, without instruments or None if equal), or the reason why there is nothing."""
    try:
        text = read_symbolic(location)
        plain = without_instruments(text)
        return encode(text), (encode(plain) if plain != text else None)
    except FormatError as error:
        return str(error)


@dataclass(frozen=True)
class PatchPack:
    """Random access to the patches of many files.

    Attributes
    ----------
    data : uint8 array, shape (all patches, 64)
    spans : int64 array, shape (n files, 2, 2)
        Start and number of patches, of the full text and of the text without instruments; -1 where
        the file could not be read.
    problems : dict
        File index → reason.
    """

    data: DiskArray
    spans: DiskArray
    problems: dict[int, str]

    n_variants: int = 2

    @property
    def blank(self) -> np.ndarray:
        """No patches, uint8 (0, 64)."""
        return np.zeros((0, PATCH_SIZE), np.uint8)

    def length(self, index: int, variant: int = FULL) -> int:
        """Return the number of patches, both wrapping patches included.

        Parameters
        ----------
        index : int
        variant : {FULL, PLAIN}
            With instruments as written, or without.
        """
        return int(self.spans[index][variant, 1])

    def lengths(self) -> np.ndarray:
        """Return the number of patches of every file, int64."""
        return self.spans.all()[:, FULL, 1]

    def read(self, index: int, part: slice, variant: int = FULL) -> np.ndarray:
        """Return a copy of a slice of a file's patches, uint8 (L, 64); arguments as of `length`."""
        start, length = self.spans[index][variant].tolist()
        first, last, _ = part.indices(length)
        return self.data[start + first : start + last]


def _key(locations: Sequence[Location]) -> str:
    digest = hashlib.sha256(f"clamp3 pack {VERSION}".encode())
    for location in locations:
        path = Path(location.path)
        try:
            stat = path.stat()
            facts = f"{stat.st_size} {stat.st_mtime_ns}"
        except OSError:
            facts = "absent"
        piece = f"{SIGN}{location.piece.name}" if location.piece else ""
        digest.update(f"{path.resolve()}{piece}\0{facts}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]


def each_file(
    function: Callable[[Location], _Found | str], locations: Sequence[Location], n_workers: int | None, *, doing: str
) -> Iterator[tuple[int, _Found | str]]:
    """Apply a function to every file, in several processes where they are many.

    Parameters
    ----------
    function : callable
        Returns what it finds in a file, or the reason why there is nothing; it pickles.
    locations : sequence of Location
    n_workers : int or None
        Processes; None takes all cores.
    doing : str
        What the progress bar says.

    Yields
    ------
    index : int
        Of the file, in any order.
    found : object or str
        What the function returned.
    """
    if len(locations) < PARALLEL_FROM:
        yield from ((index, function(locations[index])) for index in range(len(locations)))
        return
    for start in range(0, len(locations), BLOCK):
        block = [locations[index] for index in range(start, min(start + BLOCK, len(locations)))]
        for outcome in process_map(function, block, n_workers=n_workers, desc=f"{doing} from file {start + 1}"):
            found = outcome.value if outcome.value is not None else f"{block[outcome.index]}: {outcome.error}."
            yield start + outcome.index, found


def open_pack(paths: Sequence[Path | Location], folder: Path, *, n_workers: int | None = None) -> PatchPack:
    """Return the pack of these files, building it first if it is not there.

    Parameters
    ----------
    paths : sequence of Path or Location
        ``.abc`` and ``.mtf`` files; a file's index here is its index in the pack.
    folder : Path
        Where packs live; created if absent.
    n_workers : int, optional
        Processes that encode; all cores by default.

    Returns
    -------
    PatchPack
        With a reason for every file that could not be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    locations = [path if isinstance(path, Location) else Location(str(path)) for path in paths]
    stem = folder / _key(locations)

    def load() -> PatchPack | None:
        if not stem.with_suffix(".json").exists():
            return None
        try:
            return load_pack(stem)
        except DataError as error:
            logger.warning("%s It is packed again.", error)
            return None

    def write() -> None:
        write_pack(locations, stem, n_workers=n_workers)

    return made_once(folder, load, write) or load_pack(stem)


def load_pack(stem: Path) -> PatchPack:
    """Return the pack ``STEM.u8``, ``STEM.npy``, ``STEM.json``.

    Raises
    ------
    DataError
        If a file of it is absent or damaged.
    """
    problems = read_seal(stem.with_suffix(".json"), dict[str, str])
    data, spans = DiskArray(stem.with_suffix(".u8"), np.uint8, (PATCH_SIZE,)), DiskArray(stem.with_suffix(".npy"))
    return PatchPack(data, spans, {int(key): reason for key, reason in problems.items()})


def write_pack(locations: Sequence[Location], stem: Path, *, n_workers: int | None = None) -> None:
    """Write the pack of these files for `load_pack`.

    Parameters
    ----------
    locations : sequence of Location
    stem : Path
        ``STEM.u8``, ``STEM.npy`` and ``STEM.json`` are written.
    n_workers : int, optional
        Processes that encode; all cores by default.
    """
    spans = np.full((len(locations), 2, 2), -1, dtype=np.int64)
    problems: dict[int, str] = {}
    at = 0
    with replacing(stem.with_suffix(".u8")) as temporary, temporary.open("wb") as file:
        for index, found in each_file(_encode_file, locations, n_workers, doing="packing"):
            if isinstance(found, str):
                problems[index] = found
                continue
            for variant, patches in enumerate(found):
                if patches is None:
                    spans[index, variant] = spans[index, FULL]
                    continue
                file.write(np.ascontiguousarray(patches, dtype=np.uint8).tobytes())
                spans[index, variant] = at, len(patches)
                at += len(patches)
    save_array(stem.with_suffix(".npy"), spans)
    # The list of problems is written last: a pack without it does not exist.
    files = [stem.with_suffix(suffix).name for suffix in (".u8", ".npy")]
    write_seal(stem.with_suffix(".json"), files, {str(index): reason for index, reason in problems.items()})
    if len(locations):
        logger.info("packed %d files, %d patches, %.0f MB", len(locations) - len(problems), at, at * PATCH_SIZE / 1e6)


def check_problems(problems: Sequence[str], n_items: int, max_bad: float, *, n_problems: int | None = None) -> None:
    """Log what could not be used; refuse if it is too much.

    Parameters
    ----------
    problems : sequence of str
        Reasons, or the first of ``n_problems``.
    n_items : int
        Items altogether.
    max_bad : float
        Share of them that may be unusable.
    n_problems : int, optional
        By default the number of reasons.

    Raises
    ------
    DataError
        If no item is left, or more than ``max_bad`` of them are unusable.
    """
    for reason in problems[:20]:
        logger.warning("left out: %s", reason)
    n_problems = len(problems) if n_problems is None else n_problems
    if n_problems > 20:
        logger.warning("left out: %d more", n_problems - 20)
    if n_items == 0 or n_problems == n_items:
        raise DataError(
            f"None of the {n_items} training items can be used." + (f" First: {problems[0]}" if problems else "")
        )
    if n_problems > max_bad * n_items:
        raise DataError(
            f"{n_problems} of {n_items} items cannot be used, more than --max_bad {max_bad:g}. First: {problems[0]}"
        )
