"""Run a published benchmark of retrieval and print the result below the published rows.

    python retrieval/benchmark.py wikimt --data data/wikimt --model saas
    python retrieval/benchmark.py wikimtx --data data/wikimt-x --model saas --render_midi --json result.json
    python retrieval/benchmark.py songdescriber --data data/sdd --model c2 --both

Names: wikimt, midicaps, wikimtx, songdescriber, musiccaps, and own, which preprocessing/text/make_benchmark.py makes
(docs/own_benchmark.md). --data is the folder of the data set as it is distributed;
what is missing there is reported with its address and licence, and what can be run without it is run. Vectors are
cached by content, so that a second run encodes nothing. docs/tables has a page for every published table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from clamp3.cli import EXIT_OK, EXIT_SOME_FAILED, add_model_flags, open_model
from clamp3.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("name", help="which benchmark")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--both", action="store_true", help="also from references to queries")
    parser.add_argument(
        "--render_midi", action="store_true", help="wikimtx, own: first write midi/ from the lead sheets"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result, published rows included")
    add_model_flags(parser)


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    if args.render_midi and args.name not in ("wikimtx", "own"):
        raise ConfigError("--render_midi is for wikimtx and own only.")
    from clamp3.datasets.classification import render_midi
    from clamp3.datasets.retrieval import open_benchmark
    from clamp3.retrieval.benchmark import run_benchmark
    from clamp3.retrieval.evaluation import print_remarks

    unplayed = render_midi(args.name, args.data) if args.render_midi else []
    benchmark = open_benchmark(args.name, args.data)
    report = run_benchmark(benchmark, open_model(args), name=args.model, both=args.both)
    report.failures += unplayed
    print(report.as_text())
    if args.json:
        report.write(args.json)
    print_remarks(report.remarks() + [benchmark.dataset.how_to_get(args.data)] * bool(benchmark.missing))
    return EXIT_SOME_FAILED if report.failures else EXIT_OK
