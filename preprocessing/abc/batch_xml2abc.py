"""Convert a folder of scores into standard ABC, the first of two steps to what the models read.

    python preprocessing/abc/batch_xml2abc.py <input_dir> <output_dir>

This is `clamp3 convert xml2abc` as a script; --help, and code/clamp3/commands/convert/xml2abc.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

input_dir = ""  # a folder of scores; if set, no arguments are needed, and <input_dir>_abc is written

build_parser, main = as_script("convert xml2abc", input_dir=input_dir)

if __name__ == "__main__":
    raise SystemExit(run(main))
