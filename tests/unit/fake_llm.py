"""An OpenAI-compatible server on loopback whose answers, and troubles, a test decides."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import FastAPI, Request, Response

# One sentence in each of the 100 languages, written for these tests.
TEXTS = json.loads(Path(__file__).with_name("metadata_texts.json").read_text(encoding="utf-8"))
ENGLISH = "This is a slow song for voice and piano, full of sorrow and longing for home."


@dataclass
class Reply:
    """What the server says: ``content`` in a well-formed answer, or ``body`` as it is."""

    content: str | None = ""
    status: int = 200
    headers: dict = field(default_factory=dict)
    body: str | None = None
    wait_sec: float = 0.0
    finish: str = "stop"


class FakeLLM:
    """Asks ``decide(messages, number)`` for every reply, number counting the requests of the same user message."""

    def __init__(self, decide):
        self.decide, self.requests, self.times = decide, [], []
        self.counts, self.prompt_tokens, self.completion_tokens = Counter(), 0, 0
        self.busy = self.busiest = self.answered = 0

    def app(self):
        app = FastAPI()

        @app.post("/v1/chat/completions")
        async def complete(request: Request):
            body, when = await request.json(), time.monotonic()
            first = body["messages"][1]["content"]
            self.counts[first] += 1
            self.requests.append({"body": body, "authorization": request.headers.get("authorization", "")})
            self.times.append(when)
            self.busy += 1
            self.busiest = max(self.busiest, self.busy)
            try:
                reply = self.decide(body["messages"], self.counts[first])
                await asyncio.sleep(reply.wait_sec)
            finally:
                self.busy -= 1
            if await request.is_disconnected():  # the client gave up waiting
                return Response("")
            if reply.body is not None or reply.status != 200:
                text = reply.body if reply.body is not None else json.dumps({"error": {"message": "trouble"}})
                return Response(text, reply.status, headers=reply.headers, media_type="application/json")
            spent = {"prompt_tokens": len(first), "completion_tokens": len(reply.content or "")}
            self.answered += 1
            self.prompt_tokens += spent["prompt_tokens"]
            self.completion_tokens += spent["completion_tokens"]
            message = {"role": "assistant", "content": reply.content}
            choice = {"index": 0, "message": message, "finish_reason": reply.finish}
            return {
                **{"id": "1", "object": "chat.completion", "created": 0, "model": body["model"]},
                **{"choices": [choice], "usage": {**spent, "total_tokens": sum(spent.values())}},
            }

        return app

    @contextlib.contextmanager
    def running(self):
        import uvicorn

        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{held.getsockname()[1]}/v1"
            server = uvicorn.Server(uvicorn.Config(self.app(), log_level="critical", lifespan="off"))
            thread = threading.Thread(target=server.run, kwargs={"sockets": [held]}, daemon=True)
            thread.start()
            while not server.started:
                time.sleep(0.01)
            try:
                yield self
            finally:
                server.should_exit = server.force_exit = True
                thread.join(10)


def language_of(messages):
    return re.search(r"ISO 639: (\w+)", messages[1]["content"])[1]


def summary(messages, **changed):
    """Return a right answer to a request for summaries."""
    right = {"enough": True, "reason": "", "summary_en": ENGLISH, "summary_nen": TEXTS[language_of(messages)]}
    return json.dumps(right | changed, ensure_ascii=False)
