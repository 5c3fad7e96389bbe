"""`retrieval/serve.py` as a process: started, left waiting, ended by signals, killed, and fuzzed by its own schema."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from server_music import KESH, client_of, write_library

from clamp3.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return write_library(tmp_path_factory.mktemp("served") / "music")


@contextmanager
def started(index, *flags):
    """Yield a running server and its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, ROOT / "retrieval" / "serve.py", "--index", index, "--port", str(port), "--json", *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "code")}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(process.stderr), daemon=True)
    reader.start()
    try:
        while process.poll() is None and not ready(port):
            time.sleep(0.05)
        assert process.poll() is None, lines
        yield process, port
    finally:
        process.kill()
        process.wait(60)
        reader.join(60)
        assert not any("Traceback" in line for line in lines), lines
        assert all(json.loads(line) for line in lines)  # logged as JSON


def ready(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=60) as answer:
            return json.load(answer)["status"] == "ok"
    except OSError:
        return False


def first_hit(port):
    question = json.dumps({"parts": [{"text": "the kesh"}], "top_k": 1}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/search", question, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["hits"][0]["name"]


def test_killed_and_started_again_it_answers_and_a_signal_ends_it(index):
    with started(index) as (process, port):
        assert first_hit(port) == "kesh.abc"
        process.kill()
        process.wait(60)
    with started(index) as (process, port):
        assert first_hit(port) == "kesh.abc"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGTERM)
        assert not ready(port)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--port", "99999"], "'99999' is no port; those go from 0 to 65535"),
        (["--batch", "0"], "'0' is no whole number from 1 on"),
        (["--max_upload_mb", "-3"], "'-3' is no whole number from 1 on"),
    ],
)
def test_numbers_that_cannot_be_are_refused(script, capsys, flags, sentence):
    with pytest.raises(SystemExit) as ended:
        script("retrieval/serve.py").main(flags)
    assert ended.value.code == 2 and sentence in capsys.readouterr().err


def test_an_address_that_cannot_be_served_is_one_sentence(index, script):
    main = script("retrieval/serve.py").main
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="another program answers there; --port 0 takes a free port"):
            main(["--index", str(index), "--port", str(taken.getsockname()[1])])
    with pytest.raises(ConfigError, match="nothing can be served at http://no such host:0"):
        main(["--index", str(index), "--host", "no such host", "--port", "0"])


@contextmanager
def served_here(index, monkeypatch, **settings):
    """Yield the port of a server in a thread, and its protocol's module."""
    import uvicorn
    from server_music import FLAGS

    from clamp3.server import protocol
    from clamp3.server.app import make_app
    from clamp3.server.run import open_model
    from clamp3.server.settings import Settings

    app = make_app(index, lambda meta, cache: open_model(FLAGS, meta, cache), Settings(**settings))
    config = uvicorn.Config(app, port=0, http=protocol.PatientProtocol, ws="none", log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    while not ready(port):
        time.sleep(0.01)
    yield port
    server.should_exit = True
    thread.join(60)
    assert not thread.is_alive()


def test_connections_that_say_nothing_are_closed_and_others_answered_meanwhile(index, monkeypatch):
    from clamp3.server import protocol

    monkeypatch.setattr(protocol, "REQUEST_SEC", 1.0)
    monkeypatch.setattr(protocol, "MOST_CONNECTIONS", 50)
    with served_here(index, monkeypatch) as port:
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(150)]
        slow = socket.create_connection(("127.0.0.1", port))
        slow.sendall(b"GET /info HTTP/1.1\r\nHost: localhost\r\n")  # and no end of it
        assert first_hit(port) == "kesh.abc"
        for connection in (*idle, slow):
            connection.settimeout(60)
            assert connection.recv(1000) == b""  # closed by the server
            connection.close()


def test_a_body_that_trickles_in_is_refused(index, monkeypatch):
    with served_here(index, monkeypatch, body_sec=0.5) as port:
        slow = socket.create_connection(("127.0.0.1", port))
        slow.settimeout(60)
        head = "POST /uploads?name=a.abc HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n"
        slow.sendall(head.encode() + KESH[:10].encode())
        answer = b""
        while part := slow.recv(4096):
            answer += part
        assert answer.startswith(b"HTTP/1.1 408") and b"too slowly" in answer
        assert first_hit(port) == "kesh.abc"


def test_flags_that_cannot_be_used_are_said(tmp_path, script):
    from clamp3.errors import ConfigError

    with pytest.raises(
        ConfigError, match=r"there is no index at .*; name it with --index or --uri, or make one with clamp3 index add."
    ):
        script("retrieval/serve.py").main(["--index", str(tmp_path)])


def test_every_answer_is_as_the_schema_says(index):
    """A few hundred requests that schemathesis makes of the server's own schema, hostile ones among them."""
    schemathesis = pytest.importorskip("schemathesis")
    import hypothesis
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

    with client_of(index) as client:
        schema = schemathesis.openapi.from_asgi("/openapi.json", client.app)
        n_asked = 0
        for result in schema.get_all_operations():
            operation = result.ok()
            if operation.path in ("/map", "/jobs", "/jobs/{id}/events"):  # costly, and tested elsewhere
                continue

            @hypothesis.settings(max_examples=12, deadline=None, derandomize=True, database=None)
            @hypothesis.seed(0)
            @hypothesis.given(case=operation.as_strategy())
            def ask(case):
                nonlocal n_asked
                n_asked += 1
                response = case.call()
                checks = [not_a_server_error, status_code_conformance, response_schema_conformance]
                if response.status_code == 503:
                    checks.remove(not_a_server_error)
                case.validate_response(response, checks=checks)

            ask()
        assert n_asked > 100
