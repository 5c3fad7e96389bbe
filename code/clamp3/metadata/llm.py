"""Requests to a language model behind any OpenAI-compatible endpoint, until the answer has the requested form.

Two kinds of errors are handled differently. Those of the endpoint (no connection, time-out, 429, 5xx): the same request
is repeated with exponential backoff, or after ``Retry-After``, for which all requests wait. Those of the answer (not
JSON, missing fields, the wrong language): the error is sent to the model with a new request, a few times. If that does
not help, the item fails with the reason; after many failures in a row the job stops.

The key is read from the environment when the connection is made. It is never part of the configuration, and it is
removed from the endpoint's answers before they are shown or stored.
"""

from __future__ import annotations

import asyncio
import email.utils
import os
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from clamp3.errors import Clamp3Error, ConfigError, DataError
from clamp3.metadata.prompts import AGAIN, Message
from clamp3.metadata.web import RefusedAnswerError, check_url, echoes, guard

if TYPE_CHECKING:
    from pydantic import BaseModel

    Answer = TypeVar("Answer", bound=BaseModel)

KEY_VARIABLE, URL_VARIABLE, MODEL_VARIABLE = "OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL"
LONGEST_WAIT_SEC = 600.0  # the job stops if a server asks for more
GROWTH_LIMIT_SEC = 60.0
SHORTEST_KEY = 8  # a shorter one, such as "none" for a local server, is no secret and may occur in any text


@dataclass(frozen=True)
class Endpoint:
    """Which model, at which address, with which retries.

    Attributes
    ----------
    model, base_url : str
        Empty: from OPENAI_MODEL and OPENAI_BASE_URL; without the latter, OpenAI itself.
    key_variable : str
        Name of the environment variable that holds the key.
    structured : str
        "json_schema" lets the server enforce the form; "json_object" asks for JSON only and puts the schema into the
        prompt, for servers without schemas.
    n_retries : int
        Further requests after one without an answer.
    n_answers : int
        Most answers requested until one is usable.
    backoff_sec : float
        First wait; it doubles each time.
    extra : mapping
        Further fields of the request, such as ``{"temperature": 0.7}``.
    seed : int
        Of the waits.
    """

    model: str = ""
    base_url: str = ""
    key_variable: str = KEY_VARIABLE
    structured: str = "json_schema"
    timeout_sec: float = 120.0
    n_retries: int = 6
    n_answers: int = 3
    backoff_sec: float = 1.0
    extra: Mapping[str, Any] = field(default_factory=dict)
    concurrency: int = 8
    seed: int = 42

    @property
    def model_name(self) -> str:
        """Return the name of the model.

        Raises
        ------
        ConfigError
            If neither flag nor environment names one.
        """
        name = self.model or os.environ.get(MODEL_VARIABLE, "")
        if not name:
            raise ConfigError(f"which model? Name it with --model or in {MODEL_VARIABLE}.")
        return name

    @property
    def key(self) -> str:
        """Return the key that the environment holds now, "" for an endpoint that may need none.

        Raises
        ------
        ConfigError
            If there is none and the endpoint is OpenAI's.
        """
        key = os.environ.get(self.key_variable, "").strip()
        if not key.isascii() or not key.isprintable() or " " in key:  # a later error would quote it
            raise ConfigError(f"the environment variable {self.key_variable} holds more than one key, or none at all.")
        if not key and not (self.base_url or os.environ.get(URL_VARIABLE)):
            raise ConfigError(
                f"no key: put it into the environment variable {self.key_variable}, or name an endpoint that needs "
                "none with --base_url."
            )
        return key

    @property
    def address(self) -> str:
        """Return the endpoint's URL without user, password and query, to print and store.

        Raises
        ------
        ConfigError
            If it is no address.
        """
        named = self.base_url or os.environ.get(URL_VARIABLE, "")
        parts = urlsplit(check_url(named or "https://api.openai.com/v1", "the endpoint"))
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


@dataclass
class Usage:
    """Number of answered requests, and the tokens that the endpoint reports for them."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, other: Usage) -> None:
        """Add another count to this one."""
        self.requests += other.requests
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens


class Chat:
    """A connection to an endpoint; ``async with Chat(endpoint) as chat``.

    Raises
    ------
    ConfigError
        On entering, if a key is missing.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._client: Any = None
        self._key = ""
        self._echoes: re.Pattern[str] | None = None
        self._resume_at = 0.0
        self._succeeded = False
        self._failed_in_a_row = 0

    async def __aenter__(self) -> Chat:
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        base_url = self.endpoint.base_url or os.environ.get(URL_VARIABLE) or None
        self._key, _ = self.endpoint.key, self.endpoint.address  # both are checked
        self._echoes = echoes(self._key) if len(self._key) >= SHORTEST_KEY else None
        self._client = AsyncOpenAI(
            api_key=self._key or "none",
            base_url=base_url,
            max_retries=0,
            default_headers={"Accept-Encoding": "identity"},
            http_client=DefaultAsyncHttpxClient(event_hooks={"response": [guard]}),
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._client.close()

    async def ask(
        self,
        messages: Sequence[Message],
        form: type[Answer],
        *,
        usage: Usage,
        rng: random.Random,
        check: Callable[[Answer], str] = lambda answer: "",
    ) -> Answer:
        """Return an answer of the requested form.

        Parameters
        ----------
        messages : sequence of Message
            The conversation so far.
        form : pydantic model
            Fields of the answer.
        usage : Usage
            Updated, unusable answers included.
        rng : random.Random
            Of the waits.
        check : callable
            Returns what is wrong with an answer of the right form, "" if nothing.

        Raises
        ------
        DataError
            If there was no usable answer; the message says why.
        Clamp3Error
            If the endpoint cannot be used: a wrong key, no credit, or many failures in a row.
        """
        from pydantic import ValidationError

        request = self._request(form)
        asked = [*messages]
        if self.endpoint.structured == "json_object":
            schema = f"\n\nAnswer with one JSON object that follows this schema: {form.model_json_schema()}"
            asked[0] = {**asked[0], "content": asked[0]["content"] + schema}
        conversation, problem = asked, ""
        for _ in range(self.endpoint.n_answers):
            content, problem = await self._answer(conversation, request, usage, rng)
            if not problem:
                try:
                    answer = form.model_validate_json(_unfenced(content))
                except ValidationError as error:
                    problem = _first_problem(error)
                else:
                    problem = check(answer)
                    if not problem:
                        return answer
            said = [{"role": "assistant", "content": content}] if content else []
            conversation = [*asked, *said, {"role": "user", "content": AGAIN.format(problem=problem)}]
        raise DataError(f"{problem} (the last of {self.endpoint.n_answers} answers)")

    def _request(self, form: type[BaseModel]) -> dict[str, Any]:
        shape: dict[str, Any] = {"type": "json_object"}
        if self.endpoint.structured == "json_schema":
            schema = {"name": form.__name__.lower(), "strict": True, "schema": form.model_json_schema()}
            shape = {"type": "json_schema", "json_schema": schema}
        return {"model": self.endpoint.model_name, "response_format": shape, **self.endpoint.extra}

    async def _answer(
        self, messages: Sequence[Message], request: Mapping[str, Any], usage: Usage, rng: random.Random
    ) -> tuple[str, str]:
        """Return the text of the answer, and what is wrong with it apart from its form."""
        response = await self._send(messages, request, rng)
        usage.requests += 1
        counted = getattr(response, "usage", None)
        usage.prompt_tokens += getattr(counted, "prompt_tokens", None) or 0
        usage.completion_tokens += getattr(counted, "completion_tokens", None) or 0
        choices = getattr(response, "choices", None) or [None]
        message = getattr(choices[0], "message", None)
        content = self._clean(getattr(message, "content", None) or "")
        ended = getattr(choices[0], "finish_reason", None)
        if refused := getattr(message, "refusal", None):
            return content, f"the model declined: {self._clean(refused)[:200]}"
        if ended == "length":
            return content, "the answer was cut at the endpoint's limit of tokens; it must be shorter"
        if ended == "content_filter":
            return content, "the endpoint's content filter stopped the answer"
        return content, "" if content.strip() else "the answer was empty"

    async def _send(self, messages: Sequence[Message], request: Mapping[str, Any], rng: random.Random) -> Any:
        import openai

        reason = ""
        for attempt in range(self.endpoint.n_retries + 1):
            await self._wait_for_all()
            wait = min(GROWTH_LIMIT_SEC, self.endpoint.backoff_sec * 2**attempt) * rng.uniform(0.5, 1.0)
            sent = self._client.chat.completions.create(messages=list(messages), timeout=None, **request)
            try:
                response = await asyncio.wait_for(sent, self.endpoint.timeout_sec)
            except (asyncio.TimeoutError, openai.APITimeoutError):
                reason = f"no answer within {self.endpoint.timeout_sec:g} s"
            except openai.APIStatusError as error:
                reason = self._reason(error)
                if not self._worth_repeating(error, reason):
                    break
                asked = retry_after(error.response.headers)
                if asked > LONGEST_WAIT_SEC:
                    raise Clamp3Error(f"{self.endpoint.address} asks to wait {asked:.0f} s; run again then.") from None
                if asked:
                    self._resume_at = max(self._resume_at, time.monotonic() + asked)
                    wait *= 0.1  # not all at once when the time is up
            except RefusedAnswerError as error:
                raise ConfigError(f"{self.endpoint.address}: {self._clean(str(error))}.") from None
            except openai.APIConnectionError as error:
                reason = (
                    f"{self.endpoint.address} cannot be reached: {self._clean(str(error.__cause__ or error))[:200]}"
                )
            except (openai.OpenAIError, ValueError) as error:  # a body that is no JSON, for instance
                reason = self._clean(f"an answer that cannot be read: {type(error).__name__}: {error}")[:300]
            else:
                self._succeeded, self._failed_in_a_row = True, 0
                return response
            if attempt < self.endpoint.n_retries:
                await asyncio.sleep(wait)
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= max(20, 2 * self.endpoint.concurrency):
            raise Clamp3Error(f"the last {self._failed_in_a_row} requests failed; stopped. The last one: {reason}.")
        raise DataError(reason)

    async def _wait_for_all(self) -> None:
        while (left := self._resume_at - time.monotonic()) > 0:
            await asyncio.sleep(left)

    def _worth_repeating(self, error: Any, reason: str) -> bool:
        status = error.status_code
        if getattr(error, "code", None) == "insufficient_quota":
            raise Clamp3Error(f"the account has no credit left ({reason}); what was made so far is kept.") from None
        if status in (401, 403, 404) and not self._succeeded:
            hint = {401: "the key", 403: "the key's rights", 404: "--base_url and --model"}[status]
            raise ConfigError(f"{self.endpoint.address} says {reason}; check {hint}.") from None
        return status in (408, 409, 425, 429) or status >= 500

    def _reason(self, error: Any) -> str:
        body = error.body if isinstance(error.body, dict) else {}
        said = str(body.get("message") or "") or str(error.message)
        return self._clean(" ".join(f"{error.status_code} {said}".split()))[:300]

    def _clean(self, text: str) -> str:
        """Return a text of the endpoint without the key, should it contain it, however encoded."""
        return self._echoes.sub("[key]", text) if self._echoes else text


def retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds that ``Retry-After`` (seconds or a date) or ``retry-after-ms`` asks to wait, else 0."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) * unit)
        except (KeyError, ValueError):
            continue
    try:
        return max(0.0, email.utils.parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time())
    except (KeyError, ValueError, TypeError):
        return 0.0


def _unfenced(content: str) -> str:
    """Return an answer without the code fence that some models put around JSON."""
    found = re.fullmatch(r"\s*```(?:json)?\s*(.*?)\s*```\s*", content, re.DOTALL)
    return found[1] if found else content


def _first_problem(error: Any) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place + ': ' if place else ''}{first['msg']}"
