"""Make a benchmark of your own like WikiMT-X: from scores and metadata to four texts, in ten more languages if wanted.

    python preprocessing/text/make_benchmark.py scores/ my_benchmark/ --metadata songs.csv --dry_run

This is `clamp3 text benchmark` as a script; --help, and code/clamp3/commands/text/benchmark.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("text benchmark")

if __name__ == "__main__":
    raise SystemExit(run(main))
