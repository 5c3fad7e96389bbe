"""Web search results about a piece: saved ones, those of a command, or of an HTTP endpoint.

A result is a string, or an object with ``title``, ``url`` and its text under ``text``, ``content``, ``snippet`` or
``body``; a list of results is the whole value, or under ``results`` (as in SearXNG). All of it is text from third
parties: it is truncated, and given to the model as material only.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from clamp3.errors import ConfigError, DataError, FormatError, printable, sentence_of
from clamp3.formats.tables import lines_in, parse_json, read_json
from clamp3.metadata.items import files_below, parse
from clamp3.metadata.web import MAX_ANSWER_BYTES, check_url, get

N_RESULTS = 10  # as in the paper
LONGEST_RESULT = 3000  # characters

# The argument before: what follows is a program's text.
_RUNS_TEXT = re.compile(r"-[a-z]*[ce]|--(eval|command|execute|exec|print)|/[ck]|-(encoded)?command", re.IGNORECASE)
_RUNS_ARGUMENTS = frozenset({"ssh", "rsh", "su", "eval", "watch", "parallel", "script", "sshpass"})


@dataclass(frozen=True)
class Result:
    """One search result."""

    title: str
    url: str
    text: str


class Search(Protocol):
    """A source of results."""

    identity: str

    async def find(self, names: tuple[str, ...], query: str) -> list[Result]:
        """Return at most `N_RESULTS` results; raise `DataError` if the search fails.

        Parameters
        ----------
        names : tuple of str
            Names of the item, the most specific first.
        query : str
            What to search for.
        """


class SavedResults:
    """Results saved on the disk.

    Parameters
    ----------
    path : Path
        A JSONL of ``{"id" | "title" | "query": …, "results": […]}``, or a folder of ``<name>.json``.

    Raises
    ------
    ConfigError
        If there are none, or a file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.identity = "saved"
        self._results: dict[str, list[Result]] = {}
        if path.suffix.lower() == ".jsonl":
            self._read_lines(path)
        else:
            files, problems = files_below(path, [".json"])
            for problem in problems:
                raise ConfigError(f"{printable(problem.name)}: {problem.problem}.")
            for name in files:
                try:
                    value = read_json(path / name if path.is_dir() else path)
                except FormatError as error:
                    raise ConfigError(str(error)) from None
                self._results[_key(name.with_suffix("").as_posix())] = results_of(value)
        if not self._results:
            raise ConfigError(f"{printable(path)} holds no search results; give a JSONL or a folder of .json files.")

    def _read_lines(self, path: Path) -> None:
        for number, (_, line) in enumerate(lines_in(path), 1):
            if not line.strip():
                continue
            try:
                row = parse(line)
            except FormatError as error:
                raise ConfigError(f"{printable(path)}, line {number}: {error}.") from None
            names = [row[name] for name in ("id", "title", "query") if isinstance(row.get(name), str | int)]
            names = names[:1] if "id" in row else names  # another piece may have the same title
            if not names:
                raise ConfigError(f"{printable(path)}, line {number} names no id, title or query.")
            for name in names:
                self._results.setdefault(_key(str(name)), results_of(row))

    def of(self, names: tuple[str, ...]) -> list[Result]:
        """Return the results of the first name that has some."""
        return next((self._results[_key(name)] for name in names if _key(name) in self._results), [])

    async def find(self, names: tuple[str, ...], query: str) -> list[Result]:
        """Return what is saved under the first of an item's names, or under the query; see `Search.find`."""
        return self.of((*names, query))


class SearchCommand:
    """A program that prints JSON; started without a shell, with the query as an argument or on standard input.

    Parameters
    ----------
    command : str
        Split as by a shell, but not run by one. The query takes the place of an argument ``{query}`` or
        ``--name={query}``, without leading dashes, so that it cannot be a flag; without such an argument the program
        reads it from its standard input. It is never put into a program's text: ``sh -c "find {query}"`` is refused.
    timeout_sec : float

    Raises
    ------
    ConfigError
        If the command cannot be split, or has ``{query}`` where a shell or an interpreter would run it.
    """

    def __init__(self, command: str, timeout_sec: float) -> None:
        try:
            self._arguments = shlex.split(command)
        except ValueError as error:
            raise ConfigError(f"--search_command {command!r} cannot be split: {error}.") from None
        if not self._arguments:
            raise ConfigError("--search_command names no program.")
        for before, argument in zip(["", *self._arguments], self._arguments, strict=False):
            alone = re.fullmatch(r"(--?[\w-]+=)?\{query\}", argument)
            if "{query}" in argument and (not alone or not before or _RUNS_TEXT.fullmatch(before)):
                raise ConfigError(
                    "--search_command takes {query} as an argument of its own, not inside a text that is run: "
                    'write "find.py {query}", or read standard input.'
                )
        if any("{query}" in argument for argument in self._arguments) and _RUNS_ARGUMENTS & {
            PurePath(argument).name for argument in self._arguments
        }:
            raise ConfigError("--search_command hands {query} to a program that runs it; read standard input instead.")
        self._timeout_sec = timeout_sec
        self.identity = "command"

    async def find(self, names: tuple[str, ...], query: str) -> list[Result]:
        """Run the program and read what it prints; see `Search.find`."""
        return await asyncio.to_thread(self._run, query.lstrip("- "))

    def _run(self, query: str) -> list[Result]:
        arguments = [argument.replace("{query}", query) for argument in self._arguments]
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as errors:
            if arguments == self._arguments:
                given.write(query.encode("utf-8", "replace") + b"\n")
                given.seek(0)
            try:
                program = subprocess.Popen(  # noqa: S603 - a list, no shell
                    arguments, stdin=given, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
                )
            except (OSError, ValueError) as error:
                raise DataError(f"the search cannot be started: {sentence_of(error)}") from None
            late = threading.Event()

            def stop() -> None:
                late.set()
                _end(program)

            timer = threading.Timer(self._timeout_sec, stop)
            timer.start()
            try:
                assert program.stdout is not None
                data = program.stdout.read(MAX_ANSWER_BYTES + 1)
                if len(data) > MAX_ANSWER_BYTES:
                    raise DataError(f"the search answered with more than {MAX_ANSWER_BYTES >> 20} MiB")
                code = program.wait()
            finally:
                timer.cancel()
                _end(program)
                program.wait()
                program.stdout.close()  # type: ignore[union-attr]
            if late.is_set():
                raise DataError(f"the search took longer than {self._timeout_sec:g} s")
            if code:
                errors.seek(max(0, errors.seek(0, 2) - 1000))
                said = sentence_of(errors.read().decode("utf-8", "replace"))
                raise DataError(f"the search ended with code {code}: {said}")
        return results_of(_json(data, "the search"))


class SearchURL:
    """An HTTP endpoint that answers a GET with JSON, such as SearXNG.

    Parameters
    ----------
    url : str
        With ``{query}`` in it.
    timeout_sec : float
    """

    def __init__(self, url: str, timeout_sec: float) -> None:
        if not url.startswith(("http://", "https://")) or "{query}" not in url:
            raise ConfigError(f"--search_url {url!r} must begin with http and have {{query}} in it.")
        check_url(url.replace("{query}", "query"), "--search_url")
        if "{query}" in urlsplit(url).netloc:
            raise ConfigError(f"--search_url {url!r} has {{query}} in the name of the server.")
        self._url, self._timeout_sec = url, timeout_sec
        self.identity = "url"

    async def find(self, names: tuple[str, ...], query: str) -> list[Result]:
        """Send the request and read the answer; see `Search.find`."""
        return await asyncio.to_thread(self._get, query)

    def _get(self, query: str) -> list[Result]:
        url = self._url.replace("{query}", quote(query, safe="", errors="replace"))
        return results_of(_json(get(url, self._timeout_sec), "the search"))


def open_search(saved: Path | None, command: str | None, url: str | None, timeout_sec: float) -> Search:
    """Return the one source of results that the flags name.

    Parameters
    ----------
    saved : Path or None
    command, url : str or None
        The first that is not None of the three is taken.
    timeout_sec : float
        For a command or an endpoint.
    """
    if saved is not None:
        return SavedResults(saved)
    return SearchCommand(command, timeout_sec) if command is not None else SearchURL(url or "", timeout_sec)


def results_of(value: Any) -> list[Result]:
    """Return the results in a JSON value, without those that have no text or repeat one."""
    rows = value.get("results") if isinstance(value, dict) else value
    found: dict[str, Result] = {}
    for row in rows if isinstance(rows, list) else []:
        fields: Mapping[str, Any] = row if isinstance(row, dict) else {"text": row}
        text = next((fields[key] for key in ("text", "content", "snippet", "body") if _is_text(fields.get(key))), "")
        if text:
            title, url = (str(fields.get(key) or "") for key in ("title", "url"))
            text = "\n".join(line.strip() for line in text.split("\n") if line.strip())[:LONGEST_RESULT]
            found.setdefault(text, Result(" ".join(title.split())[:200], url[:500], text))
    return list(found.values())[:N_RESULTS]


def numbered(results: list[Result]) -> str:
    """Return results as a prompt shows them."""
    return "\n\n".join(f"[{i}] {result.title}\n{result.url}\n{result.text}" for i, result in enumerate(results, 1))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _end(program: subprocess.Popen[bytes]) -> None:
    """End a program and what it has started."""
    with contextlib.suppress(OSError):
        if os.name == "posix":
            os.killpg(program.pid, signal.SIGKILL)
        else:
            program.kill()


def _key(name: str) -> str:
    return " ".join(name.casefold().split())


def _json(data: bytes, whose: str) -> Any:
    try:
        return parse_json(data)
    except FormatError:
        raise DataError(f"{whose}: the answer is not JSON") from None
