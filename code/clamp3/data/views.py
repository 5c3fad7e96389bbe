"""What a batch holds per piece, its *views*, and the pairs of views that the loss compares.

Views are ``text``, ``abc`` (score), ``mtf`` (performance), ``symbolic`` (a score or a performance), ``audio``, and
those of every modality that is registered besides: `clamp3.modalities.Modality.views` names them and their files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from clamp3.errors import ConfigError
from clamp3.formats import suffix_of

if TYPE_CHECKING:
    from clamp3.modalities import Modality

Pair = tuple[str, str]


@dataclass(frozen=True)
class View:
    """One way in which training sees a piece.

    Attributes
    ----------
    name : str
    tower : str
        Modality and tower that read it.
    suffix : str
        Of the files that records name for it; "" for text, and for a view that stands for others.
    parts : tuple of str
        Views it stands for: itself, or any of several.
    """

    name: str
    tower: str
    suffix: str
    parts: tuple[str, ...]


def views() -> dict[str, View]:
    """Return every view by its name, in the order in which batches have them.

    A modality whose files have several views has one more, of its own name, that stands for any of them.

    Examples
    --------
    >>> [view.name for view in views().values() if view.tower == "symbolic"]
    ['abc', 'mtf', 'symbolic']
    """
    from clamp3.modalities import MODALITIES  # loads numpy, which --help of the training scripts does without

    return _views(tuple(MODALITIES.values()))


@lru_cache(maxsize=4)
def _views(modalities: tuple[Modality, ...]) -> dict[str, View]:
    found: dict[str, View] = {}
    for modality in modalities:
        for name, suffix in modality.views.items():
            found[name] = View(name, modality.name, suffix, (name,))
        if modality.name not in found and (modality.views or modality.name == "text"):
            found[modality.name] = View(modality.name, modality.name, "", tuple(modality.views) or (modality.name,))
    return found


def suffixes(names: Collection[str] | None = None) -> list[str]:
    """Return the suffixes of the files of some views, or of all."""
    return [view.suffix for view in views().values() if view.suffix and (names is None or view.name in names)]


def view_of(name: str) -> str:
    """Return the view that a file of this name is read for, "" if training reads no such files."""
    suffix = suffix_of(name)
    return next((view.name for view in views().values() if view.suffix and view.suffix == suffix), "")


def parse_pairs(names: Iterable[str]) -> tuple[Pair, ...]:
    """Return the pairs of ``text-abc,abc-mtf`` or of several such words.

    Raises
    ------
    ConfigError
        If a name is no pair of two different views, or occurs twice.
    """
    pairs: list[Pair] = []
    for name in (part for word in names for part in word.split(",") if part):
        two = name.split("-")
        if len(two) != 2 or two[0] == two[1] or any(view not in views() for view in two):
            raise ConfigError(f"--pairs {name}: a pair is two of {', '.join(views())} with a hyphen, as text-abc.")
        if set(views()[two[0]].parts) & set(views()[two[1]].parts):
            raise ConfigError(f"--pairs {name}: both views would be the same file.")
        pairs.append((two[0], two[1]))
    if len({frozenset(pair) for pair in pairs}) < len(pairs):
        raise ConfigError(f"--pairs names a pair twice: {','.join('-'.join(pair) for pair in pairs)}.")
    return tuple(pairs)


def views_of(pairs: Collection[Pair]) -> tuple[str, ...]:
    """Return the views a batch needs: ``symbolic`` becomes abc and mtf where one of them is compared by itself."""
    named = {view for pair in pairs for view in pair}
    for view in views().values():
        if view.name in named and len(view.parts) > 1 and named & set(view.parts):
            named = named - {view.name} | set(view.parts)
    return tuple(name for name in views() if name in named)


def towers_of(pairs: Collection[Pair]) -> tuple[str, ...]:
    """Return the towers that the pairs need."""
    return tuple(dict.fromkeys(views()[view].tower for view in views_of(pairs)))


def files_of(pairs: Collection[Pair]) -> tuple[str, ...]:
    """Return the views whose files the pairs need."""
    parts = {part for view in views_of(pairs) for part in views()[view].parts}
    return tuple(view.name for view in views().values() if view.suffix and view.name in parts)


def views_with(files: Collection[str]) -> set[str]:
    """Return every view of a piece that has files of these views, and text."""
    return {view.name for view in views().values() if view.name == "text" or not set(view.parts).isdisjoint(files)}


def music_choices(pairs: Collection[Pair], there: Collection[str]) -> list[tuple[str, ...]]:
    """Return what a training step may show of a piece: two kinds of music, or one.

    Parameters
    ----------
    pairs : collection of (str, str)
        What is compared.
    there : collection of str
        Views the piece has.

    Returns
    -------
    list of tuple of str
        Every pair of music that the piece can give, and every view that is compared with text but is in none of them.
    """
    music = [view for view in views_of(pairs) if view in there and view != "text"]

    def meant(view: str) -> list[str]:
        return [found for found in music if found == view or found in views()[view].parts]

    doubles = [(a, b) for one, other in pairs if "text" not in (one, other)
               for a in meant(one) for b in meant(other)]  # fmt: skip
    covered = {view for double in doubles for view in double}
    with_text = {view for pair in pairs if "text" in pair for part in pair for view in meant(part)}
    return doubles + [(view,) for view in music if view in with_text - covered]
