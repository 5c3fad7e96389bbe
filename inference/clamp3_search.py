"""Print the vectors of a folder that are closest to one vector.

    python inference/clamp3_search.py query.npy features/ --top_k 10

The name and place that CLaMP 3's readme gives it; retrieval/semantic_search.py does the work and explains it.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script("nearest", doc=__doc__)

if __name__ == "__main__":
    raise SystemExit(run(main))
