"""Which output file each input gets: distinct on every file system, the same whatever ran before."""

from __future__ import annotations

import hashlib
import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from clamp3.formats.pieces import as_file

NAME_MAX = 255  # bytes of one name, on all common file systems


def output_names(inputs: Iterable[PurePosixPath], suffix: str) -> dict[PurePosixPath, PurePosixPath]:
    """Return the relative output path of every relative input path.

    ``sub/a.xml`` becomes ``sub/a.abc``, and ``sub/jigs.abc#12``, a piece of a file, ``sub/jigs/12.abc``. Where several
    inputs would get one name, or one that is a folder's, all of them keep their own (``a.xml.abc``, ``a.mxl.abc``,
    ``jigs.abc#12.abc``), and if that is not enough, also a short hash of their path. Names that differ only in case or
    in Unicode composition count as one, since on macOS and Windows they are.

    Parameters
    ----------
    inputs : iterable of PurePosixPath
    suffix : str
        Of the outputs, with its dot.
    """
    rules: Sequence[Callable[[PurePosixPath], PurePosixPath]] = (_place, _kept, lambda path: path, _marked)
    level = dict.fromkeys(inputs, 0)
    while True:
        outputs = {path: _fitted(rules[at](path), suffix) for path, at in level.items()}
        parents = {output.parent for output in outputs.values()}
        folders = {_key(folder.as_posix()) for parent in parents for folder in (parent, *parent.parents)}
        claims: dict[str, list[PurePosixPath]] = defaultdict(list)
        for path, output in outputs.items():
            claims[_key(output.as_posix())].append(path)
        crowded = [path for name, paths in claims.items() if len(paths) > 1 or name in folders for path in paths]
        raised = [path for path in crowded if level[path] < len(rules) - 1]
        if not raised:
            return outputs
        # Only the lowest move, so that an input that already stepped aside is not moved again by a newcomer.
        lowest = min(level[path] for path in raised)
        for path in raised:
            level[path] += level[path] == lowest


def shared_stems(outputs: Mapping[PurePosixPath, PurePosixPath]) -> list[tuple[str, ...]]:
    """Return the groups of inputs, as strings, that would have got one output name."""
    groups: dict[str, list[str]] = defaultdict(list)
    for path in outputs:
        groups[_key(_place(path).as_posix())].append(str(path))
    return sorted(tuple(sorted(group)) for group in groups.values() if len(group) > 1)


def _kept(path: PurePosixPath) -> PurePosixPath:
    return PurePosixPath(as_file(path.as_posix()))


def _place(path: PurePosixPath) -> PurePosixPath:
    return PurePosixPath(posixpath.splitext(as_file(path.as_posix()))[0])


def _marked(path: PurePosixPath) -> PurePosixPath:
    return path.with_name(f"{path.name}.{_digest(path.as_posix())}")


def _fitted(path: PurePosixPath, suffix: str) -> PurePosixPath:
    return path.with_name(_fit(path.name, suffix))


def _fit(stem: str, suffix: str) -> str:
    name = stem + suffix
    if len(_encoded(name)) <= NAME_MAX:
        return name
    tail = f"~{_digest(stem)}{suffix}"
    kept = _encoded(stem)[: NAME_MAX - len(tail)]
    return kept.decode("utf-8", "ignore") + tail


def _digest(text: str) -> str:
    return hashlib.sha256(_encoded(text)).hexdigest()[:8]


def _key(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
