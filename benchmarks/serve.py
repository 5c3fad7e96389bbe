"""Measure a server: from its start to the first answer, eight clients at once, with and without texts encoded together.

    python benchmarks/serve.py ~/music --seconds 60

Indexes the folder with mini, in a temporary place; starts `retrieval/serve.py`; asks it with as many clients as
--clients says, each on its own connection, whatever the page asks: texts that nobody asked before, pieces, filters,
lists, files, notes, engravings, uploads. Then texts alone, encoded together and one by one (--batch 1); a thousand
connections that say nothing beside them; and kills the server and starts it again. Prints the figures and writes
benchmarks/results/serve.<vendor>.json.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from machine import write_result

from clamp3.cli import EXIT_OK, EXIT_SOME_FAILED, parser_for, run
from clamp3.formats.tables import json_text

ROOT = Path(__file__).resolve().parents[1]
HOW = ("slow", "quick", "sad", "bright", "calm", "wild", "noble", "odd", "lively", "dark")
WHAT = ("waltz", "jig", "fugue", "march", "song", "hymn", "rag", "sonata", "lullaby", "dance")
TUNE = "X:1\nT:Tune {n}\nM:6/8\nL:1/8\nK:G\nGAG GAB|ABA AB{note}|edd gdd|edB dBA|\n"
IDLE = 1000


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("music", type=Path, help="folder to index")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the mixture (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=8, help="at once (default: %(default)s)")
    return parser


class Client:
    """A connection that stays, and what came of what was asked on it."""

    def __init__(self, port: int, seed: int) -> None:
        self._port, self.random, self.n = port, random.Random(seed), 0
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.times: dict[str, list[float]] = defaultdict(list)
        self.errors: list[str] = []

    def ask(self, what: str, path: str, question: Any = None, body: bytes | None = None) -> bytes:
        """Ask, and keep how long it took under a name."""
        data = json.dumps(question).encode() if question is not None else body
        headers = {"content-type": "application/json"} if question is not None else {}
        begun = time.perf_counter()
        try:
            self._connection.request("POST" if data is not None else "GET", path, data, headers)
            answer = self._connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                self.errors.append(f"{what}: {answer.status} {content[:200].decode(errors='replace')}")
        except (OSError, http.client.HTTPException) as error:
            self.errors.append(f"{what}: {type(error).__name__}: {error}")
            self._connection.close()
            return b""
        self.times[what].append(time.perf_counter() - begun)
        return content

    def text(self) -> None:
        """Ask a question by words that nobody asked before."""
        self.n += 1
        words = f"{self.random.choice(HOW)} {self.random.choice(WHAT)} number {self.random.getrandbits(40)}"
        self.ask("search by text", "/search", {"parts": [{"text": words}]})


def mixture(client: Client, items: list[dict[str, Any]]) -> None:
    """Ask what a person with the page might ask."""
    item = client.random.choice(items)
    choice = client.random.random()
    if choice < 0.4:
        client.text()
    elif choice < 0.55:
        client.ask("search by item", "/search", {"parts": [{"item": item["id"]}], "where": 'modality != "text"'})
    elif choice < 0.7:
        client.ask("items", "/items?limit=20")
    elif choice < 0.8:
        client.ask("item", f"/items/{item['id']}")
    elif choice < 0.9:
        which = next((name for name in ("engraving", "media") if item["has"][name]), "notes")
        client.ask(which, f"/items/{item['id']}/{'engraving.svg' if which == 'engraving' else which}")
    elif choice < 0.97:
        client.ask("similarity", "/similarity", {"one": {"item": item["id"]}, "other": {"text": "a dance"}})
    else:
        tune = TUNE.format(n=client.random.getrandbits(40), note=client.random.choice("cdefg"))
        client.ask("upload", "/uploads?name=tune.abc", body=tune.encode())


@contextlib.contextmanager
def server(index: Path, *flags: str) -> Iterator[tuple[int, float]]:
    """Yield the port of a server and the seconds from its start to its first answer; it ends by kill -9."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(ROOT / "retrieval/serve.py"), "--index", str(index), "--port", str(port), *flags]
    begun = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            client = Client(port, 0)
            if client.ask("first", "/search", {"parts": [{"text": "a sad waltz"}]}) and not client.errors:
                break
            time.sleep(0.02)
        yield port, round(time.perf_counter() - begun, 2)
    finally:
        process.kill()
        process.wait()


def load(port: int, seconds: float, n: int, ask: Callable[[Client], None]) -> dict[str, Any]:
    """Let clients ask for some time; return times by what was asked, in milliseconds."""
    clients = [Client(port, seed) for seed in range(n)]
    end = time.monotonic() + seconds

    def work(client: Client) -> None:
        while time.monotonic() < end:
            ask(client)

    threads = [threading.Thread(target=work, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    errors = [error for client in clients for error in client.errors]
    times: dict[str, list[float]] = defaultdict(list)
    for client in clients:
        for what, values in client.times.items():
            times[what] += values
    total = sum(map(len, times.values()))
    figures: dict[str, Any] = {"requests": total, "per_second": round(total / seconds, 1), "errors": len(errors)}
    for what, values in sorted(times.items()):
        half, most = np.percentile(np.array(values) * 1000, [50, 99])
        figures[what] = {"n": len(values), "p50_ms": round(float(half), 1), "p99_ms": round(float(most), 1)}
    if errors:
        print(*errors[:5], sep="\n", file=sys.stderr)
    return figures


def measure(args: argparse.Namespace, index: Path) -> dict[str, Any]:
    """Return all figures of the server of an index."""
    figures: dict[str, Any] = {"clients": args.clients, "seconds": args.seconds}
    texts = Client.text
    with server(index) as (port, figures["first_answer_s"]):
        client = Client(port, 0)
        figures["pieces"] = json.loads(client.ask("info", "/info"))["by_modality"]
        items = json.loads(client.ask("items", "/items?limit=500"))["items"]
        figures["mixture"] = load(port, args.seconds, args.clients, lambda client: mixture(client, items))
        figures["texts_together"] = load(port, args.seconds / 3, args.clients, texts)
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(IDLE)]
        figures["texts_beside_1000_idle"] = load(port, args.seconds / 6, args.clients, texts)
        for connection in idle:
            connection.close()
    with server(index, "--batch", "1") as (port, figures["killed_and_answering_again_s"]):
        figures["texts_one_by_one"] = load(port, args.seconds / 3, args.clients, texts)
    return figures


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; return its exit code."""
    args = build_parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index"
        command = [sys.executable, str(ROOT / "retrieval/index.py"), "add", str(args.music), "--index", str(index)]
        subprocess.run(command, check=False)
        figures = measure(args, index)
    print(json_text(figures, indent=2))
    print(write_result("serve", figures))
    failed = sum(part["errors"] for part in figures.values() if isinstance(part, dict) and "errors" in part)
    return EXIT_SOME_FAILED if failed else EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
