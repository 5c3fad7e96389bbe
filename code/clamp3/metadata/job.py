"""A job over many items: concurrent and resumable; each item ends as a line, a refusal or a failure with its reason.

Jobs differ in their `Work`; they share flags, dry run, order of events and counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from clamp3.errors import EXIT_OK, EXIT_SOME_FAILED, ConfigError, DataError, FormatError, describe, printable
from clamp3.formats.fields import typed
from clamp3.formats.tables import json_text, parse_json
from clamp3.jobs.ledger import Row
from clamp3.jobs.progress import progress
from clamp3.jobs.summary import SHOWN
from clamp3.metadata.items import Item, list_items
from clamp3.metadata.llm import KEY_VARIABLE, MODEL_VARIABLE, URL_VARIABLE, Chat, Endpoint, Usage
from clamp3.metadata.prompts import Message
from clamp3.metadata.store import Store

if TYPE_CHECKING:
    from pydantic import BaseModel

    Answer = TypeVar("Answer", bound=BaseModel)

_POOLS = "codes or names, or all (100), m4-rag (27, of CLaMP 3), clamp2 (its list of 100); default: %(default)s"
LONGEST_FIELD = 6000  # characters of one metadata field that a prompt shows
NOT_SHOWN = frozenset({"id", "filepaths", "summary_en", "summary_nen", "translations"})


class RefusedError(Exception):
    """An item whose metadata do not support a result; it does not count as a failure and is not tried again."""


@dataclass(frozen=True)
class Conversation:
    """One item's access to the endpoint, with its own token count and its own random waits."""

    chat: Chat
    usage: Usage
    rng: random.Random

    async def ask(self, messages: list[Message], form: type[Answer], check: Callable[[Answer], str]) -> Answer:
        """Return a usable answer; see `Chat.ask`.

        Parameters
        ----------
        messages : list of Message
        form : pydantic model
            Fields of the answer.
        check : callable
            Returns what is wrong with an answer, "" if nothing.
        """
        return await self.chat.ask(messages, form, usage=self.usage, rng=self.rng, check=check)


class Work(Protocol):
    """What a job does with each item."""

    @property
    def task(self) -> str:
        """Prompts and options, without the model; items are processed again if it changes."""
        ...

    def content(self, item: Item) -> str:
        """Return the identity of everything that an item's result depends on."""
        ...

    def preview(self, item: Item, record: Mapping[str, Any]) -> list[Message]:
        """Return the first messages that would be sent.

        Parameters
        ----------
        item : Item
        record : mapping
            The item's object.
        """
        ...

    async def make(
        self, item: Item, record: dict[str, Any], talk: Conversation
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the record to write and its provenance; raise `RefusedError` or `DataError`.

        Parameters
        ----------
        item : Item
        record : dict
            The item's object.
        talk : Conversation
        """
        ...


@dataclass
class Report:
    """What became of the items: ``items == written + done_before + len(refused) + len(failed)``.

    Attributes
    ----------
    cost : float
        In the currency of the prices; 0 without prices.
    """

    items: int = 0
    written: int = 0
    done_before: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    cost: float = 0.0
    seconds: float = 0.0
    output: str = ""


def add_job_flags(parser: argparse.ArgumentParser, languages: str = "all") -> argparse.ArgumentParser:
    """Add the flags that all jobs share.

    Parameters
    ----------
    parser : ArgumentParser
    languages : str
        Preset to draw from by default.
    """
    parser.add_argument("source", type=Path, help="folder of .json files, a single one, or a JSONL")
    parser.add_argument("output", type=Path, help="JSONL to write, or to go on with")
    parser.add_argument("--languages", default=languages, help=_POOLS)
    return add_endpoint_flags(parser)


def add_endpoint_flags(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the flags of everything that asks a language model; `endpoint_of` takes them parsed."""
    default = Endpoint()
    parser.add_argument("--model", default="", help=f"default: ${MODEL_VARIABLE}")
    parser.add_argument("--base_url", default="", help=f"of any OpenAI-compatible API (default: ${URL_VARIABLE})")
    parser.add_argument("--key_variable", default=KEY_VARIABLE, help="environment variable of the key (%(default)s)")
    parser.add_argument("--structured", choices=("json_schema", "json_object"), default=default.structured)
    parser.add_argument("--extra", type=_extra, default={}, help="more of the request, as '{\"temperature\": 0.7}'")
    parser.add_argument("--seed", type=int, default=default.seed, help="of the languages drawn (default: %(default)s)")
    parser.add_argument("--concurrency", type=int, default=default.concurrency, help="default: %(default)s")
    parser.add_argument("--timeout_sec", type=float, default=default.timeout_sec, help="default: %(default)s")
    parser.add_argument("--n_retries", type=int, default=default.n_retries, help="after no answer (%(default)s)")
    parser.add_argument("--n_answers", type=int, default=default.n_answers, help="until a usable one (%(default)s)")
    parser.add_argument("--backoff_sec", type=float, default=default.backoff_sec, help="first wait (%(default)s)")
    parser.add_argument("--price_in", type=float, default=0.0, help="of a million prompt tokens")
    parser.add_argument("--price_out", type=float, default=0.0, help="of a million answer tokens")
    parser.add_argument("--limit", type=int, help="only the first so many items")
    parser.add_argument("--dry_run", action="store_true", help="print the prompts; ask nobody, write nothing")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    return parser


def run_job(args: argparse.Namespace, make_work: Callable[[], Work]) -> int:
    """Run a job as the flags of `add_job_flags` specify; return the exit code.

    Parameters
    ----------
    args : Namespace
        Parsed flags.
    make_work : callable
        Called once the packages of the ``text`` extra are known to be installed.
    """
    need_packages("openai", "pydantic", "py3langid", "pycountry")
    work = make_work()
    items = list_items(args.source)[: args.limit]
    if args.dry_run:
        return preview(work, items)
    report = do_all(work, items, args.output, endpoint_of(args))
    report.cost = cost_of(report.usage, args)
    return show(report, as_json=args.json)


def endpoint_of(args: argparse.Namespace) -> Endpoint:
    """Return the endpoint that the flags of `add_endpoint_flags` name.

    Raises
    ------
    ConfigError
        If a number is below 1 that must not be.
    """
    for name in ("concurrency", "n_answers"):
        if getattr(args, name) < 1:
            raise ConfigError(f"--{name} must be at least 1.")
    return Endpoint(**{name.name: getattr(args, name.name) for name in fields(Endpoint)})


def cost_of(usage: Usage, args: argparse.Namespace) -> float:
    """Return what tokens cost at ``--price_in`` and ``--price_out``.

    Parameters
    ----------
    usage : Usage
    args : Namespace
    """
    return float(usage.prompt_tokens * args.price_in + usage.completion_tokens * args.price_out) / 1e6


def need_packages(*names: str) -> None:
    """Raise `ConfigError` if one of the packages of the ``text`` extra is not installed."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise ConfigError(f"this needs {' and '.join(missing)}: pip install 'clamp3[text]'.")


def preview(work: Work, items: list[Item]) -> int:
    """Print the prompts of all items, the common instructions once; return the exit code.

    Parameters
    ----------
    work : Work
    items : list of Item
    """
    system = ""
    code = EXIT_OK
    for item in items:
        try:
            messages = work.preview(item, item.load())
        except (RefusedError, FormatError, DataError) as error:
            code = code if isinstance(error, RefusedError) else EXIT_SOME_FAILED
            print(f"--- {printable(item.name)}: no request: {error}\n")
            continue
        if messages[0]["content"] != system:
            system = messages[0]["content"]
            print(f"--- system\n{system}\n")
        print(f"--- {printable(item.name)}\n{messages[1]['content']}\n")
    return code


def do_all(work: Work, items: list[Item], output: Path, endpoint: Endpoint) -> Report:
    """Process all items that are not done yet.

    Parameters
    ----------
    work : Work
    items : list of Item
    output : Path
        The JSONL.
    endpoint : Endpoint

    Raises
    ------
    ConfigError
        If the endpoint or the output cannot be used.
    Clamp3Error
        If the endpoint stops answering; what is done is kept.
    """
    started = time.monotonic()
    _ = endpoint.key, endpoint.address  # if missing or malformed, fails before any file is written
    report = Report(items=len(items), output=str(output))
    task = f"{work.task} {endpoint.model_name} {json.dumps(dict(endpoint.extra), sort_keys=True)}"
    with Store(output, [item.name for item in items]) as store:
        waiting = []
        for item in items:
            content = work.content(item)
            if store.done(item, content, task) is not None:
                report.done_before += 1
            elif other := store.foreign(item):
                reason = f"its line was made from {other}; give another output file."
                row = Row(item.name, "failed", sha256=content, task=task, root=str(item.path))
                store.reject(row, "failed", reason, foreign=True)
                report.failed.append((item.name, reason))
            else:
                waiting.append(item)
        with progress(len(waiting), "asking") as advance:
            job = _Job(work, store, report, endpoint, task, advance)
            asyncio.run(job.run(waiting))
    report.failed.sort()
    report.refused.sort()
    report.seconds = time.monotonic() - started
    return report


def show(report: Report, *, as_json: bool) -> int:
    """Print a report on stdout; return 0, or 1 if items failed.

    Parameters
    ----------
    report : Report
    as_json : bool
        As JSON instead of text.
    """
    if as_json:
        print(json_text(asdict(report) | {"seconds": round(report.seconds, 3)}))
        return EXIT_SOME_FAILED if report.failed else EXIT_OK
    usage = report.usage
    lines = [
        f"{report.written} written, {report.done_before} done before, {len(report.refused)} refused, "
        f"{len(report.failed)} failed, of {report.items}, in {report.seconds:.1f} s; {report.output}",
        f"{usage.requests} answers, {usage.prompt_tokens} + {usage.completion_tokens} tokens"
        + (f", cost {report.cost:.4f}" if report.cost else ""),
    ]
    for word, rows in (("refused", report.refused), ("failed", report.failed)):
        lines += [f"  {word}: {name}: {reason}" for name, reason in rows[:SHOWN]]
        if len(rows) > SHOWN:
            lines.append(f"  ... and {len(rows) - SHOWN} more, see the ledger")
    for line in lines:
        print(printable(line, sys.stdout.encoding))
    return EXIT_SOME_FAILED if report.failed else EXIT_OK


def shown(record: Mapping[str, Any]) -> str:
    """Return the metadata of a record for a prompt: without paths and earlier answers, long fields truncated."""

    def cut(value: Any) -> Any:
        if isinstance(value, str) and len(value) > LONGEST_FIELD:
            return value[:LONGEST_FIELD] + "…"
        return [cut(part) for part in value] if isinstance(value, list) else value

    kept = {name: cut(value) for name, value in record.items() if name not in NOT_SHOWN and value not in ("", [], None)}
    return json.dumps(kept, ensure_ascii=False, indent=1)


@dataclass
class _Job:
    work: Work
    store: Store
    report: Report
    endpoint: Endpoint
    task: str
    advance: Callable[[int], object]

    async def run(self, items: list[Item]) -> None:
        turns = iter(items)
        async with Chat(self.endpoint) as chat:
            workers = [asyncio.create_task(self._serve(turns, chat)) for _ in range(self.endpoint.concurrency)]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def _serve(self, turns: Iterator[Item], chat: Chat) -> None:
        for item in turns:
            await self._do(item, chat)
            self.advance(1)

    async def _do(self, item: Item, chat: Chat) -> None:
        started = time.monotonic()
        rng = random.Random(f"{self.endpoint.seed}/{item.name}")
        talk = Conversation(chat, Usage(), rng)
        made, reason, refused = None, "", False
        try:
            made = await self.work.make(item, item.load(), talk)
        except RefusedError as error:
            reason, refused = str(error), True
        except (DataError, FormatError) as error:
            reason = str(error)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:  # a bug
            reason = describe(error)
        usage = talk.usage
        self.report.usage.add(usage)
        notes = (f"{usage.requests} answers, {usage.prompt_tokens} + {usage.completion_tokens} tokens",)
        content, seconds = self.work.content(item), round(time.monotonic() - started, 3)
        row = Row(item.name, "ok", seconds=seconds, sha256=content, task=self.task, root=str(item.path), notes=notes)
        if made is not None:
            record, provenance = made
            model = {"model": self.endpoint.model_name, "endpoint": self.endpoint.address}
            self.store.keep(row, record, {**model, **provenance, **asdict(usage)})
            self.report.written += 1
        elif refused:
            self.store.reject(row, "skipped", reason)
            self.report.refused.append((item.name, reason))
        else:
            self.store.reject(row, "failed", reason)
            self.report.failed.append((item.name, reason))


def _extra(text: str) -> dict[str, Any]:
    value = _object(text)
    if value.keys() & {"extra_headers", "extra_query"}:  # keys would be in there, and the ledger stores every setting
        raise argparse.ArgumentTypeError("headers and addresses are not taken: the key belongs into the environment")
    return value


def _object(text: str) -> dict[str, Any]:
    try:
        return typed(dict[str, Any], parse_json(text.encode("utf-8", "replace"), strict=True))
    except FormatError:
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON object") from None
