"""Every script: quick --help without heavy imports, exit code 2 for wrong usage; every module imports in silence."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("preprocessing", "retrieval", "inference", "classification", "code", "benchmarks")
HEAVY = ("torch", "transformers", "music21", "accelerate", "sklearn", "librosa", "matplotlib", "pandas")
HELP_CPU_SEC = 1.5  # the aim is 0.5 s; CPU seconds, so that a busy machine does not matter

PROBE = f"""
import json, runpy, sys, time
script = sys.argv[1]
sys.argv = [script, *sys.argv[2:]]
sys.path[0] = __import__("os").path.dirname(script)
code = None
try:
    runpy.run_path(script, run_name="__main__")
except SystemExit as stop:
    code = stop.code
heavy = [name for name in {HEAVY!r} if name in sys.modules]
print("PROBE" + json.dumps({{"code": code, "heavy": heavy, "seconds": time.process_time()}}))
"""

IMPORT_ALL = """
import importlib, importlib.util, os, pkgutil, socket, sys
def refuse(*args, **options):
    raise OSError("a module reached for the network while it was imported")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
sys.argv = ["nothing"]
import clamp3
names = [info.name for info in pkgutil.walk_packages(clamp3.__path__, "clamp3.", onerror=lambda name: sys.exit(name))]
for name in names:
    if not name.startswith("clamp3.adapters."):  # they import other packages: tests/unit/test_adapters.py
        importlib.import_module(name)
for number, script in enumerate(os.environ["SCRIPTS"].split(os.pathsep)):
    sys.path.insert(0, os.path.dirname(script))
    spec = importlib.util.spec_from_file_location(f"script_{number}", script)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    sys.path.pop(0)
sys.stderr.write(f"{len(names)} modules")
"""

LIGHT = """
import sys
import {modules}
print([name for name in ("torch", "transformers", "music21", "librosa") if name in sys.modules])
"""


def scripts() -> list[str]:
    found = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")) if "egg-info" not in path.parts]
    found += sorted(ROOT.glob("*.py"))
    named = [path.relative_to(ROOT).as_posix() for path in found if '__name__ == "__main__"' in path.read_text("utf-8")]
    return [name for name in named if not name.startswith("code/clamp3/")]


SCRIPTS = scripts()


def python(*args: str, cwd: Path = ROOT, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *args],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


def test_scripts_are_found():
    assert "retrieval/semantic_search.py" in SCRIPTS
    assert "preprocessing/abc/batch_xml2abc.py" in SCRIPTS


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_is_quick_and_loads_nothing_heavy(script, tmp_path):
    done = python("-c", PROBE, str(ROOT / script), "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text, _, facts = done.stdout.rpartition("PROBE")
    probe = json.loads(facts)
    assert probe["code"] == 0
    assert probe["heavy"] == []
    assert probe["seconds"] < HELP_CPU_SEC
    assert re.search(r"python3? \S*" + re.escape(Path(script).name) + r"|accelerate launch|torchrun", text), (
        "no example"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_unknown_flag_is_wrong_usage(script, tmp_path):
    done = python(str(ROOT / script), "--no_such_flag", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "usage:" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", [name for name in SCRIPTS if name.startswith("preprocessing/")])
def test_a_missing_folder_is_wrong_usage(script, tmp_path):
    paths = [str(tmp_path / "absent"), str(tmp_path / "out")]
    if script.startswith("preprocessing/audio/"):
        paths = ["--input_path", paths[0], "--output_path", paths[1]]
    elif script.endswith("/check.py"):
        paths = paths[:1]
    elif script.endswith("/preferences.py"):
        paths.insert(1, "--output_path")
    elif script.endswith("/generate_records.py"):
        paths += ["--results", str(tmp_path / "absent")]
    done = python(str(ROOT / script), *paths)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert "absent" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_every_module_imports_without_arguments_network_or_a_word(tmp_path):
    environment = os.environ | {"SCRIPTS": os.pathsep.join(str(ROOT / script) for script in SCRIPTS)}
    done = python("-W", "ignore", "-c", IMPORT_ALL, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert re.fullmatch(r"\d+ modules", done.stderr) and int(done.stderr.split()[0]) > 15
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "modules",
    [
        "clamp3.formats.musicxml, clamp3.formats.abc.interleave, clamp3.formats.mtf, clamp3.formats.guards, "
        "clamp3.modalities.patches",
        "clamp3.retrieval.metrics, clamp3.retrieval.evaluation, clamp3.retrieval.frechet, clamp3.retrieval.projection",
        "clamp3.jobs.batch, clamp3.jobs.cache",
    ],
)
def test_light_rooms_stay_light(modules):
    done = python("-c", LIGHT.format(modules=modules))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["retrieval/clamp3_search.py", "retrieval/index.py", "code/extract_clamp3.py"])
def test_the_flags_of_a_search_need_neither_numpy_nor_readers(name):
    """They are asked for with every mistyped command and every --help."""
    code = PROBE.replace(repr(HEAVY), repr(("numpy", "zipfile", "clamp3.formats.pieces", "clamp3.modalities")))
    found = json.loads(python("-c", code, name, "--help").stdout.rpartition("PROBE")[2])
    assert (found["code"], found["heavy"]) == (0, [])
