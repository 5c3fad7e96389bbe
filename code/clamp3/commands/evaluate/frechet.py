"""Measure how far the music of one folder is from that of another, as distributions: the Fréchet distance.

    python retrieval/frechet.py generated/ real/
    python retrieval/frechet.py generated/ real/ --estimator ledoit_wolf --infinite
    python retrieval/frechet.py generated/ real/ --songs songs.jsonl --json

Folders hold vectors (.npy from `extract_clamp3.py --get_global`), raw files of any kind, or both; names play no part.
--infinite extrapolates to infinitely many test files, which removes most of the bias of a small folder; --songs writes
the distance of every single test file. Compare only values of one model and one estimator.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from clamp3.cli import EXIT_OK, EXIT_SOME_FAILED, add_model_flags, open_model
from clamp3.formats.tables import json_text
from clamp3.jobs.walk import existing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("test_dir", type=existing, help="folder to evaluate")
    parser.add_argument("reference_dir", type=existing, help="folder it should be like")
    estimators = "mle, ledoit_wolf, oas, shrinkage or bootstrap; of both covariances"
    parser.add_argument("--estimator", default="mle", help=f"{estimators} (default: %(default)s)")
    parser.add_argument("--infinite", action="store_true", help="extrapolate to infinitely many test files")
    parser.add_argument("--min_size", type=int, default=500, help="smallest sample for it (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of samples and resamples (default: %(default)s)")
    parser.add_argument("--songs", type=Path, metavar="FILE", help="write every test file's own distance, JSON Lines")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_model_flags(parser)


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    from clamp3.retrieval.evaluation import compare, print_remarks, write_rows
    from clamp3.retrieval.frechet import extrapolate, frechet_distance, song_distances

    found = compare(args.test_dir, args.reference_dir, partial(open_model, args), paired=False)
    test, reference = found.queries.vectors, found.references.vectors
    how = {"estimator": args.estimator, "seed": args.seed}
    result: dict[str, Any] = {"estimator": args.estimator, "n_test": len(test), "n_reference": len(reference)}
    if len(test) > 1 or not args.songs:  # one song is no distribution, but has its own distance
        result["frechet_distance"] = frechet_distance(test, reference, **how)
    if args.infinite:
        result["infinite"] = asdict(extrapolate(test, reference, min_size=args.min_size, **how))
    if args.songs:
        distances = song_distances(test, reference, **how).tolist()
        rows = zip(found.queries.names, distances, strict=True)
        write_rows(args.songs, [{"name": name, "distance": distance} for name, distance in rows])
    if args.json:
        print(json_text({**result, **found.facts(unmatched=False)}, indent=2))
    else:
        print(f"{len(test)} test files, {len(reference)} references, estimator {args.estimator}")
        if "frechet_distance" in result:
            print(f"  Fréchet distance           {result['frechet_distance']:.4f}")
        if args.infinite:
            print(
                "  of infinitely many files   {distance:.4f}   (R² of the line {r2:.3f})".format(**result["infinite"])
            )
    print_remarks(found.remarks(unmatched=False))
    return EXIT_SOME_FAILED if found.failures else EXIT_OK
