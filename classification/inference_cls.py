"""Classify every file of a folder with a trained probe; write labels and probabilities as JSON.

    python classification/inference_cls.py weights-features.pth features/ output.json

This is `clamp3 classify predict` as a script; --help, and code/clamp3/commands/classify/predict.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("classify predict")

if __name__ == "__main__":
    raise SystemExit(run(main))
