"""Errors a person can act on: each message states what is wrong, where, what was found and what to do.

``clamp3.cli.run`` prints the message as one sentence and returns ``exit_code``: 1 where an input
is at fault, 2 where the command, the configuration or the weights are.
"""

from __future__ import annotations

EXIT_OK, EXIT_SOME_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130


class Clamp3Error(Exception):
    """Base of every error raised for a reason outside this code."""

    exit_code = EXIT_SOME_FAILED


class FormatError(Clamp3Error):
    """A file's content is not of its type, or exceeds a stated limit."""


class DataError(Clamp3Error):
    """Arrays, records or feature folders do not fit what was asked of them."""


class ConfigError(Clamp3Error):
    """A flag, a configuration field or a path given by the user cannot be used."""

    exit_code = EXIT_USAGE


class WeightsError(Clamp3Error):
    """Weights or a tokenizer are absent, incomplete, unsafe or of another shape."""

    exit_code = EXIT_USAGE


def printable(name: object, encoding: str | None = None) -> str:
    r"""Return a file name as one line that a terminal can show: control and undecodable characters as escapes.

    Parameters
    ----------
    name : str or path
    encoding : str, optional
        Of the terminal; UTF-8 by default.

    Examples
    --------
    >>> print(printable("two\nlines.abc"))
    two\nlines.abc
    """
    text = str(name)
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return text.encode(encoding or "utf-8", "backslashreplace").decode(encoding or "utf-8")
