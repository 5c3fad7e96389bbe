r"""Align text with audio: CLaMP 3's contrastive training on features of recordings (arXiv 2502.10362).

    python code/train_clamp3_audio.py --train_jsonl train.jsonl --init runs/s/best.safetensors --freeze_text \

This is `clamp3 train audio` as a script; --help, and code/clamp3/commands/train/audio.py, explain it.
"""

from __future__ import annotations

import config as released
from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("train audio", file=released)

if __name__ == "__main__":
    raise SystemExit(run(main))
