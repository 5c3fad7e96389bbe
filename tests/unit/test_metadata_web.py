"""Servers that send prompts elsewhere, answer without end, or repeat the key in disguise."""

from __future__ import annotations

import asyncio
import base64
import random
from urllib.parse import quote

import pytest
from fake_llm import FakeLLM, Reply
from pydantic import BaseModel

from clamp3.errors import ConfigError, DataError
from clamp3.metadata.llm import Chat, Endpoint, Usage
from clamp3.metadata.web import check_url, echoes, same_server

KEY = "sk-1234567890+/abcdefgh"


class Form(BaseModel):
    """What is asked for."""

    text: str


def ask(reply, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]

    async def talk(url):
        async with Chat(Endpoint(model="m", base_url=url, n_retries=0, n_answers=1, timeout_sec=20.0)) as chat:
            return await chat.ask(messages, Form, usage=Usage(), rng=random.Random(0))

    with FakeLLM(lambda *_: reply).running() as server:
        return asyncio.run(talk(server.url)), server


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize(
    "place", ["http://localhost:9/v1", "https://evil.example/v1", "//evil.example", "http://[", "ftp:x"]
)
def test_prompts_are_not_sent_on(monkeypatch, status, place):
    with pytest.raises((ConfigError, DataError)) as error:
        ask(Reply(status=status, headers={"location": place}, body=""), monkeypatch)
    assert "\n" not in str(error.value) and KEY not in str(error.value)
    if "evil" in place or "9" in place:
        assert "sends requests on to" in str(error.value)


def test_an_answer_without_end_is_not_read(monkeypatch):
    with pytest.raises((ConfigError, DataError), match="longer than 8 MiB"):
        ask(Reply(body='{"a": "' + "x" * (9 << 20) + '"}'), monkeypatch)
    with pytest.raises((ConfigError, DataError), match="packed"):
        ask(Reply(body="{}", headers={"content-encoding": "gzip"}), monkeypatch)


@pytest.mark.parametrize(
    "said",
    [
        KEY,
        quote(KEY, safe=""),
        base64.b64encode(KEY.encode()).decode(),
        base64.b64encode(f"ab{KEY}".encode()).decode(),
        base64.urlsafe_b64encode(f"a{KEY}bc".encode()).decode(),
        KEY.encode().hex().upper(),
        KEY[::-1],
        "".join(f"&#{ord(c)};" for c in KEY),
    ],
)
def test_a_key_in_disguise_is_not_kept(monkeypatch, said):
    answer, _ = ask(Reply(content='{"text": "your key is ' + said + ', thanks"}'), monkeypatch)
    assert answer.text == "your key is [key], thanks"
    assert echoes(KEY).sub("", f"a plain text, {KEY[:8]} too") == f"a plain text, {KEY[:8]} too"


@pytest.mark.parametrize(
    "url", ["http://", "http://a:b/", "http://[::1/", "a b", "ftp://a/", "http://a:99999/", "http://a\n/"]
)
def test_malformed_addresses_are_one_sentence(monkeypatch, url):
    with pytest.raises(ConfigError, match="is no address such as"):
        check_url(url, "--base_url")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(ConfigError, match="is no address such as"):
        _ = Endpoint(model="m", base_url=url).address


def test_the_same_server():
    asked = "http://a/v1"
    assert (
        same_server(asked, "http://a/v1/") and same_server(asked, "https://a/v1") and same_server(asked, "http://A:80/")
    )
    for other in ("http://b/v1", "http://a:81/v1", "ftp://a/v1", "http://a.b/v1", "http://b@c/v1", "http://[/"):
        assert not same_server(asked, other)
    assert not same_server("https://a/v1", "http://a/v1")
