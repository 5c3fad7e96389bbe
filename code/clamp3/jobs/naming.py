"""Which output file each input gets: distinct on every file system, the same whatever ran before."""

from __future__ import annotations

import hashlib
import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath

NAME_MAX = 255  # bytes of one name, on all common file systems


def output_names(inputs: Iterable[PurePosixPath], suffix: str) -> dict[PurePosixPath, PurePosixPath]:
    """Return the relative output path of every relative input path.

    ``sub/a.xml`` becomes ``sub/a.abc``. Where several inputs would get one name, all of them keep their suffix
    (``a.xml.abc``, ``a.mxl.abc``), and if that is not enough, also a short hash of their path. Names that differ only
    in case or in Unicode composition count as one, since on macOS and Windows they are.

    Parameters
    ----------
    inputs : iterable of PurePosixPath
    suffix : str
        Of the outputs, with its dot.
    """
    rules: Sequence[Callable[[PurePosixPath], str]] = (lambda path: path.stem, lambda path: path.name, _marked)
    level = dict.fromkeys(inputs, 0)
    while True:
        outputs = {path: path.with_name(_fit(rules[at](path), suffix)) for path, at in level.items()}
        claims: dict[str, list[PurePosixPath]] = defaultdict(list)
        for path, output in outputs.items():
            claims[_key(output.as_posix())].append(path)
        crowded = [path for paths in claims.values() if len(paths) > 1 for path in paths]
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
        groups[_key(posixpath.splitext(path)[0])].append(str(path))
    return sorted(tuple(sorted(group)) for group in groups.values() if len(group) > 1)


def _marked(path: PurePosixPath) -> str:
    return f"{path.name}.{_digest(path.as_posix())}"


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
