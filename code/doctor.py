"""Look at what this computer has for CLaMP 3, and say what to do about what is not well.

    python code/doctor.py

This is `clamp3 doctor` as a script; --help, and code/clamp3/commands/doctor.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("doctor")

if __name__ == "__main__":
    raise SystemExit(run(main))
