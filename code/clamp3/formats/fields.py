"""Typed fields: values from JSON checked against a type before anything uses them.

A dataclass says what a file of ours holds; `typed` returns the value with that type or a `FormatError`. Plain checks
of the standard library's types are enough here, and they keep what JSON keeps: file names with undecodable bytes, which
stricter decoders refuse.
"""

from __future__ import annotations

import functools
import json
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from clamp3.errors import FormatError, sentence_of

_Check = Callable[[Any], Any]
_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}


def typed(kind: Any, value: Any, place: str = "it") -> Any:
    """Return a JSON value as a type: lists become tuples where tuples are wanted, objects dataclasses.

    Parameters
    ----------
    kind : type
        ``str``, ``int``, ``float`` (finite), ``bool``, ``None``, ``Any``, ``Literal``, unions, ``tuple[X, ...]``,
        ``list[X]``, ``dict[str, X]``, or a dataclass of such fields. Fields that a dataclass does not have are left
        out: a later version may have written them; null is a field's default, if it has one.
    value : object
        From `clamp3.formats.tables.parse_json`.
    place : str
        How messages call the value.

    Raises
    ------
    FormatError
        With the field that does not fit.

    Examples
    --------
    >>> typed(tuple[int, ...], [3, 4], "sizes")
    (3, 4)
    """
    try:
        return _check_of(kind)(value)
    except _MisfitError as error:
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in reversed(error.path))
        named = f"{place}: {where.removeprefix('.')}" if where else place
        raise FormatError(f"{named} {error.problem}.") from None


class _MisfitError(Exception):
    """A value that does not fit, and the way to it, from the inside out."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem, self.path = problem, list[Any]()


def _is_not(value: Any, wanted: str) -> _MisfitError:
    plain = isinstance(value, str | int | float | None)
    shown = (
        sentence_of(json.dumps(value), 40) if plain else "a list" if isinstance(value, list | tuple) else "an object"
    )
    return _MisfitError(f"is {shown}, not {wanted}")


@functools.cache
def _check_of(kind: Any) -> _Check:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return lambda value: value
    if kind in (str, int, bool, type(None), None):
        return _plain(kind)
    if kind is float:
        return _number
    if origin is Literal:
        return _literal(arguments)
    if origin in (Union, types.UnionType):
        return _union(tuple(map(_check_of, arguments)), " or ".join(_NAMES.get(kind, "a record") for kind in arguments))
    if origin in (tuple, list):
        return _sequence(origin, _check_of(arguments[0]))
    if origin in (dict, Mapping):
        return _mapping(_check_of(arguments[1]))
    if is_dataclass(kind):
        return _record(kind)
    raise TypeError(f"{kind} is no type of a JSON value")


def _plain(kind: Any) -> _Check:
    kind = type(None) if kind is None else kind

    def check(value: Any) -> Any:
        if type(value) is not kind:  # True is no number here
            raise _is_not(value, _NAMES[kind])
        return value

    return check


def _number(value: Any) -> float:
    if type(value) is float and math.isfinite(value):
        return value
    if type(value) is int and abs(value) < 1 << 1000:
        return float(value)
    raise _is_not(value, _NAMES[float])


def _literal(choices: tuple[Any, ...]) -> _Check:
    def check(value: Any) -> Any:
        if isinstance(value, str | int | None) and value in choices:
            return value
        raise _is_not(value, f"one of {', '.join(map(str, choices))}")

    return check


def _union(checks: tuple[_Check, ...], wanted: str) -> _Check:
    def check(value: Any) -> Any:
        for one in checks:
            try:
                return one(value)
            except _MisfitError as error:
                deeper = error
        raise deeper if deeper.path else _is_not(value, wanted)

    return check


def _sequence(kind: type[list[Any]] | type[tuple[Any, ...]], each: _Check) -> _Check:
    def check(value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise _is_not(value, "a list")
        found = []
        for index, part in enumerate(value):
            try:
                found.append(each(part))
            except _MisfitError as error:
                error.path.append(index)
                raise
        return kind(found)

    return check


def _mapping(each: _Check) -> _Check:
    def check(value: Any) -> Any:
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            raise _is_not(value, "an object")
        return {name: _at(name, each, part) for name, part in value.items()}

    return check


def _record(kind: Any) -> _Check:
    hints = get_type_hints(kind)
    checks = {field.name: _check_of(hints[field.name]) for field in fields(kind) if field.init}
    needed = {f.name for f in fields(kind) if f.init and f.default is MISSING and f.default_factory is MISSING}

    def check(value: Any) -> Any:
        if type(value) is kind:
            return value
        if not isinstance(value, Mapping):
            raise _is_not(value, "an object")
        if not needed <= value.keys():
            raise _MisfitError(f"lacks {', '.join(sorted(needed - value.keys()))}")
        given = {name for name in checks if name in value and (name in needed or value[name] is not None)}
        return kind(**{name: _at(name, one, value[name]) for name, one in checks.items() if name in given})

    return check


def _at(name: str, check: _Check, value: Any) -> Any:
    try:
        return check(value)
    except _MisfitError as error:
        error.path.append(sentence_of(name, 40))
        raise
