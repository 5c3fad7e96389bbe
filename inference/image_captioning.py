"""Describe images in words, one text file per image, so that pictures can search music.

    python inference/image_captioning.py photos/ captions/

The name and place that CLaMP 3's readme gives it; preprocessing/text/caption_images.py does the work and explains it.
"""

from __future__ import annotations

from pathlib import Path

from clamp3.cli import run, run_script


def main(argv: list[str] | None = None) -> int:
    """Run the script that does the work; return its exit code."""
    return run_script(Path(__file__).resolve().parents[1] / "preprocessing/text/caption_images.py", argv, __doc__)


if __name__ == "__main__":
    raise SystemExit(run(main))
