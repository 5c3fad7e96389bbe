"""Readers under fuzzing: each takes bytes and must return, or raise an error of ours of one short line.

A reader is a function of (folder, bytes) registered by `reader` with seeds: small files made here. To add one, write
it in a module of this folder and import it in ``test_fuzz.py``; ``make fuzz`` runs all of them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clamp3.errors import Clamp3Error

LONGEST = 1000
ODD = [
    None,
    True,
    -1,
    0,
    2**70,
    1.5,
    float("nan"),
    "",
    "\ud800",
    "\0",
    "../x",
    "/x",
    "a" * 300,
    [],
    {},
    [1, [2]],
    {"a": {}},
]


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes
    ----------
    read : callable
        From (empty folder, bytes) to anything.
    seeds : list of bytes
        Files that it reads.
    weight : float
        Share of the inputs it gets; slow readers get fewer.
    """

    name: str
    read: Callable[[Path, bytes], object]
    seeds: list[bytes]
    weight: float = 1.0


READERS: dict[str, Reader] = {}


def reader(*seeds: bytes, weight: float = 1.0):
    """Register a function under its name."""

    def register(function):
        READERS[function.__name__] = Reader(function.__name__, function, list(seeds), weight)
        return function

    return register


def check(one: Reader, folder: Path, data: bytes) -> None:
    """Let a reader read; any escape but one sentence of ours is raised."""
    try:
        one.read(folder, data)
    except Clamp3Error as error:
        text = str(error)
        assert len(text) <= LONGEST and text.isprintable(), repr(text)[:2000]


def mutated(seeds: list[bytes], rng: random.Random) -> bytes:
    """Return a seed with a few changes: of bytes, of lines, or of values where it is JSON."""
    data = rng.choice(seeds)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        data = rng.choice(_CHANGES)(data, rng)
    return data


def _flip(data: bytes, rng: random.Random) -> bytes:
    found = bytearray(data or b"\0")
    for _ in range(rng.choice((1, 1, 4, 32))):
        found[rng.randrange(len(found))] = rng.randrange(256)
    return bytes(found)


def _cut(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] if rng.random() < 0.5 else data[:at] + data[at + rng.choice((1, 7, 100)) :]


def _insert(data: bytes, rng: random.Random) -> bytes:
    at, odd = (
        rng.randrange(len(data) + 1),
        (b"\0", b"\xff\xfe", b"[" * 3000, b'{"a":' * 1500, b"9" * 5000, b"\n", b"NaN", b'"'),
    )
    return data[:at] + rng.choice(odd) + data[at:]


_INSERTED = (b"\0", b"\xff\xfe", b"[" * 3000, b'{"a":' * 1500, b"9" * 5000, b"\n", b"NaN", b'"')


def _swap(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    rng.shuffle(lines)
    return b"\n".join(lines[: rng.randrange(1, len(lines) + 1)])


def _value(data: bytes, rng: random.Random) -> bytes:
    """Replace values inside JSON, of the whole file or of one line."""
    lines = [data] if rng.random() < 0.5 else data.split(b"\n")
    at = rng.randrange(len(lines))
    try:
        value = json.loads(lines[at])
    except (ValueError, RecursionError):
        return _flip(data, rng)
    lines[at] = json.dumps(_changed(value, rng)).encode()
    return b"\n".join(lines)


def _changed(value, rng: random.Random):
    if isinstance(value, (dict, list)) and value and rng.random() < 0.85:
        place = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
        copy = value.copy()
        if rng.random() < 0.2:
            del copy[place]
        else:
            copy[place] = _changed(value[place], rng)
        return copy
    return rng.choice(ODD)


_CHANGES = (_flip, _cut, _insert, _swap, _value, _value, _value)
