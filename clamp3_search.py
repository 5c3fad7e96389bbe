"""Find what in a folder is closest to a file: any kind of music or text against any other, with the published weights.

    python clamp3_search.py query.txt my_scores/ --top_k 10
    python clamp3_search.py theme.mid my_recordings/ --model mini

The name and place that CLaMP 3's readme gives it; retrieval/clamp3_search.py does the work and explains it. Weights are
saas unless --model names others; mini is in the package. Images are searched by their captions, which
inference/image_captioning.py writes. Vectors are cached by content, so that nothing has to be removed after a change.
As released, every file is ranked, texts, copies and the query too: --kind music --no-keep_duplicates leaves them out.
"""

from __future__ import annotations

from clamp3.cli import run
from clamp3.commands import as_script

build_parser, main = as_script(
    "search", doc=__doc__, defaults={"model": "saas", "kind": "all", "keep_duplicates": True}
)

if __name__ == "__main__":
    raise SystemExit(run(main))
