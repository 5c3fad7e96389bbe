"""Index folders of music once, then search them at once: text, scores, MIDI and recordings of any mixture.

    python retrieval/index.py add ~/music                      # makes ~/music/.clamp3_index; again: only what is new

This is `clamp3 index` as a script; --help, and code/clamp3/commands/index.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("index")

if __name__ == "__main__":
    raise SystemExit(run(main))
