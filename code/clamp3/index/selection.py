"""Which files of a folder a search ranks, and which of them are one answer.

Texts (lyrics, descriptions) are ranked where a folder holds nothing else, or where they are asked for: closest to words
are other words, not music. Files with the same content are one hit, and a query that lies in the searched folder is
none.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from clamp3.errors import ConfigError, printable
from clamp3.formats import Kind, kind_of

if TYPE_CHECKING:  # the flags below are all that a script needs at its start
    import numpy as np

    from clamp3.sources import Source

# Of each number of vectors of length 1: far above what the rest of a batch changes, far below what a note changes.
SAME = 1e-4


@dataclass(frozen=True)
class Selection:
    """What a search ranks and returns.

    Attributes
    ----------
    kinds : sequence of str
        Groups (see `kind_groups`), or kinds of files; none means music, or texts where there is no music.
    exclude : sequence of str
        Patterns of file or folder names, or of paths in the folder, with ``*`` and ``?``.
    min_score : float
        The least cosine of a hit.
    keep_duplicates : bool
        Every file is a hit of its own, the query's too.

    Raises
    ------
    ConfigError
        If a kind is unknown.
    """

    kinds: Sequence[str] = ()
    exclude: Sequence[str] = ()
    min_score: float = -1.0
    keep_duplicates: bool = False

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in kind_groups() and kind not in Kind.known:
                raise ConfigError(f"there is no kind {kind!r}; there are {', '.join((*kind_groups(), *Kind.known))}.")

    def excludes(self, path: PurePosixPath) -> bool:
        """Return whether a pattern names a file or folder of a path.

        Examples
        --------
        >>> selection = Selection(exclude=["drafts", "*.mid"])
        >>> [selection.excludes(PurePosixPath(path)) for path in ("drafts/a.abc", "a.MID", "a.abc")]
        [True, True, False]
        """
        names = [str(path), *path.parts]
        return any(fnmatch.fnmatchcase(n.lower(), pattern.lower()) for n in names for pattern in self.exclude)

    def wants(self, kind: Kind | None) -> bool:
        """Return whether files of a kind are ranked; None is a stored vector of something unknown."""
        if kind is None:
            return not self.kinds or bool({"all", "music"} & set(self.kinds))
        if not self.kinds:
            return kind in kind_groups()["music"]
        groups = kind_groups()
        return any(kind in groups[name] if name in groups else kind == name for name in self.kinds)


def add_selection_flags(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the flags that a `Selection` is made of."""
    kinds = "rank these only, with commas between: music, text, score, midi, audio, all, or a kind such as abc"
    parser.add_argument("--kind", default="", help=f"{kinds} (default: music, or texts where there is none)")
    names = "leave out files, folders or paths that match, such as drafts or '*.mid' (repeatable)"
    parser.add_argument("--exclude", action="append", default=[], metavar="PATTERN", help=names)
    parser.add_argument("--min_score", type=float, default=-1.0, help="least cosine of a result (default: all)")
    copies = "rank copies, and the query itself, too"
    parser.add_argument("--keep_duplicates", action=argparse.BooleanOptionalAction, default=False, help=copies)
    return parser


def add_question_flags(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the flags of a `clamp3.index.question.Question` besides its query; its `question_of` takes them parsed."""
    stretch = "of a file a stretch: take.mp3@40-55 or 1:20-1:35, seconds, or tune.abc@9-16, bars"
    ways = {"--like": f"also like this file or text ({stretch})", "--unlike": "not like this file or text"}
    for flag, what in {**ways, "--text": "also like these words, whatever files are called"}.items():
        metavar = ("WORDS" if flag == "--text" else "FILE", "WEIGHT")
        parser.add_argument(flag, nargs="+", action="append", default=[], metavar=metavar, help=f"{what} (repeatable)")
    axis = "lean from what to what, such as --axis sad happy; alone it ranks"
    parser.add_argument("--axis", nargs=2, metavar=("FROM", "TO"), help=axis)
    return add_selection_flags(parser)


def kinds_of(text: str) -> tuple[str, ...]:
    """Return the kinds that ``--kind`` names."""
    return tuple(kind.strip() for kind in text.split(",") if kind.strip())


def kind_groups() -> dict[str, set[Kind]]:
    """Return the kinds of files by the names that a search knows them by."""
    every = set(Kind.known.values())
    return {
        "music": every - {Kind.TEXT},
        "text": {Kind.TEXT},
        "score": {Kind.MUSICXML, Kind.SCORE, Kind.ABC},
        "midi": {Kind.MIDI, Kind.MTF},
        "audio": {Kind.AUDIO, Kind.FEATURES},
        "all": every,
    }


def require_folders(folders: Sequence[Path]) -> None:
    """Raise a `ConfigError` for the first path that does not exist."""
    for folder in folders:
        if not folder.exists():
            raise ConfigError(f"there is no folder {printable(folder)}; the query comes first, then the folder.")


def folder_names(folders: Sequence[Path]) -> list[str]:
    """Return what several folders are called in results: their last parts, or the paths where these are equal."""
    last = [folder.resolve().name for folder in folders]
    return last if len(set(last)) == len(last) else [printable(folder) for folder in folders]


def vector_kinds(folder: Path, names: Sequence[str]) -> list[Kind | None]:
    """Return the kind of file that each stored vector was made of, None where no ledger says it.

    Parameters
    ----------
    folder : Path
        What extraction wrote to.
    names : sequence of str
        Of files in it.
    """
    from clamp3.jobs.ledger import LEDGER_NAME, Ledger

    if not names or not (folder / LEDGER_NAME).is_file():
        return [None] * len(names)
    with Ledger(folder / LEDGER_NAME) as ledger:
        rows = [ledger.maker(name) for name in names]
    return [kind_of(row.input) if row is not None else None for row in rows]


def modalities(folder: Path, names: Sequence[str], kinds: Sequence[str]) -> list[str]:
    """Return the modality of every file: ``text``, ``symbolic`` or ``audio``.

    That of stored vectors is in the ledger that extraction leaves beside them; without one they are ``vector``.

    Parameters
    ----------
    folder : Path
        Where the files lie.
    names, kinds : sequences of str
        As in `clamp3.index.vectors.VectorFolder`.
    """
    from clamp3.modalities import modality_of

    known = vector_kinds(folder, names) if "vector" in kinds else [None] * len(names)
    return [
        kind if kind != "vector" or source is None else modality_of(source)
        for kind, source in zip(kinds, known, strict=True)
    ]


class Distinct:
    """Distinguishes inputs, met in the order of their scores, from the query and from copies of earlier ones.

    Parameters
    ----------
    vectors : sequence of float arrays, shape (rows, D)
        Of every input.
    own : sequence of int
        Inputs that are the query itself.

    Attributes
    ----------
    copies : dict of int to list of int
        Copies of the inputs that were taken, and of those that are the query.
    """

    def __init__(self, vectors: Sequence[np.ndarray], own: Sequence[int] = ()) -> None:
        self._vectors, self._own = vectors, own
        self._taken: dict[int, bool] = dict.fromkeys(own, False)
        self._kept: list[tuple[float, int]] = []
        self.copies: dict[int, list[int]] = {owner: [] for owner in own}

    def takes(self, owner: int, score: float) -> bool:
        """Return whether an input is an answer of its own.

        Parameters
        ----------
        owner : int
        score : float
            Its best, and no better than those of the inputs before it.
        """
        if owner not in self._taken:
            near = (other for kept, other in reversed(self._kept) if kept - score <= SAME)
            twin = next((other for other in (*self._own, *near) if self._alike(owner, other)), None)
            self._taken[owner] = twin is None
            if twin is None:
                self._kept.append((score, owner))
                self.copies[owner] = []
            else:
                self.copies[twin].append(owner)
        return self._taken[owner]

    def _alike(self, one: int, other: int) -> bool:
        from clamp3.index.ranking import unit_rows

        left, right = self._vectors[one], self._vectors[other]
        return left.shape == right.shape and float(abs(unit_rows(left) - unit_rows(right)).max()) <= SAME


def same_input(query: Source, place: str) -> bool:
    """Return whether a query is the file, or the piece of one, that lies somewhere, by whatever path.

    Parameters
    ----------
    query : Source
    place : str
        As `Source.location`.
    """
    from clamp3.formats.pieces import SIGN

    if query.path is None:
        return False
    inside = f"{SIGN}{query.piece.name}" if query.piece is not None else ""
    try:
        return place.endswith(inside) and os.path.samefile(query.path, place[: len(place) - len(inside)])
    except OSError:
        return False
