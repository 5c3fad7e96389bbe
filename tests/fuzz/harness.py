"""Readers under fuzzing: each takes bytes and must return, or raise an error of ours of one short line.

A reader is a function of (folder, bytes) registered by `reader` with seeds: small files made here. To add one, write
it in one of the `MODULES`; ``make test`` and ``make fuzz`` run all of them.
"""

from __future__ import annotations

import importlib
import json
import random
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clamp3.errors import Clamp3Error

LONGEST, LARGEST = 1000, 30_000  # characters of a message, bytes of a damaged file
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
MODULES = ("readers", "music")


def all_readers() -> dict[str, Reader]:
    """Return every reader, by name."""
    for module in MODULES:
        importlib.import_module(module)
    return READERS


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


def read(one: Reader, data: bytes) -> None:
    """Let a reader read in a folder of its own, as `check` does."""
    folder = Path(tempfile.mkdtemp(prefix="clamp3-fuzz-"))
    try:
        check(one, folder, data)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def mutated(seeds: list[bytes], rng: random.Random) -> bytes:
    """Return a seed with a few changes: of bytes, of lines, of numbers, or of values where it is JSON."""
    data = rng.choice(seeds)
    changes = _CHANGES + (_value,) * 3 if data[:1] in (b"{", b"[") else (*_CHANGES, _number, _repeat)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        data = _splice(data, rng, seeds) if rng.random() < 0.05 else rng.choice(changes)(data, rng)
    return data[: max(LARGEST, max(map(len, seeds)))]  # what is larger may take longer, by the limits of conversions


def _flip(data: bytes, rng: random.Random) -> bytes:
    found = bytearray(data or b"\0")
    for _ in range(rng.choice((1, 1, 4, 32))):
        found[rng.randrange(len(found))] = rng.randrange(256)
    return bytes(found)


def _cut(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] if rng.random() < 0.5 else data[:at] + data[at + rng.choice((1, 7, 100)) :]


def _insert(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(_INSERTED) + data[at:]


_INSERTED = (
    b"\0",
    b"\xff\xfe",
    b"[" * 3000,
    b'{"a":' * 1500,
    b"9" * 5000,
    b"\n",
    b"NaN",
    b'"',
    b"<",
    b"|",
    b"-1",
    b"]",
)


def _swap(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    rng.shuffle(lines)
    return b"\n".join(lines[: rng.randrange(1, len(lines) + 1)])


def _number(data: bytes, rng: random.Random) -> bytes:
    """Replace a number in a text."""
    found = [match.span() for match in re.finditer(rb"\d+", data)]
    if not found:
        return _flip(data, rng)
    start, end = rng.choice(found)
    return data[:start] + rng.choice(_NUMBERS) + data[end:]


_NUMBERS = (
    b"0",
    b"-1",
    b"1",
    b"3",
    b"127",
    b"1000",
    b"65536",
    b"99999999",
    b"9" * 30,
    b"1e9",
    b"0.1",
    b"1/0",
    b"",
    b"x",
)


def _repeat(data: bytes, rng: random.Random) -> bytes:
    """Write a part of the file many times."""
    start = rng.randrange(len(data) + 1)
    end = start + rng.choice((1, 4, 40, 400))
    return data[:start] + data[start:end] * rng.choice((2, 10, 200)) + data[end:]


def _splice(data: bytes, rng: random.Random, seeds: list[bytes]) -> bytes:
    other = rng.choice(seeds)
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


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


_CHANGES = (_flip, _cut, _insert, _swap)
