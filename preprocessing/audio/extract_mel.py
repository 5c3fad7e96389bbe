"""Turn a folder of recordings into log-mel frames, the input of checkpoints with a mel front end such as mini.

    python preprocessing/audio/extract_mel.py --input_path my_audio/ --output_path features/

This is `clamp3 extract mel` as a script; --help, and code/clamp3/commands/extract/mel.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("extract mel")

if __name__ == "__main__":
    raise SystemExit(run(main))
