"""Train a probe on global vectors or raw music and test it; the label is the file name up to the first "_".

    python classification/train_cls.py --train_folder features/ --eval_folder features_test/    # weights-features.pth

This is `clamp3 classify train` as a script; --help, and code/clamp3/commands/classify/train.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("classify train")

if __name__ == "__main__":
    raise SystemExit(run(main))
