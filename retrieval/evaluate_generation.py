"""Evaluate generated music: does it follow its prompts, sound like real music, vary, and copy nothing?

    python retrieval/evaluate_generation.py generated/ --reference real/

This is `clamp3 evaluate generation` as a script; --help, and code/clamp3/commands/evaluate/generation.py, explain it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("evaluate generation")

if __name__ == "__main__":
    raise SystemExit(run(main))
