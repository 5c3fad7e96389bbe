"""Convert a folder of MIDI files (.mid .midi) into MTF, the text that CLaMP 3 reads performances from.

    python preprocessing/midi/batch_midi2mtf.py <input_dir> <output_dir>                 # as the weights expect

This is `clamp3 convert midi2mtf` as a script; --help, and code/clamp3/commands/convert/midi2mtf.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

input_dir = ""  # a folder of MIDI files; if set, no arguments are needed, and <input_dir>_mtf is written
m3_compatible = True  # leave out text-like messages; False keeps every message, as --all_messages does

build_parser, main = as_script("convert midi2mtf", input_dir=input_dir, m3_compatible=m3_compatible)

if __name__ == "__main__":
    raise SystemExit(run(main))
