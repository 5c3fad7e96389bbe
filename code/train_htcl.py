"""Train HTCL: music vectors that also know what listeners like (arXiv 2505.23298).

    python preprocessing/audio/extract_mel.py --form htcl --input_path audio/ --output_path mels/

This is `clamp3 train htcl` as a script; --help, and code/clamp3/commands/train/htcl.py, explain it.
"""

from __future__ import annotations

import config as released
from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("train htcl", file=released)

if __name__ == "__main__":
    raise SystemExit(run(main))
