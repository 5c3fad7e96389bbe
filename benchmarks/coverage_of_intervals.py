"""How often the 95 % intervals of MRR and hit rates hold the truth, beside other intervals.

    python benchmarks/coverage_of_intervals.py
    python benchmarks/coverage_of_intervals.py --times 200

Ranks are drawn from a known population many times: the ability of each reference, and of each query beside it, is
normal, and the rank among the references is binomial. Cases: Song Describer (706 recordings, 1 to 3 captions each,
that share a recording's ability), 1,000 lead sheets, 200 queries with hardly a hit, and 50, 30 and 20 queries. Writes
benchmarks/results/coverage_of_intervals.json; the figures do not depend on the machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import erfc, sqrt
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clamp3.cli import EXIT_OK, parser_for, run
from clamp3.formats.tables import json_text
from clamp3.jobs.atomic import write_text
from clamp3.retrieval.confidence import mean_interval, share_interval

RESULT = Path(__file__).parent / "results" / "coverage_of_intervals.json"
Z = NormalDist().inv_cdf(0.975)
N_DRAWS = 500
Ends = tuple[float, float]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A population: groups, queries per group (1, 2 or 3, by their shares), references, mean and spread of ability."""

    groups: int
    references: int
    ability: float
    own: float
    shared: float = 0.0
    sizes: tuple[float, float, float] = (1.0, 0.0, 0.0)
    hits: tuple[int, ...] = (1, 10)

    def draw(self, n_groups: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return ranks of queries, and their groups."""
        owners = np.repeat(np.arange(n_groups), rng.choice([1, 2, 3], p=self.sizes, size=n_groups))
        ability = self.ability + self.shared * rng.standard_normal(n_groups)[owners]
        ability += self.own * rng.standard_normal(len(owners))
        better = np.array([erfc(value / sqrt(2)) / 2 for value in ability])
        return 1 + rng.binomial(self.references - 1, better), owners


CASES = {
    "Song Describer": Case(706, 706, 2.0, 0.6, 0.6, (0.6, 0.25, 0.15)),
    "1,000 lead sheets": Case(1000, 1000, 2.3, 0.8),
    "200 queries, rare hits": Case(200, 1000, 1.0, 0.78, hits=(1,)),
    "50 queries": Case(50, 1000, 2.3, 0.8),
    "30 queries": Case(30, 1000, 2.3, 0.8),
    "20 queries": Case(20, 1000, 2.3, 0.8),
}


def simulate(case: Case, *, n_times: int, seed: int) -> dict[str, Any]:
    """Return by metric its truth and, by kind of interval, the share of samples whose interval holds it."""
    rng = np.random.default_rng(seed)
    population, _ = case.draw(1_000_000, rng)
    measures: dict[str, Callable[[Any], Floats]] = {"mrr": lambda rank: 1 / rank}
    measures |= {f"hit@{k}": partial(_hits, k=k) for k in case.hits}
    truth = {name: float(measure(population).mean()) for name, measure in measures.items()}
    held: dict[str, dict[str, int]] = {name: {} for name in measures}
    for _ in range(n_times):
        rank, groups = case.draw(case.groups, rng)
        for name, measure in measures.items():
            for kind, (low, high) in _all_intervals(name, measure(rank), groups, rng).items():
                held[name][kind] = held[name].get(kind, 0) + bool(low <= truth[name] <= high)
    return {
        name: {"truth": round(truth[name], 4), **{kind: round(n / n_times, 4) for kind, n in kinds.items()}}
        for name, kinds in held.items()
    }


def _hits(rank: NDArray[np.int64], k: int) -> Floats:
    return (rank <= k).astype(float)


def _all_intervals(name: str, values: Floats, groups: NDArray[np.int64], rng: np.random.Generator) -> dict[str, Ends]:
    ours = mean_interval if name == "mrr" else share_interval
    sums, sizes = np.bincount(groups, values).astype(float), np.bincount(groups).astype(float)
    alone = values[rng.integers(len(values), size=(N_DRAWS, len(values)))].mean(axis=1)
    found = {"ours": ours(values, groups), "percentile over queries": _ends(alone, 0.025, 0.975)}
    if name == "mrr":
        rows = rng.integers(len(sums), size=(N_DRAWS, len(sums)))
        found |= {"BCa over groups": _bca(sums, sizes, rows), "studentised over groups": _student(sums, sizes, rows)}
    return found


def _ends(draws: Floats, low: float, high: float) -> Ends:
    first, last = np.quantile(draws, [low, high])
    return float(first), float(last)


def _bca(sums: Floats, sizes: Floats, rows: NDArray[np.int64]) -> Ends:
    """Efron's bias-corrected and accelerated interval (An Introduction to the Bootstrap, 1993, chapter 14)."""
    mean, draws, normal = sums.sum() / sizes.sum(), sums[rows].sum(axis=1) / sizes[rows].sum(axis=1), NormalDist()
    bias = normal.inv_cdf(float(np.clip((draws < mean).mean(), 1 / N_DRAWS, 1 - 1 / N_DRAWS)))
    without = (sums.sum() - sums) / (sizes.sum() - sizes)
    away = without.mean() - without
    bend = float((away**3).sum() / (6 * (away**2).sum() ** 1.5)) if away.any() else 0.0
    return _ends(draws, *(normal.cdf(bias + (bias + z) / (1 - bend * (bias + z))) for z in (-Z, Z)))


def _student(sums: Floats, sizes: Floats, rows: NDArray[np.int64]) -> Ends:
    """The studentised bootstrap (chapter 12 of the same)."""
    mean, total, n = sums.sum() / sizes.sum(), sums[rows], sizes[rows]
    draws, number = total.sum(axis=1) / n.sum(axis=1), n.sum(axis=1)
    squares = ((total - draws[:, None] * n) ** 2).sum(axis=1)
    error = float(np.sqrt(((sums - mean * sizes) ** 2).sum())) / sizes.sum()
    low, high = _ends((draws - mean) / (np.sqrt(np.maximum(squares, 1e-30)) / number), 0.025, 0.975)
    return mean - high * error, mean - low * error


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("--times", type=int, default=2000, help="samples of each case (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--output", type=Path, default=RESULT)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the script; return its exit code."""
    args = build_parser().parse_args(argv)
    cases = {}
    for name, case in CASES.items():
        rates = simulate(case, n_times=args.times, seed=args.seed)
        cases[name] = {"groups": case.groups, "coverage": rates}
        print(name, *(f"\n  {metric}: {found}" for metric, found in rates.items()), flush=True)
    write_text(args.output, json_text({"times": args.times, "seed": args.seed, "cases": cases}, indent=1) + "\n")
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
