"""Serve an index of music: a page for people and an interface for programs, on this computer.

    python retrieval/index.py add ~/music

This is `clamp3 serve` as a script; --help, and code/clamp3/commands/serve.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("serve")

if __name__ == "__main__":
    raise SystemExit(run(main))
