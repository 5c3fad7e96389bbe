r"""Fine-tune a CLaMP 3 model so that "more like this" follows what listeners like: HTCL's second stage on its towers.

    python code/train_preference.py --init saas --train_jsonl songs.jsonl --song_pairs pairs/pairs.parquet \

This is `clamp3 train preference` as a script; --help, and code/clamp3/commands/train/preference.py, explain it.
"""

from __future__ import annotations

import config as released
from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("train preference", file=released)

if __name__ == "__main__":
    raise SystemExit(run(main))
