"""Convert a folder of ABC, plain or interleaved, into MusicXML (to view, play or edit it in notation programs).

    python preprocessing/abc/batch_abc2xml.py <input_dir> <output_dir>

This is `clamp3 convert abc2xml` as a script; --help, and code/clamp3/commands/convert/abc2xml.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

input_dir = ""  # a folder of ABC; if set, no arguments are needed, and <input_dir>_xml is written

build_parser, main = as_script("convert abc2xml", input_dir=input_dir)

if __name__ == "__main__":
    raise SystemExit(run(main))
