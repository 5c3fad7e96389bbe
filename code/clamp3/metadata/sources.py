"""Web search results about a piece: saved ones, those of a command, or of an HTTP endpoint.

A result is a string, or an object with ``title``, ``url`` and its text under ``text``, ``content``, ``snippet`` or
``body``; a list of results is the whole value, or under ``results`` (as in SearXNG). All of it is text from third
parties: it is truncated, and given to the model as material only.
"""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from clamp3.errors import ConfigError, DataError, FormatError, printable
from clamp3.formats.tables import lines_in, parse_json
from clamp3.metadata.items import files_below, parse

N_RESULTS = 10  # as in the paper
LONGEST_RESULT = 3000  # characters
MAX_ANSWER_BYTES = 8 * 2**20


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
                value = _json((path / name if path.is_dir() else path).read_bytes(), printable(name))
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
    """A program that prints JSON; started without a shell, with the query in place of ``{query}`` in its arguments.

    Parameters
    ----------
    command : str
        Split as by a shell, but not run by one. Leading dashes of a query are removed, so that it cannot be a flag.
    timeout_sec : float
    """

    def __init__(self, command: str, timeout_sec: float) -> None:
        try:
            self._arguments = shlex.split(command)
        except ValueError as error:
            raise ConfigError(f"--search_command {command!r} cannot be split: {error}.") from None
        if not any("{query}" in argument for argument in self._arguments[1:]):
            raise ConfigError('--search_command must have {query} among its arguments, as in "find.py {query}".')
        self._timeout_sec = timeout_sec
        self.identity = "command"

    async def find(self, names: tuple[str, ...], query: str) -> list[Result]:
        """Run the program and read what it prints; see `Search.find`."""
        return await asyncio.to_thread(self._run, query.lstrip("- "))

    def _run(self, query: str) -> list[Result]:
        arguments = [argument.replace("{query}", query) for argument in self._arguments]
        try:
            done = subprocess.run(  # noqa: S603 - a list, no shell
                arguments, stdin=subprocess.DEVNULL, capture_output=True, timeout=self._timeout_sec, check=False
            )
        except subprocess.TimeoutExpired:
            raise DataError(f"the search took longer than {self._timeout_sec:g} s") from None
        except (OSError, ValueError) as error:
            raise DataError(f"the search cannot be started: {error}") from None
        if done.returncode:
            said = " ".join(done.stderr.decode("utf-8", "replace").split())[-200:]
            raise DataError(f"the search ended with code {done.returncode}: {said}")
        return results_of(_json(done.stdout, "the search"))


class SearchURL:
    """An HTTP endpoint that answers a GET with JSON, such as SearXNG.

    Parameters
    ----------
    url : str
        With ``{query}`` in it.
    timeout_sec : float
    """

    def __init__(self, url: str, timeout_sec: float) -> None:
        if urlsplit(url).scheme not in ("http", "https") or "{query}" not in url:
            raise ConfigError(f"--search_url {url!r} must begin with http and have {{query}} in it.")
        self._url, self._timeout_sec = url, timeout_sec
        self.identity = "url"

    async def find(self, names: tuple[str, ...], query: str) -> list[Result]:
        """Send the request and read the answer; see `Search.find`."""
        return await asyncio.to_thread(self._get, query)

    def _get(self, query: str) -> list[Result]:
        from http.client import HTTPException
        from urllib.request import Request, urlopen

        url = self._url.replace("{query}", quote(query, safe=""))
        request = Request(url, headers={"Accept": "application/json", "User-Agent": "clamp3"})  # noqa: S310 - http(s)
        try:
            with urlopen(request, timeout=self._timeout_sec) as answer:  # noqa: S310 - scheme checked above
                data = answer.read(MAX_ANSWER_BYTES + 1)
        except (OSError, ValueError, HTTPException) as error:  # what urllib and sockets raise
            raise DataError(f"the search failed: {error}") from None
        if len(data) > MAX_ANSWER_BYTES:
            raise DataError("the search answered with more than 8 MiB")
        return results_of(_json(data, "the search"))


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
            text = re.sub(r"\s*\n\s*", "\n", text.strip())[:LONGEST_RESULT]
            found.setdefault(text, Result(" ".join(title.split())[:200], url[:500], text))
    return list(found.values())[:N_RESULTS]


def numbered(results: list[Result]) -> str:
    """Return results as a prompt shows them."""
    return "\n\n".join(f"[{i}] {result.title}\n{result.url}\n{result.text}" for i, result in enumerate(results, 1))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _key(name: str) -> str:
    return " ".join(name.casefold().split())


def _json(data: bytes, whose: str) -> Any:
    try:
        return parse_json(data)
    except FormatError:
        raise DataError(f"{whose}: the answer is not JSON") from None
