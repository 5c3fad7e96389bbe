"""Turn a folder of recordings into MERT features, the input of the released audio tower.

    python preprocessing/audio/extract_mert.py --input_path my_audio/ --output_path features/ --mean_features

This is `clamp3 extract mert` as a script; --help, and code/clamp3/commands/extract/mert.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("extract mert")

if __name__ == "__main__":
    raise SystemExit(run(main))
