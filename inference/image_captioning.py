"""Describe images in words, one text file per image, so that pictures can search music.

    python inference/image_captioning.py photos/ captions/

The name and place that CLaMP 3's readme gives it; preprocessing/text/caption_images.py does the work and explains it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("caption", doc=__doc__)

if __name__ == "__main__":
    raise SystemExit(run(main))
