"""Classify files without training, by sentences about each class; or place them between two opposites.

    python classification/zero_shot_cls.py my_music/ --classes jig waltz hymn

This is `clamp3 classify zero_shot` as a script; --help, and code/clamp3/commands/classify/zero_shot.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("classify zero_shot")

if __name__ == "__main__":
    raise SystemExit(run(main))
