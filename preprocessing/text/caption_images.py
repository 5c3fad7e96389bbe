"""Describe images in words, one text file per image, so that pictures can search music.

    python preprocessing/text/caption_images.py photos/ captions/

This is `clamp3 caption` as a script; --help, and code/clamp3/commands/caption.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("caption")

if __name__ == "__main__":
    raise SystemExit(run(main))
