"""Draw a map of music and texts: a point per file; files that the model encodes alike lie close together.

    python retrieval/map.py features/
    python retrieval/map.py scores/ midi/ captions/ --color source --method umap --out maps/forms
    python retrieval/map.py features/ --metadata genres.csv --color genre

Folders hold vectors (.npy from `extract_clamp3.py --get_global`), raw files of any kind, or both; raw files are encoded
with --model. Writes OUT.png and OUT.html, a page that works offline and shows names under the pointer. --color takes
modality, source (which of several folders), folder (first sub-folder), class (name up to the first _) or a field of
--metadata (CSV, TSV, JSON or JSON Lines whose first column, or field name, file, path or id, names the files).
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from clamp3.cli import EXIT_OK, EXIT_SOME_FAILED, add_model_flags, open_model
from clamp3.errors import ConfigError
from clamp3.jobs.walk import existing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("features", type=existing, nargs="+", help="folders to show")
    parser.add_argument("--color", help="what colours points (default: source of several folders, else modality)")
    parser.add_argument("--metadata", type=existing, metavar="FILE", help="table with fields to colour by")
    parser.add_argument("--method", nargs="+", default=["pca", "tsne", "umap"], help="default: pca tsne umap")
    parser.add_argument("--seed", type=int, default=0, help="of t-SNE and UMAP (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("map"), help="files to write, without suffix (default: map)")
    parser.add_argument("--json", action="store_true", help="print all points as one JSON object")
    add_model_flags(parser)


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    if args.out.name in ("", ".."):
        raise ConfigError(f"--out {args.out} names no file; give a name such as {args.out / 'map'}.")
    from clamp3.jobs.atomic import write_bytes, write_text
    from clamp3.probe.metrics import need_eval
    from clamp3.retrieval.evaluation import print_remarks
    from clamp3.retrieval.map_plots import as_html, as_png
    from clamp3.retrieval.projection import gather, points_as_json, project

    for module in ("matplotlib", "plotly"):  # before anything is encoded
        need_eval(module, "a map")
    out = args.out.with_suffix("") if args.out.suffix in (".png", ".html") else args.out
    shown = gather(args.features, partial(open_model, args), color=args.color, metadata=args.metadata)
    points = {method: project(shown.vectors, method, seed=args.seed) for method in args.method}
    write_bytes(out.with_name(out.name + ".png"), as_png(points, shown.labels, title=shown.color))
    page = as_html(points, shown.labels, shown.names, title=shown.color)
    write_text(out.with_name(out.name + ".html"), page)
    print(points_as_json(shown, points) if args.json else f"{out}.png and {out}.html: {len(shown.names)} points")
    print_remarks([f"left out: {name}: {reason}" for name, reason in shown.problems])
    return EXIT_SOME_FAILED if shown.problems else EXIT_OK
