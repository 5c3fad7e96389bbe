"""The package as type checkers of users see it: installed, with `py.typed`, under `mypy --strict`."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WRONG = (
    ("model.encode(3)", "encode"),
    ("model.encode('a', normalise=True)", "encode"),
    ("model.encode('a').vector", "vector"),
    ("model.rank('a', ['b'], top_k='many')", "top_k"),
    ("Reward(model, 'a', broken='no')", "broken"),
)


def check(folder, program):
    """Run mypy as if the package were installed: found through the interpreter's path, its own errors not shown."""
    settings = folder / "mypy.ini"
    # torch's own types take a minute to read; what we return of it is its Tensor, or without them anything.
    settings.write_text("[mypy]\nstrict = true\n[mypy-torch.*]\nfollow_imports = skip\n")
    site = folder / "site"
    site.mkdir(exist_ok=True)
    if not (site / "clamp3").exists():
        (site / "clamp3").symlink_to(ROOT / "code" / "clamp3")
    home = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    python = next(path for path in (home / "bin" / "python", home / "Scripts" / "python.exe") if path.exists())
    lib = subprocess.run(
        [python, "-c", "import site; print(site.getsitepackages()[0])"], capture_output=True, text=True
    )
    Path(lib.stdout.strip(), "here.pth").write_text(f"{site}\n{sysconfig.get_path('purelib')}\n")
    command = [sys.executable, "-m", "mypy", "--config-file", settings, "--python-executable", python]
    command += ["--cache-dir", folder / "cache", "--no-error-summary", program]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder)


def test_a_user_checks_strictly(tmp_path):
    pytest.importorskip("mypy")
    run = check(tmp_path, ROOT / "tests" / "unit" / "typed_user.py")
    assert run.returncode == 0, run.stdout + run.stderr
    program = tmp_path / "wrong.py"
    lines = ["from clamp3 import Clamp3, Reward", "model = Clamp3.from_pretrained()", *(line for line, _ in WRONG)]
    program.write_text("\n".join(lines) + "\n")
    said = check(tmp_path, program).stdout
    for number, (_, word) in enumerate(WRONG, 3):
        assert any(line.startswith(f"wrong.py:{number}: error") and word in line for line in said.splitlines()), said
    assert "import-untyped" not in said
