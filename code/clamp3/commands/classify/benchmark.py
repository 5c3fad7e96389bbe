"""Run a published benchmark of classification and print the result below the published rows.

    python classification/benchmark.py vgmidi --data data/vgmidi --model mini --floor --json result.json
    python classification/benchmark.py mtt --data data/mtt --features features/mtt --grid
    python classification/benchmark.py gs --data data/gs --model saas --protocol marble

wikimt, vgmidi, pianist8, wikimtx: linear probe, by the published protocol and with the epoch chosen by a validation
set. mtt, gs, gtzan, emo, nsynth, vocalset, jamendo: MARBLE's head and splits. docs/tables has a page for every table.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from clamp3.cli import EXIT_OK, EXIT_SOME_FAILED, add_model_flags, open_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("name", help="which benchmark")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set; missing files are reported")
    parser.add_argument("--tasks", nargs="+", help="some of its tasks (default: all)")
    parser.add_argument(
        "--protocol",
        default="published",
        help="published: a recording is one example; marble: the clips and splits of MARBLE's first version; "
        "marble-clamp3: clips of 30 s and settings as in its second version for CLaMP 3 (mtt, gtzan, jamendo)",
    )
    parser.add_argument("--features", type=Path, metavar="DIR", help="global vectors by id, in place of encoding")
    parser.add_argument("--seeds", type=int, default=5, help="probes per task (default: %(default)s)")
    parser.add_argument("--num_epochs", type=int, help="in place of the protocol's")
    parser.add_argument("--grid", action="store_true", help="MARBLE: try its rates, keep the best by validation")
    parser.add_argument("--floor", action="store_true", help="add a row of full-size random weights")
    parser.add_argument("--render_midi", action="store_true", help="wikimt, wikimtx, own: write midi/ first")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result, published rows included")
    parser.add_argument("--page", type=Path, metavar="FILE", help="also write our rows into this page of docs/tables")
    add_model_flags(parser)


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    from clamp3.datasets.classification import open_benchmark, render_midi
    from clamp3.probe.benchmark import run_benchmark, run_floor
    from clamp3.retrieval.evaluation import print_remarks

    unplayed = render_midi(args.name, args.data) if args.render_midi else []
    benchmark = open_benchmark(args.name, args.data, args.tasks or (), protocol=args.protocol)
    options = {"n_seeds": args.seeds, "grid": args.grid, "num_epochs": args.num_epochs}
    report = run_benchmark(benchmark, partial(open_model, args), name=args.model, features=args.features, **options)
    report.failures += unplayed
    if args.floor:
        report.add(run_floor(benchmark, cached=not args.no_cache, **options))
    print(report.as_text())
    if args.json:
        report.write(args.json)
    if args.page:
        report.write_page(args.page)
    print_remarks(report.remarks() + [benchmark.dataset.how_to_get(args.data)] * bool(benchmark.missing))
    return EXIT_SOME_FAILED if report.failures else EXIT_OK
