"""What a batch holds per piece, its *sides*, and the pairs of sides that the loss compares.

Sides are ``text``, ``abc`` (score), ``mtf`` (performance), ``audio``, and ``symbolic``: a score or a performance.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from clamp3.errors import ConfigError

TOWER_OF = {"text": "text", "abc": "symbolic", "mtf": "symbolic", "symbolic": "symbolic", "audio": "audio"}
KIND_OF = {".abc": "abc", ".mtf": "mtf", ".npy": "audio"}
SYMBOLIC = ("abc", "mtf")

Pair = tuple[str, str]


def parse_pairs(names: Iterable[str]) -> tuple[Pair, ...]:
    """Return the pairs of ``text-abc,abc-mtf`` or of several such words.

    Raises
    ------
    ConfigError
        If a name is no pair of two different sides, or occurs twice.
    """
    pairs: list[Pair] = []
    for name in (part for word in names for part in word.split(",") if part):
        sides = name.split("-")
        if len(sides) != 2 or sides[0] == sides[1] or any(side not in TOWER_OF for side in sides):
            raise ConfigError(f"--pairs {name}: a pair is two of {', '.join(TOWER_OF)} with a hyphen, as text-abc.")
        if overlap(*sides):
            raise ConfigError(f"--pairs {name}: both sides would be the same file.")
        pairs.append((sides[0], sides[1]))
    if len({frozenset(pair) for pair in pairs}) < len(pairs):
        raise ConfigError(f"--pairs names a pair twice: {','.join('-'.join(pair) for pair in pairs)}.")
    return tuple(pairs)


def overlap(one: str, other: str) -> bool:
    """Whether one of the two sides contains the other."""
    return one == other or ("symbolic" in (one, other) and bool({one, other} & set(SYMBOLIC)))


def sides_of(pairs: Collection[Pair]) -> tuple[str, ...]:
    """Return the sides a batch needs: ``symbolic`` becomes abc and mtf where one of them is compared by itself."""
    named = {side for pair in pairs for side in pair}
    if named & set(SYMBOLIC):
        named = named - {"symbolic"} | (set(SYMBOLIC) if "symbolic" in named else set())
    return tuple(side for side in TOWER_OF if side in named)


def towers_of(pairs: Collection[Pair]) -> tuple[str, ...]:
    """Return the towers that the pairs need."""
    return tuple(dict.fromkeys(TOWER_OF[side] for side in sides_of(pairs)))


def music_choices(pairs: Collection[Pair], sides: Collection[str]) -> list[tuple[str, ...]]:
    """Return what a training step may show of a piece that has these sides: two kinds of music, or one.

    Every pair of music that the piece can give, and every side that is compared with text but is in none of them.
    """
    there = [side for side in sides_of(pairs) if side in sides and side != "text"]

    def meant(side: str) -> list[str]:
        return [found for found in there if found == side or (side == "symbolic" and found in SYMBOLIC)]

    doubles = [(a, b) for one, other in pairs if "text" not in (one, other) for a in meant(one) for b in meant(other)]
    covered = {side for double in doubles for side in double}
    with_text = {side for pair in pairs if "text" in pair for part in pair for side in meant(part)}
    return doubles + [(side,) for side in there if side in with_text - covered]
