"""Convert a folder of standard ABC into interleaved ABC, the text that the models read scores from.

    python preprocessing/abc/batch_interleaved_abc.py <input_dir> <output_dir>

This is `clamp3 convert interleave` as a script; --help, and code/clamp3/commands/convert/interleave.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

input_dir = ""  # a folder of standard ABC; if set, no arguments are needed, and <input_dir>_interleaved is written

build_parser, main = as_script("convert interleave", input_dir=input_dir)

if __name__ == "__main__":
    raise SystemExit(run(main))
