"""The command line of a training script: one flag for every field of its settings, and settings from parsed flags."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from clamp3.training.config import RunConfig
from clamp3.training.config_file import file_settings, value_of

Config = TypeVar("Config", bound=RunConfig)


def _note(namespace: argparse.Namespace, name: str) -> None:
    namespace.given = frozenset(getattr(namespace, "given", ())) | {name}


class _Value(argparse.Action):
    """Store a value, and that it was given: what a preset or a checkpoint brings must not replace it."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        setattr(namespace, self.dest, values)
        _note(namespace, self.dest)


class _Switch(argparse.BooleanOptionalAction):
    """``--name`` and ``--no-name``, noted like `_Value`."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        super().__call__(parser, namespace, values, option_string)
        _note(namespace, self.dest)


def _base_type(annotation: Any) -> tuple[Any, bool]:
    """Return the plain type of a field and whether it takes several values."""
    if typing.get_origin(annotation) is tuple:
        return typing.get_args(annotation)[0], True
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return next(part for part in typing.get_args(annotation) if part is not type(None)), False
    return annotation, False


def _in_help_order(config: type[RunConfig]) -> list[dataclasses.Field[Any]]:
    """Return the fields in the order of their classes; ``init`` stands among those of the class that describes it."""
    names: dict[str, None] = {}
    for kind in reversed(config.__mro__[:-1]):
        for name in inspect.get_annotations(kind):
            if name == "init":
                names.pop(name, None)
            names.setdefault(name)
    fields = {item.name: item for item in dataclasses.fields(config)}
    return [fields[name] for name in names if name in fields]


def add_flags(parser: argparse.ArgumentParser, config: type[RunConfig], file: Any = None) -> argparse.ArgumentParser:
    """Give the parser one flag per field; defaults come from ``file`` where it has the released name.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    config : type
        ``M3Training`` or ``Clamp3Training``.
    file : module, optional
        ``code/config.py``.

    Returns
    -------
    argparse.ArgumentParser
        The same parser; it parses to a namespace whose ``given`` names the fields that the command line sets.
    """
    hints = typing.get_type_hints(config)
    if file is not None:
        parser.epilog = "Defaults come from code/config.py."
    settings = file_settings(file, config.prefix, config.modality if config.prefix == "CLAMP3" else "")
    parser.set_defaults(file_settings=settings, given=frozenset())
    for item in _in_help_order(config):
        kind, several = _base_type(hints[item.name])
        default = item.default_factory() if item.default_factory is not dataclasses.MISSING else item.default
        found = settings.defaults.get(item.name, value_of(file, item.metadata["names"]))
        default = default if found is None else found
        about = f"{item.metadata['help']} (default: {'none' if default in (None, (), []) else default})"
        about = about.replace("%", "%%")
        if kind is bool:
            parser.add_argument(f"--{item.name}", action=_Switch, default=default, help=about)
        elif several:
            parser.add_argument(f"--{item.name}", action=_Value, type=kind, nargs="+", default=default, help=about)
        else:
            choices = item.metadata["choices"]
            parser.add_argument(
                f"--{item.name}", action=_Value, type=kind, default=default, choices=choices, help=about
            )
    return parser


def from_flags(config: type[Config], args: argparse.Namespace) -> Config:
    """Build the validated configuration from parsed flags.

    Parameters
    ----------
    config : type
        ``M3Training`` or ``Clamp3Training``.
    args : argparse.Namespace
        With the flags of `add_flags`.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """
    hints = typing.get_type_hints(config)
    values: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        kind, several = _base_type(hints[item.name])
        value = getattr(args, item.name)
        if several:
            values[item.name] = tuple(kind(part) for part in value or () if str(part))
        elif value is None or (kind is Path and str(value) in ("", ".")):
            values[item.name] = None  # an empty path in config.py means "none"
        else:
            values[item.name] = value if isinstance(value, kind) else kind(value)
    return config(**values)
