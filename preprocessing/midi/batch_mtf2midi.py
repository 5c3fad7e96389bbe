"""Convert a folder of MTF texts (.mtf) back into MIDI files.

    python preprocessing/midi/batch_mtf2midi.py <input_dir> <output_dir>

This is `clamp3 convert mtf2midi` as a script; --help, and code/clamp3/commands/convert/mtf2midi.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

input_dir = ""  # a folder of MTF texts; if set, no arguments are needed, and <input_dir>_midi is written

build_parser, main = as_script("convert mtf2midi", input_dir=input_dir)

if __name__ == "__main__":
    raise SystemExit(run(main))
