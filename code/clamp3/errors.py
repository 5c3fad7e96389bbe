"""Errors a person can act on: each message states what is wrong, where, what was found and what to do.

``clamp3.cli.run`` prints the message as one sentence and returns ``exit_code``: 1 where an input
is at fault, 2 where the command, the configuration or the weights are.
"""

from __future__ import annotations

import errno
import os

MAX_SENTENCE = 300  # characters
EXIT_OK, EXIT_SOME_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130


class Clamp3Error(Exception):
    """Base of every error raised for a reason outside this code; whatever a message quotes, it is one line."""

    exit_code = EXIT_SOME_FAILED
    longest = 1000

    def __str__(self) -> str:
        lines = super().__str__().splitlines()
        return _cut(printable(" ".join(part.strip() for part in lines if part.strip())), self.longest)


class FormatError(Clamp3Error):
    """A file's content is not of its type, or exceeds a stated limit."""

    longest = 300  # other libraries' messages, which may quote the file, are cut


class DataError(Clamp3Error):
    """Arrays, records or feature folders do not fit what was asked of them."""


class ConfigError(Clamp3Error):
    """A flag, a configuration field or a path given by the user cannot be used."""

    exit_code = EXIT_USAGE


class WeightsError(Clamp3Error):
    """Weights or a tokenizer are absent, incomplete, unsafe or of another shape."""

    exit_code = EXIT_USAGE


def describe(error: BaseException) -> str:
    """Return an exception as one sentence: our own errors as they are, bugs with the place they came from.

    Examples
    --------
    >>> describe(FormatError("the file is empty.")), describe(MemoryError())
    ('the file is empty.', 'out of memory')
    """
    if isinstance(error, Clamp3Error):
        return sentence_of(error)
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, OSError) and error.errno is not None:
        return f"{os.strerror(error.errno)} ({errno.errorcode.get(error.errno, error.errno)})"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    import traceback

    place = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" ({os.path.basename(place[0].filename)}:{place[0].lineno})" if place else ""
    text = sentence_of(error, MAX_SENTENCE - 100)
    return f"{type(error).__name__}: {text}{where}" if text else f"{type(error).__name__}{where}"


def sentence_of(what: object, limit: int = MAX_SENTENCE) -> str:
    r"""Return a message, wherever it comes from, as one line for people: short, and without a file's bytes.

    Parameters
    ----------
    what : exception or str
    limit : int
        Most characters.

    Examples
    --------
    >>> print(sentence_of("At line 3:\n  for b'\\xeb\\x12PK' \x1b[31mred"))
    At line 3: for … \x1b[31mred
    """
    try:
        text = str(what)
    except Exception:  # an exception that cannot be written
        return ""
    text = text.partition("Traceback (most recent call last)")[0]
    words = ("…" if word.count("\\x") > 1 else word for word in text[: 20 * limit].split())
    return _cut(printable(" ".join(words)), limit)


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
        text = "".join(c if c.isprintable() or c in _JOINERS else _escaped(c) for c in text)
    return text.encode(encoding or "utf-8", "backslashreplace").decode(encoding or "utf-8")


def distinct_name(path: object) -> str:
    r"""Return a relative path as `printable` shows it, so that no two paths are shown alike.

    Examples
    --------
    >>> print(distinct_name("two\nlines.abc"), distinct_name(r"two\nlines.abc"))
    two\nlines.abc two\\nlines.abc
    """
    text = str(path)
    return printable(text.replace("\\", "\\\\") if os.sep == "/" else text)


def _cut(line: str, longest: int) -> str:
    """Return a line of at most so many characters; what is too much is left out of its middle."""
    tail = longest // 4 + 1
    return line if len(line) <= longest else f"{line[: longest - tail - 3]} … {line[-tail:]}"


_JOINERS = "\u200c\u200d"  # scripts from Persian to Malayalam need them


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
